//! The thread that ends executions which are over their limits.
//!
//! It looks at all slots at the earliest moment any of them can be due. An execution that begins after a look cannot be
//! due before the shortest limit has passed, so a look every shortest limit misses none, and beginning an execution
//! needs no wake-up. One that goes on after a wait may have less left, and then the watchdog is woken to look at it. After
//! a second without any it sleeps until it is woken.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use crate::slot::{Budget, Callbacks, Slot, nanos};

/// The shortest time between two looks; limits below it are noticed with this delay.
const TICK_NS_MIN: u64 = 1_000_000;

/// Looks at least this often while anything runs.
const TICK_NS_MAX: u64 = 100_000_000;

/// Without executions for this long the watchdog sleeps.
const QUIET_NS: u64 = 1_000_000_000;

/// Handle of the thread, which ends with it.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    waker: Thread,
}

#[derive(Debug)]
struct Shared {
    origin: Instant,
    slots: Mutex<Vec<Arc<Slot>>>,
    /// The shortest limit of any VM so far.
    tick: AtomicU64,
    asleep: AtomicBool,
    stopping: AtomicBool,
}

impl Watchdog {
    /// # Errors
    /// If the system gives no thread.
    pub(crate) fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            origin: Instant::now(),
            slots: Mutex::default(),
            tick: AtomicU64::new(TICK_NS_MAX),
            asleep: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        });
        let watched = Arc::clone(&shared);
        let thread = thread::Builder::new().name("watchdog".to_owned()).spawn(move || watch(&watched))?;
        let waker = thread.thread().clone();
        Ok(Self { shared, thread: Some(thread), waker })
    }

    /// Watches `slot` until its thread has ended: until nobody else holds it.
    pub(crate) fn add(&self, slot: Arc<Slot>) {
        self.shared.slots().push(slot);
    }

    /// Makes sure that limits like `budget` are noticed in time.
    pub(crate) fn expect(&self, budget: Budget) {
        let tick = budget.cpu_ns.min(budget.wall_ns).max(TICK_NS_MIN);
        if self.shared.tick.fetch_min(tick, Ordering::SeqCst) > tick {
            self.waker.unpark();
        }
    }

    /// Begins a step of an execution at `now`. What is left to one that `goes_on` may be less than any limit.
    pub(crate) fn begin(&self, slot: &Slot, callbacks: Callbacks, budget: Budget, now: Instant, goes_on: bool) {
        slot.begin(callbacks, budget, nanos(now.saturating_duration_since(self.shared.origin)), goes_on);
        let early = budget.cpu_ns.min(budget.wall_ns) < self.shared.tick.load(Ordering::Relaxed);
        if early || self.shared.asleep.load(Ordering::SeqCst) {
            self.waker.unpark();
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.waker.unpark();
        if let Some(thread) = self.thread.take() {
            // Nothing to do about a panic there, of which there is no cause.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn now(&self) -> u64 {
        nanos(self.origin.elapsed())
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes whenever an execution begins or ends.
    fn activity(&self) -> u64 {
        self.slots().iter().fold(0, |sum, slot| sum.wrapping_add(slot.epoch()))
    }
}

fn watch(shared: &Shared) {
    let (mut activity, mut quiet_since) = (0, 0);
    while !shared.stopping.load(Ordering::SeqCst) {
        let now = shared.now();
        let mut due = now + shared.tick.load(Ordering::SeqCst);
        let mut running = false;
        {
            let mut slots = shared.slots();
            slots.retain(|slot| Arc::strong_count(slot) > 1);
            for next in slots.iter().filter_map(|slot| slot.look(now)) {
                due = due.min(next);
                running = true;
            }
        }
        let activity_now = shared.activity();
        if running || activity_now != activity {
            (activity, quiet_since) = (activity_now, now);
        } else if now - quiet_since >= QUIET_NS {
            sleep(shared, activity);
            quiet_since = shared.now();
            continue;
        }
        thread::park_timeout(Duration::from_nanos(due.saturating_sub(shared.now())));
    }
}

/// Sleeps until woken, unless something has begun since `activity` was taken.
fn sleep(shared: &Shared, activity: u64) {
    shared.asleep.store(true, Ordering::SeqCst);
    // Looked at after the flag is up: who begins now either is seen here or sees the flag.
    if shared.activity() == activity && !shared.stopping.load(Ordering::SeqCst) {
        thread::park();
    }
    shared.asleep.store(false, Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Call, Engine, Limits, compile};

    #[test]
    fn an_execution_wakes_a_sleeping_watchdog() {
        let limits = Limits { cpu: Duration::from_millis(5), ..Limits::default() };
        let engine = Engine::start().unwrap();
        let mut vm = engine.vm(&limits).unwrap();
        let patience = Instant::now() + Duration::from_secs(30);
        while !engine.watchdog().shared.asleep.load(Ordering::SeqCst) {
            assert!(Instant::now() < patience, "the watchdog does not go to sleep");
            thread::park_timeout(Duration::from_millis(10));
        }

        let endless = compile("endless.luau", b"while true do end", &limits).unwrap();
        let call = Call::new("acme", "endless", "v1", "e1", &limits);
        let fault = vm.run(&endless, &call).outcome.unwrap_err();

        assert_eq!(fault.code, contract::Code::DeadlineExceeded);
    }
}
