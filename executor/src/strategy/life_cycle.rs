//! The life cycle of scripts that keep state: `OnStartup` and `OnReload` before their first execution in a VM,
//! `OnShutdown` at its end. That of all other scripts is one of the executor, see [`crate::life_cycle`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::Version;
use contract::ids::EventName;
use futures_util::future::join_all;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::asks::Family;
use super::host::VmHost;
use super::job::{Entry, Job, Outcome};
use super::said::Said;
use super::terms;
use crate::release::{Script, Tenant};
use crate::vms::Awake;

/// What a script is told of a new beginning: that it starts, and why, or which version it replaces.
pub(crate) fn beginning(script: &Script, former: Option<&Version>, reason: &str) -> (EventName, serde_json::Value) {
    match former {
        Some(former) => (named("OnReload"), json!({ "old": former, "new": script.version })),
        None => (named("OnStartup"), json!({ "reason": reason })),
    }
}

/// `OnShutdown`.
pub(crate) fn end() -> (EventName, serde_json::Value) {
    (named("OnShutdown"), json!({}))
}

fn named(name: &str) -> EventName {
    name.parse().expect("the names of the life cycle are names")
}

/// The execution for an event of the life cycle; `None` if the script does not want it.
pub(crate) fn job(
    script: &Arc<Script>,
    siblings: &Arc<Tenant>,
    (event, data): (EventName, serde_json::Value),
) -> Option<Job> {
    script.manifest.wants(event.as_str()).then(|| Job {
        script: Arc::clone(script),
        entry: Entry::Event(event),
        id: Uuid::now_v7(),
        input: data.to_string().into(),
        siblings: Arc::clone(siblings),
        layers: None,
        ticket: None,
        cancel: CancellationToken::new(),
        drill: None,
    })
}

impl VmHost {
    /// Has a script that keeps state set itself up in the VM in which `job` is about to run, if that is the first
    /// execution of this version there. Who comes meanwhile waits for it.
    pub(super) async fn wake(&self, job: &Job, family: &Family) {
        if job.life_cycle().is_some() {
            return;
        }
        let awake = self.vms.borrow_mut().awake(&job.script, &job.siblings, Instant::now());
        // Without a VM the execution itself will fail.
        let Ok(Awake { script, siblings, former, done }) = awake else { return };
        done.get_or_init(|| async {
            let event = beginning(&script, former.as_ref(), "vm");
            if let Some(event) = self::job(&script, &siblings, event) {
                let (cpu, said) = self.run_life_cycle(Job { ticket: job.ticket, ..event }).await;
                family.charge(cpu);
                said.into_iter().for_each(|said| family.keep(said));
            }
        })
        .await;
    }

    /// Has all scripts that keep state here put things in order, at the end of these VMs.
    pub(crate) async fn shut_down(&self) -> Vec<Said> {
        let awake = self.vms.borrow().all_awake();
        let ending = awake.into_iter().filter(|awake| awake.done.initialized()).filter_map(|awake| {
            let job = self::job(&awake.script, &awake.siblings, end())?;
            Some(async move { self.run_life_cycle(job).await.1 })
        });
        join_all(ending).await.into_iter().flatten().collect()
    }

    /// Runs it on time of its own, whatever the execution has left that it comes before. Gives its CPU time, and what
    /// was said.
    async fn run_life_cycle(&self, job: Job) -> (Duration, Vec<Said>) {
        let ends = Instant::now() + terms::limits(&job.script, &job.siblings.terms.limits).wall;
        let family = Family::new(job.script.tenant.as_str(), ends);
        // Boxed: it runs a script, which may have it run others, and so on.
        let mut outcome = Box::pin(self.run(&job, &family, 0)).await;
        let said = Said::by(&job, &mut outcome).and_failed(&outcome);
        let Outcome { mut others, cpu, .. } = family.complete(outcome);
        others.push(said);
        (cpu, others)
    }
}
