//! The end of everything: services in their order, all other children at once, then whatever is left behind.

use std::process;
use std::time::Duration;

use tokio::task::LocalSet;

use crate::supervisor::Supervisor;
use crate::sys;

/// How long orphans may take after they were asked to end: nobody asked for them, so nobody says.
const ORPHANS_GRACE: Duration = Duration::from_secs(2);
/// A process that was killed ends as soon as the kernel gets to it; one that does not is stuck in the kernel.
const KILLED: Duration = Duration::from_secs(5);

/// Asks every child that no service has to end, with `signal` unless it wants another one, and kills what outlives its
/// grace.
pub(crate) async fn children(supervisor: &Supervisor, signal: i32) {
    let stops = LocalSet::new();
    for child in supervisor.children.running().into_iter().filter(|child| !child.treatment.service) {
        stops.spawn_local(async move {
            let treatment = child.treatment;
            // A child that can't be signalled (it changed its user) is left to the kernel, which ends it with us.
            let stopped = child.stop(treatment.stop_signal.unwrap_or(signal), treatment.grace);
            let _ = tokio::time::timeout(treatment.grace + KILLED, stopped).await;
        });
    }
    stops.await;
}

/// Ends what is left: orphans that were adopted, and as the first process of a container also what was started beside it.
pub(crate) async fn orphans(supervisor: &Supervisor) {
    for (signal, patience) in [(libc::SIGTERM, ORPHANS_GRACE), (libc::SIGKILL, KILLED)] {
        let all = async {
            // Each death may bring us children of the one that died.
            while supervisor.children.reap() {
                signal_all(signal);
                supervisor.reaped().await;
            }
        };
        if tokio::time::timeout(patience, all).await.is_ok() {
            return;
        }
    }
}

fn signal_all(signal: i32) {
    if process::id() == 1 {
        // Everything in this namespace but ourselves.
        let _ = sys::kill(-1, signal);
        return;
    }
    // Our children, none of which has been collected yet: these numbers are theirs.
    let children = std::fs::File::open("/proc/thread-self/children").and_then(std::io::read_to_string);
    for pid in children.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()) {
        let _ = sys::kill(pid, signal);
    }
}
