//! The look at the whole bucket that finds what no notification told: at the start, every few seconds, and when the
//! notification stream comes back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use contract::release::POINTER_OBJECT;
use futures_util::StreamExt;
use futures_util::future::{try_join, try_join_all};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::bucket::{BucketError, ObservedObject};
use crate::context::{Context, PREFIXES};
use crate::fetch::{self, Answer, Fetched};
use crate::plan::{self, Fetch, Plan, Seen};
use crate::releaser::{ReleaseError, Request};
use telemetry::chain;

/// Objects read at the same time.
const READS_AT_ONCE: usize = 16;
/// Sources in memory before they go into a release.
const CHUNK: usize = 500;

/// What a look at the bucket led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The release says what the bucket holds.
    Unchanged,
    /// So many changes were released.
    Repaired(usize),
    /// Something is missing on a large scale; nothing was removed.
    Guarded,
}

/// Why a look at the bucket failed.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The bucket did not answer.
    #[error("look at the bucket")]
    Bucket(#[from] BucketError),
    /// The pointer could not be taken over, or no release could be made.
    #[error("bring the release up to date with the bucket")]
    Release(#[from] ReleaseError),
}

/// Looks every `period`, and when `wanted`, until `stop`.
pub async fn run(context: Arc<Context>, period: Duration, wanted: Arc<Notify>, stop: CancellationToken) {
    let mut misnamed = BTreeSet::new();
    loop {
        let result = tokio::select! {
            result = pass(&context, &mut misnamed) => result,
            () = stop.cancelled() => return,
        };
        match result {
            Ok(Outcome::Unchanged) => context.metrics.reconciled("unchanged"),
            Ok(Outcome::Guarded) => context.metrics.reconciled("guarded"),
            Ok(Outcome::Repaired(changes)) => {
                context.metrics.reconciled("repaired");
                tracing::info!(changes, "released what the bucket had and no notification told");
            }
            Err(err) => {
                context.metrics.reconciled("failed");
                if context.bucket_health.bad(chain(&err)) {
                    tracing::warn!(err = chain(&err), "what runs goes on, changes wait");
                }
            }
        }
        context.registry.ask_again();
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            () = wanted.notified() => {}
            () = stop.cancelled() => return,
        }
    }
}

/// One look. `misnamed` remembers objects that were told before.
///
/// # Errors
/// [`ReconcileError`]; what was released until then stays.
pub async fn pass(context: &Context, misnamed: &mut BTreeSet<String>) -> Result<Outcome, ReconcileError> {
    // INVARIANT: what is current is taken before the bucket is looked at: only then is an object that is missing in
    // the listing really gone.
    let Some(mut current) = context.now() else { return Ok(Outcome::Unchanged) };
    let (mut objects, mut pointer) = look(context).await?;
    let pointer_generation = pointer.as_ref().map(|pointer| pointer.generation);
    if pointer_generation.is_some_and(|generation| generation != current.pointer_generation) {
        // Another manager committed, or this one did since the look began. Either way the picture is taken anew.
        let ours = context.now().is_some_and(|now| pointer_generation == Some(now.pointer_generation));
        if !ours {
            context.lane.adopt().await?;
        }
        let Some(newer) = context.now() else { return Ok(Outcome::Unchanged) };
        current = newer;
        (objects, pointer) = look(context).await?;
    }
    let seen = Seen { objects: &objects, pointer: pointer.is_some() || current.release.number() == 0 };
    let plan = plan::plan(current.release.scripts(), seen, |object| {
        context.refusals.get(object).map(|refused| refused.generation)
    });
    let live: BTreeSet<&str> = objects.iter().map(|object| object.name.as_str()).collect();
    context.refusals.retain(|object, _| live.contains(object));

    let changes = apply(context, &plan).await?;
    if changes == 0 && pointer.is_none() && current.release.number() == 0 {
        context.lane.found().await?;
    }
    tell(context, &plan, objects.len(), misnamed);
    Ok(match (&plan.guard, changes) {
        (Some(_), _) => Outcome::Guarded,
        (None, 0) => Outcome::Unchanged,
        (None, changes) => Outcome::Repaired(changes),
    })
}

async fn look(context: &Context) -> Result<(Vec<ObservedObject>, Option<ObservedObject>), BucketError> {
    let lists = try_join_all(PREFIXES.map(|prefix| context.bucket.list(prefix)));
    let (lists, pointer) = try_join(lists, context.bucket.head(POINTER_OBJECT)).await?;
    Ok((lists.into_iter().flatten().collect(), pointer))
}

/// Carries a plan out. How many changes were released.
async fn apply(context: &Context, plan: &Plan) -> Result<usize, ReconcileError> {
    let count = plan.fetch.len() + plan.remove.len();
    let reason = format!("reconcile: {count} {}", if count == 1 { "script" } else { "scripts" });
    let removals = plan.remove.iter().map(|removal| fetch::remove(removal, reason.clone())).collect();
    let mut changes = release(context, removals).await?;
    for chunk in plan.fetch.chunks(CHUNK) {
        let mut requests = Vec::new();
        // Collected first: the compiler can't see that a stream over the closure itself may move between threads.
        let reads: Vec<_> = chunk.iter().map(|wanted| read(context, wanted, reason.clone())).collect();
        let mut reads = futures_util::stream::iter(reads).buffer_unordered(READS_AT_ONCE);
        while let Some(request) = reads.next().await {
            requests.extend(request?);
        }
        changes += release(context, requests).await?;
    }
    Ok(changes)
}

async fn read(context: &Context, wanted: &Fetch, reason: String) -> Result<Option<(Request, Answer)>, BucketError> {
    match fetch::fetch(context, wanted).await? {
        Fetched::Ready(entry, source) => Ok(Some(fetch::set(wanted, *entry, source, reason))),
        Fetched::Refused | Fetched::Gone => Ok(None),
    }
}

async fn release(context: &Context, requests: Vec<(Request, Answer)>) -> Result<usize, ReconcileError> {
    if requests.is_empty() {
        return Ok(0);
    }
    let (requests, answers): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
    context.lane.submit(requests).await?;
    let mut released = 0;
    for answer in answers {
        match answer.await.map_err(|_| ReleaseError::Closed)? {
            Ok(_) => released += 1,
            // What is newer runs, or the status tells of the refusal.
            Err(ReleaseError::Superseded(_) | ReleaseError::Refused(_)) => {}
            Err(err) => return Err(err.into()),
        }
    }
    Ok(released)
}

/// Says what was seen: in the status always, in the log when it is new.
fn tell(context: &Context, plan: &Plan, objects: usize, misnamed: &mut BTreeSet<String>) {
    if let Some(guard) = &plan.guard {
        if context.bucket_health.bad(guard.clone()) {
            tracing::error!(guard, "much is missing in the bucket; remove scripts by the API if they are to go");
        }
        return;
    }
    let mut detail = format!("listed {objects} objects");
    if let Some((first, _)) = plan.misnamed.first() {
        detail.push_str(&format!(
            "; {} with a name that is not allowed, for example `{}`",
            plan.misnamed.len(),
            first.escape_debug()
        ));
    }
    context.bucket_health.good(detail);
    for (object, err) in &plan.misnamed {
        if !misnamed.contains(object) {
            tracing::warn!(object, err = %err, "an object lies where scripts lie but can't be one");
        }
    }
    *misnamed = plan.misnamed.iter().map(|(object, _)| object.clone()).collect();
}
