//! Waiting until executors run a release, for the one who asked and for the record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::api::Live;
use tokio::sync::watch;

use crate::feed::registry::{Progress, Registry};
use crate::metrics::Metrics;
use crate::releases::Current;

/// The record gives up on a release after this long: by then a laggard is a matter for the status page.
const RECORD_DEADLINE: Duration = Duration::from_secs(60);

/// Waits until every executor that counts runs `release`, or until `deadline`. `accepted` is when the change came in.
pub async fn wait(registry: &Registry, release: u64, accepted: Instant, deadline: Instant) -> Live {
    let mut changed = registry.changed();
    loop {
        changed.mark_unchanged();
        let progress = registry.progress(release);
        let wake = progress.changes_at.map_or(deadline, |at| at.min(deadline));
        if progress.laggards.is_empty() || Instant::now() >= deadline {
            return live(progress, accepted);
        }
        tokio::select! {
            _ = changed.changed() => {}
            () = tokio::time::sleep_until(wake.into()) => {}
        }
    }
}

fn live(progress: Progress, accepted: Instant) -> Live {
    Live {
        executors: progress.executors,
        acknowledged: progress.acknowledged,
        elapsed_ms: accepted.elapsed().as_secs_f64() * 1000.0,
        laggards: progress.laggards,
    }
}

/// Measures and logs each release from its commit until it is live everywhere. A newer release takes over.
pub async fn record(registry: Arc<Registry>, metrics: Arc<Metrics>, mut current: watch::Receiver<Option<Current>>) {
    while current.changed().await.is_ok() {
        let Some((number, activation)) =
            current.borrow_and_update().as_ref().map(|current| (current.release.number(), current.activation))
        else {
            continue;
        };
        if number == 0 {
            continue;
        }
        let committed = Instant::now();
        let live = tokio::select! {
            live = wait(&registry, number, committed, committed + RECORD_DEADLINE) => live,
            _ = current.changed() => {
                current.mark_changed();
                continue;
            }
        };
        if live.laggards.is_empty() {
            metrics.activated(activation, live.elapsed_ms / 1000.0);
            tracing::info!(
                release = number,
                executors = live.executors,
                elapsed_ms = live.elapsed_ms,
                "release is live"
            );
        } else {
            let laggard = &live.laggards[0];
            tracing::warn!(
                release = number,
                laggards = live.laggards.len(),
                executor = laggard.executor,
                node = laggard.node,
                reason = laggard.reason,
                "release is not live everywhere"
            );
        }
    }
}
