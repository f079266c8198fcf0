//! Which release answers: one atomic pointer that requests read and only the control thread writes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwapOption, Guard};
use tokio::sync::watch;

use super::{Active, Served, Source};
use crate::cache::Writer;
use crate::metrics::Metrics;

/// What this executor answers with, and whether it still does.
pub struct Serving {
    active: ArcSwapOption<Active>,
    // The release before: kept until the next swap, so that freeing thousands of scripts falls to the control thread
    // and not to the last request that still used them.
    retired: Mutex<Option<Arc<Active>>>,
    draining: AtomicBool,
    changes: watch::Sender<()>,
    metrics: Arc<Metrics>,
    cache: Option<Writer>,
}

impl Serving {
    /// Nothing is loaded yet. With `cache`, every release that comes from elsewhere is written there.
    pub fn new(metrics: Arc<Metrics>, cache: Option<Writer>) -> Self {
        Self {
            active: ArcSwapOption::empty(),
            retired: Mutex::default(),
            draining: AtomicBool::new(false),
            changes: watch::Sender::default(),
            metrics,
            cache,
        }
    }

    /// The release that answers now. A request calls this once, and keeps to what it got.
    pub fn active(&self) -> Guard<Option<Arc<Active>>> {
        self.active.load()
    }

    /// From now on every new execution runs `release`.
    pub fn activate(&self, release: Arc<Active>, source: Source) {
        let number = release.number();
        // A release is activated once: `set` can only fail for one that answers already, and then the first note is
        // the true one.
        let _ = release.served.set(Served { source, since: SystemTime::now() });
        let before = self.active.swap(Some(Arc::clone(&release)));
        self.metrics.release_number.set(i64::try_from(number).unwrap_or(i64::MAX));
        self.metrics.activations.inc();
        tracing::info!(
            release = number,
            before = before.as_ref().map_or(0, |before| before.number()),
            source = source.as_str(),
            scripts = contract::release::count(release.scripts()),
            reason = release.statement().reason,
            "release active"
        );
        drop(std::mem::replace(&mut *self.retired.lock().unwrap_or_else(PoisonError::into_inner), before));
        self.changes.send_replace(());
        if let Some(cache) = self.cache.as_ref().filter(|_| source != Source::Cache) {
            cache.offer(release);
        }
    }

    /// Tells of activations from now on; several may be told of as one.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Callers should go elsewhere from now on.
    pub fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Waits at most `deadline` for the disk cache; tells whether it holds what was activated.
    pub fn finish_cache(&self, deadline: Duration) -> bool {
        self.cache.as_ref().is_none_or(|cache| cache.finish(deadline))
    }

    /// Whether callers should go elsewhere.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }
}
