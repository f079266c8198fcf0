//! What a Pub/Sub message asks for becomes executions: the other side of [`crate::pubsub`].

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use contract::{Code, Problem};
use futures_util::future::join_all;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::pubsub::{Counts, Delivery, Door, FrontDoor, PubsubSettings, Target, Verdict};
use crate::release::{Active, Missing, Serving, sent, wanting};
use crate::strategy::{Annex, Entry, Job, Outcome};

/// Runs what messages are for.
struct Messages {
    serving: Arc<Serving>,
    annex: Arc<Annex>,
}

/// Follows the subscription on a thread of its own until `stop`. The receiver is told, by the end of its channel, when
/// what ran has ended and was acknowledged.
///
/// # Errors
/// The operating system gives no thread.
pub(crate) fn follow(
    settings: PubsubSettings,
    counts: Counts,
    serving: Arc<Serving>,
    annex: Arc<Annex>,
    input_bytes_max: usize,
    drain: Duration,
    stop: CancellationToken,
) -> std::io::Result<Receiver<()>> {
    let (alive, done) = mpsc::channel();
    thread::Builder::new().name("pubsub".into()).spawn(move || {
        let followed = Builder::new_current_thread().enable_all().build().map(|runtime| {
            runtime.block_on(async {
                let door = Messages { serving, annex };
                match FrontDoor::open(settings, door, counts, input_bytes_max, drain).await {
                    Ok(door) => door.follow(stop).await,
                    Err(err) => tracing::error!(error = telemetry::chain(&err), "no messages are run"),
                }
            });
        });
        if let Err(err) = followed {
            tracing::error!(error = telemetry::chain(&err), "no messages are run");
        }
        drop(alive);
    })?;
    Ok(done)
}

impl Door for Messages {
    async fn deliver(&self, delivery: Delivery) -> Verdict {
        let jobs = {
            let active = self.serving.active();
            match active.as_deref() {
                Some(active) => jobs(active, delivery),
                None => Err(Problem::new(Code::NotReady, "no release is loaded").into()),
            }
        };
        let jobs = match jobs {
            Ok(jobs) => jobs,
            Err(problem) => return Verdict::Refused(*problem),
        };
        let outcomes = join_all(jobs.into_iter().map(|job| self.annex.execute(job))).await;
        // One that failed is what becomes of the message; the first in the order of the scripts.
        let fault = outcomes.into_iter().find_map(|Outcome { result, .. }| result.err());
        fault.map_or(Verdict::Done, |fault| {
            Verdict::Refused(Problem::new(fault.code, fault.detail).with_diagnostics(fault.diagnostics))
        })
    }
}

fn jobs(active: &Active, delivery: Delivery) -> Result<Vec<Job>, Box<Problem>> {
    let Delivery { tenant, target, input, .. } = delivery;
    let Some(siblings) = active.tenant(tenant.as_str()) else {
        return Err(active.unknown_tenant(tenant.as_str()).into());
    };
    let job = |script: &Arc<crate::release::Script>, entry| Job {
        script: Arc::clone(script),
        entry,
        id: Uuid::now_v7(),
        input: input.clone(),
        siblings: Arc::clone(siblings),
        layers: active.layers(script),
        ticket: None,
        cancel: CancellationToken::new(),
        drill: None,
    };
    match target {
        Target::Script(name) => match siblings.script(name.as_str()) {
            Some(script) => Ok(vec![job(script, Entry::Handle)]),
            None => Err(active.unknown(Missing::Script, tenant.as_str(), name.as_str()).into()),
        },
        Target::Event(name) => {
            let event = sent(&name)?;
            Ok(wanting(siblings, &event).into_iter().map(|script| job(script, Entry::Event(event.clone()))).collect())
        }
    }
}
