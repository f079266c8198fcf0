//! The life cycle of scripts that keep nothing: `OnStartup` and `OnReload` once per executor when a version begins to
//! answer, `OnShutdown` when the executor ends.
//!
//! It runs beside: an activation waits for nothing here, and no fault takes it back. Scripts that keep state have theirs
//! in each of their VMs ([`crate::strategy::life_cycle`]).

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use futures_util::StreamExt;
use sandbox::State;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use crate::release::{Active, Script, Serving, Tenant};
use crate::strategy::life_cycle::{beginning, end, job};
use crate::strategy::{Annex, Common, Job, Strategy};

/// Executions at once.
const AT_ONCE: usize = 8;

/// Watches what is activated, on a thread of its own, until `stop`. The receiver is told by the end of its channel when
/// the last script has put things in order.
///
/// # Errors
/// The operating system gives no thread.
pub(crate) fn follow(
    strategy: Arc<dyn Strategy>,
    common: Common,
    door: usize,
    stop: CancellationToken,
) -> std::io::Result<Receiver<()>> {
    let (alive, done) = mpsc::channel();
    thread::Builder::new().name("life-cycle".into()).spawn(move || {
        match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                let serving = Arc::clone(&common.serving);
                let mut follower = Follower { strategy, common, door, annex: None, seen: None };
                runtime.block_on(follower.follow(&serving, &stop));
            }
            Err(err) => tracing::error!(error = telemetry::chain(&err), "no events of the life cycle are run"),
        }
        drop(alive);
    })?;
    Ok(done)
}

struct Follower {
    strategy: Arc<dyn Strategy>,
    common: Common,
    /// Number of the door by which executions are counted.
    door: usize,
    /// Made when the first script wants an event.
    annex: Option<Arc<Annex>>,
    /// The release whose scripts were told of their beginning.
    seen: Option<Arc<Active>>,
}

impl Follower {
    async fn follow(&mut self, serving: &Serving, stop: &CancellationToken) {
        let mut changes = serving.changes();
        loop {
            let active = serving.active().clone();
            if let Some(active) = active {
                let begun = beginnings(self.seen.as_deref(), &active);
                self.seen = Some(active);
                self.run(begun).await;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                changed = changes.changed() => if changed.is_err() { break },
            }
        }
        let ended = self.seen.as_deref().map(endings).unwrap_or_default();
        self.run(ended).await;
        if let Some(annex) = &self.annex {
            annex.close();
        }
    }

    async fn run(&mut self, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        if self.annex.is_none() {
            match Annex::start("life", self.door, Arc::clone(&self.strategy), self.common.clone()) {
                Ok(annex) => self.annex = Some(Arc::new(annex)),
                Err(err) => tracing::error!(error = telemetry::chain(&err), "no events of the life cycle are run"),
            }
        }
        let Some(annex) = &self.annex else { return };
        let executions = futures_util::stream::iter(jobs.into_iter().map(|job| annex.execute(job)));
        executions.for_each_concurrent(AT_ONCE, |execution| async { drop(execution.await) }).await;
    }
}

/// The executions for what begins in `after`, where `before` was seen last.
fn beginnings(before: Option<&Active>, after: &Active) -> Vec<Job> {
    let reason = if before.is_some() { "added" } else { "boot" };
    let mut jobs = Vec::new();
    for (name, scripts) in after.tenants() {
        let former = before.and_then(|before| before.tenant(name.as_str()));
        // What did not change is shared between releases.
        if former.is_some_and(|former| Arc::ptr_eq(former, scripts)) {
            continue;
        }
        for script in of_executor(scripts) {
            let former = former.and_then(|former| former.get(&script.name)).map(|former| &former.version);
            if former != Some(&script.version) {
                jobs.extend(job(script, scripts, beginning(script, former, reason)));
            }
        }
    }
    jobs
}

/// The executions for the end of `active`.
fn endings(active: &Active) -> Vec<Job> {
    let tenants = active.tenants();
    tenants.flat_map(|(_, scripts)| of_executor(scripts).filter_map(|script| job(script, scripts, end()))).collect()
}

/// Scripts whose life cycle is here.
fn of_executor(scripts: &Arc<Tenant>) -> impl Iterator<Item = &Arc<Script>> {
    scripts.values().filter(|script| script.has_life_cycle && script.manifest.state != State::Tenant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::testing::{Signer, remove, write};
    use crate::release::{Known, prepare};

    const LIVES: &str = "return { on = { OnStartup = print, OnReload = print, OnShutdown = print } }";

    fn told(jobs: Vec<Job>) -> Vec<String> {
        let mut told: Vec<_> = jobs
            .into_iter()
            .map(|job| {
                let event = job.life_cycle().unwrap();
                format!("{}/{} {event} {}", job.script.tenant, job.script.name, String::from_utf8_lossy(&job.input))
            })
            .collect();
        told.sort_unstable();
        told
    }

    #[test]
    fn a_script_is_told_when_a_version_of_it_begins_or_replaces_another() {
        let mut signer = Signer::new();
        let trust = signer.trust();
        let whole = vec![
            write("acme", "a", LIVES),
            write("acme", "same", LIVES),
            write("zoo", "quiet", "return 1"),
            write("zoo", "state", format!("{LIVES} -- \n").replace("on =", "state = 'tenant', on =")),
        ];
        let first = Arc::new(prepare(&trust, &Known::default(), signer.offer_and_keep(1, 0, whole)).unwrap());
        let known = Known { active: Some(Arc::clone(&first)), staged: Vec::new() };
        let changes =
            vec![write("acme", "a", format!("{LIVES} ")), write("acme", "new", LIVES), remove("zoo", "quiet")];
        let second = prepare(&trust, &known, signer.offer(2, 1, changes)).unwrap();

        assert_eq!(
            told(beginnings(None, &first)),
            [r#"acme/a OnStartup {"reason":"boot"}"#, r#"acme/same OnStartup {"reason":"boot"}"#]
        );
        let version = |release: &Active| release.find("acme", "a").unwrap().version.to_string();
        let reload = format!(r#"acme/a OnReload {{"new":"{}","old":"{}"}}"#, version(&second), version(&first));
        assert_eq!(
            told(beginnings(Some(&first), &second)),
            [reload, r#"acme/new OnStartup {"reason":"added"}"#.into()]
        );
        assert_eq!(
            told(endings(&second)),
            ["acme/a OnShutdown {}", "acme/new OnShutdown {}", "acme/same OnShutdown {}"]
        );
    }
}
