//! The worker entry: one loop that takes jobs from an inbox, runs them, and replies. Threads and child processes run the
//! same.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{MissedTickBehavior, interval};

use super::host::VmHost;
use super::inbox::Inbox;

/// How often VMs are looked over; a tenant that was removed leaves memory this soon.
pub(crate) const UPKEEP_EVERY: Duration = Duration::from_secs(1);

/// Serves `inbox` until it is closed and empty, or somebody else serves it; calls `upkeep` about once a second.
///
/// A job that computes has the thread for itself; one that waits lets the next begin. Tenants take turns at beginning.
pub(crate) async fn serve(host: &VmHost, inbox: &Inbox, upkeep: impl Fn()) {
    let life = inbox.begin_life();
    let mut ticks = interval(UPKEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            // What has begun goes on first: a job is taken only when nothing can compute.
            biased;
            Some(()) = running.next(), if !running.is_empty() => {}
            _ = ticks.tick() => upkeep(),
            next = inbox.next(life) => {
                let Some((ticket, job)) = next else { break };
                running.push(async move {
                    let outcome = host.execute(&job).await;
                    inbox.answer(ticket, outcome);
                    host.bury();
                });
                continue;
            }
        }
        // Between two jobs others of this thread get their turn: timers, and in a child process the reader of jobs.
        tokio::task::yield_now().await;
    }
    while running.next().await.is_some() {}
}
