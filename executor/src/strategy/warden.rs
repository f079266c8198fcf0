//! Watches for threads that do not come back out of a VM: a loop in C that no interrupt reaches. Such a thread can't be
//! ended, only replaced.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use sandbox::Limits;
use tokio_util::sync::CancellationToken;

use super::clock::now_ns;
use super::host::Beat;
use crate::metrics::Metrics;

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Threads that may be stuck at once. Each holds its core; with more the process is of no use and should be replaced.
pub(crate) const STUCK_MAX: usize = 4;

/// How long a thread may stay inside a VM before it counts as stuck. Whatever an interrupt reaches has ended by the wall
/// limit; ten CPU limits later it will not.
pub(crate) fn stuck_after(limits: &Limits) -> Duration {
    limits.wall + limits.cpu * 10
}

/// Looks after all threads with VMs.
pub(crate) struct Warden {
    watched: Mutex<Vec<Watched>>,
    next_number: AtomicU64,
    metrics: Arc<Metrics>,
    /// Cancelled when too many are stuck.
    hopeless: CancellationToken,
}

struct Watched {
    number: u64,
    name: String,
    beat: Arc<Beat>,
    replace: Arc<dyn Fn() + Send + Sync>,
    /// The stay inside a VM for which it was replaced, by its end.
    replaced_for: Option<u64>,
}

impl Warden {
    /// Starts to look; ends when the last handle is gone.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(crate) fn start(metrics: Arc<Metrics>) -> std::io::Result<Arc<Self>> {
        let hopeless = CancellationToken::new();
        let (watched, next_number) = (Mutex::default(), AtomicU64::new(0));
        let warden = Arc::new(Self { watched, next_number, metrics, hopeless });
        let weak = Arc::downgrade(&warden);
        thread::Builder::new().name("warden".into()).spawn(move || keep_looking(&weak))?;
        Ok(warden)
    }

    /// Cancelled when too many threads are stuck.
    pub(crate) fn hopeless(&self) -> CancellationToken {
        self.hopeless.clone()
    }

    /// Watches the calling thread as long as it holds what is returned. `replace` is called each time it gets stuck; it
    /// must not block.
    pub(crate) fn watch(
        self: &Arc<Self>,
        name: String,
        beat: Arc<Beat>,
        replace: impl Fn() + Send + Sync + 'static,
    ) -> Watching {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        self.watched().push(Watched { number, name, beat, replace: Arc::new(replace), replaced_for: None });
        Watching { warden: Arc::clone(self), number }
    }

    fn look(&self, now_ns: u64) {
        let (mut stuck, mut to_replace) = (0, Vec::new());
        {
            let mut watched = self.watched();
            for watched in watched.iter_mut() {
                let due = watched.beat.due_ns();
                if due.is_none_or(|due| now_ns <= due) {
                    continue;
                }
                stuck += 1;
                if watched.replaced_for != due {
                    watched.replaced_for = due;
                    to_replace.push((watched.name.clone(), Arc::clone(&watched.replace)));
                }
            }
        }
        self.metrics.stuck_workers.set(i64::try_from(stuck).unwrap_or(i64::MAX));
        if stuck > STUCK_MAX {
            self.hopeless.cancel();
        }
        // Without the lock: what comes in its place wants to be watched as well.
        for (worker, replace) in to_replace {
            tracing::error!(worker, "a worker does not come back from a script; another takes its place");
            self.metrics.count_restart("stuck");
            replace();
        }
    }

    fn watched(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that is watched, until this is dropped.
#[must_use = "the thread is watched until this is dropped"]
pub(crate) struct Watching {
    warden: Arc<Warden>,
    number: u64,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.warden.watched().retain(|watched| watched.number != self.number);
    }
}

fn keep_looking(warden: &Weak<Warden>) {
    while let Some(warden) = warden.upgrade() {
        warden.look(now_ns());
        drop(warden);
        thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    struct Thread {
        beat: Arc<Beat>,
        replaced: Arc<AtomicUsize>,
        _watching: Watching,
    }

    impl Thread {
        fn of(warden: &Arc<Warden>) -> Self {
            let (beat, replaced) = (Arc::<Beat>::default(), Arc::<AtomicUsize>::default());
            let counted = Arc::clone(&replaced);
            let replace = move || {
                counted.fetch_add(1, Ordering::Relaxed);
            };
            let _watching = warden.watch("vm-0".into(), Arc::clone(&beat), replace);
            Self { beat, replaced, _watching }
        }
    }

    fn warden() -> Arc<Warden> {
        Arc::new(Warden {
            watched: Mutex::default(),
            next_number: AtomicU64::new(0),
            metrics: Arc::default(),
            hopeless: CancellationToken::new(),
        })
    }

    #[test]
    fn who_does_not_come_back_is_replaced_once() {
        let warden = warden();
        let thread = Thread::of(&warden);

        thread.beat.enter(1_500);
        warden.look(1_400);
        assert_eq!(thread.replaced.load(Ordering::Relaxed), 0);
        warden.look(1_501);
        warden.look(9_999);

        assert_eq!(thread.replaced.load(Ordering::Relaxed), 1);
        assert_eq!(warden.metrics.stuck_workers.get(), 1);
        assert!(!warden.hopeless().is_cancelled());
    }

    #[test]
    fn who_came_back_or_ended_is_not_counted() {
        let warden = warden();
        let (thread, other) = (Thread::of(&warden), Thread::of(&warden));
        thread.beat.enter(500);
        other.beat.enter(500);
        warden.look(9_999);
        assert_eq!(warden.metrics.stuck_workers.get(), 2);

        thread.beat.leave();
        drop(other);
        warden.look(10_000);

        assert_eq!(warden.metrics.stuck_workers.get(), 0);
    }

    #[test]
    fn with_too_many_stuck_there_is_no_hope() {
        let warden = warden();
        let threads: Vec<_> = (0..=STUCK_MAX).map(|_| Thread::of(&warden)).collect();
        for thread in &threads[1..] {
            thread.beat.enter(500);
        }
        warden.look(9_999);
        assert!(!warden.hopeless().is_cancelled());

        threads[0].beat.enter(500);
        warden.look(9_999);
        assert!(warden.hopeless().is_cancelled());
    }
}
