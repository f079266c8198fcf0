//! Where a thread tells the watchdog what it runs, and where the watchdog stops it.
//!
//! Normally no interrupt is installed in a VM, so scripts pay nothing for their deadline. At the deadline the watchdog
//! stores one into the VM's callbacks, the one field that Luau lets other threads write. Luau then calls [`interrupt`]
//! at the next loop iteration, call or return. The coroutine that is running yields there and is never resumed, so that
//! no `pcall` gets to see its end: scripts can have thousands of them under way, and to unwind each takes time. Where a
//! coroutine cannot yield, below a function in C, an error is raised instead, again and again, up to where it can.
//!
//! A store may come late, when the thread runs the next execution already. Therefore executions have an *epoch*, the
//! watchdog says which one it means, and the interrupt removes itself when it is not the current one.
#![allow(unsafe_code, reason = "writes a C struct of Luau and reads the CPU clocks of threads")]

use std::cell::Cell;
use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mlua::ffi;

use crate::fault::Clock;
use crate::trace;

/// Reading a thread's CPU clock is a system call of up to a microsecond. A reading this fresh serves the next
/// execution as well: the time since counts as used before it, so a script may get up to this much more.
const CPU_READING_NS_MAX: u64 = 1_000_000;

/// The shortest time between two looks at one execution.
const LOOK_AGAIN_NS_MIN: u64 = 100_000;

thread_local! {
    /// The slot of the execution that runs on this thread.
    static CURRENT: Cell<*const Slot> = const { Cell::new(ptr::null()) };
    /// Which clock stopped it, once the script has felt it.
    static STOPPED_BY: Cell<Option<Clock>> = const { Cell::new(None) };
}

/// Callbacks of one VM.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Callbacks(*mut ffi::lua_Callbacks);

impl Callbacks {
    pub(crate) fn of(lua: &mlua::Lua) -> mlua::Result<Self> {
        let mut callbacks = ptr::null_mut();
        // SAFETY: only reads an address, which stays valid as long as the VM.
        unsafe { lua.exec_raw::<()>((), |state| callbacks = ffi::lua_callbacks(state))? };
        Ok(Self(callbacks))
    }

    /// # Safety
    /// The VM lives.
    unsafe fn set_interrupt(self, interrupt: Option<Interrupt>) {
        let interrupt = interrupt.map_or(ptr::null_mut(), |function| function as *mut ());
        // SAFETY: the field is in a living VM and aligned; an optional function has the form of a pointer. Luau reads it
        // without synchronisation and documents that other threads may set it.
        unsafe {
            AtomicPtr::from_ptr((&raw mut (*self.0).interrupt).cast::<*mut ()>()).store(interrupt, Ordering::Release)
        }
    }
}

type Interrupt = unsafe extern "C-unwind" fn(*mut ffi::lua_State, c_int);

/// What may be used by one execution. Times are in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) cpu_ns: u64,
    pub(crate) wall_ns: u64,
}

/// One per thread that runs VMs. Times are nanoseconds since the engine started.
#[derive(Debug)]
pub(crate) struct Slot {
    cpu_clock: libc::clockid_t,
    /// Odd while an execution runs.
    epoch: AtomicU64,
    wall_end: AtomicU64,
    first_look: AtomicU64,
    cpu_limit: AtomicU64,
    cpu_start: AtomicU64,
    /// The last reading of the thread's CPU clock, and when it was taken. Only the thread itself uses them.
    reading: AtomicU64,
    reading_at: AtomicU64,
    /// When to look at which execution again. Only the watchdog uses them.
    next_look: AtomicU64,
    next_look_epoch: AtomicU64,
    /// INVARIANT: null, or callbacks of a VM that lives. Set to null under the lock of `verdict`, see [`Slot::retire`].
    callbacks: AtomicPtr<ffi::lua_Callbacks>,
    /// The execution that is to be stopped.
    verdict: Mutex<Option<(u64, Clock)>>,
    /// Its epoch, for a look that takes no lock. Written under the lock of `verdict`.
    sentenced: AtomicU64,
}

impl Slot {
    /// For the calling thread.
    ///
    /// # Errors
    /// If the thread has no CPU clock, which happens only under a system that forbids it.
    pub(crate) fn new() -> std::io::Result<Arc<Self>> {
        let mut cpu_clock = 0;
        // SAFETY: `pthread_self` is the calling thread, which lives.
        let error = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut cpu_clock) };
        if error != 0 {
            return Err(std::io::Error::from_raw_os_error(error));
        }
        Ok(Arc::new(Self {
            cpu_clock,
            epoch: AtomicU64::new(0),
            wall_end: AtomicU64::new(0),
            first_look: AtomicU64::new(0),
            cpu_limit: AtomicU64::new(0),
            cpu_start: AtomicU64::new(0),
            reading: AtomicU64::new(0),
            reading_at: AtomicU64::new(0),
            next_look: AtomicU64::new(0),
            next_look_epoch: AtomicU64::new(0),
            callbacks: AtomicPtr::new(ptr::null_mut()),
            verdict: Mutex::new(None),
            sentenced: AtomicU64::new(0),
        }))
    }

    /// A step of an execution begins on this thread. One that `goes_on` had steps before: its clock is read anew, or
    /// many short steps would each use CPU time that counts for none.
    pub(crate) fn begin(&self, callbacks: Callbacks, budget: Budget, now: u64, goes_on: bool) {
        if goes_on {
            self.reading.store(0, Ordering::Relaxed);
        }
        self.cpu_start.store(self.cpu_reading(now), Ordering::Relaxed);
        self.cpu_limit.store(budget.cpu_ns, Ordering::Relaxed);
        self.wall_end.store(now.saturating_add(budget.wall_ns), Ordering::Relaxed);
        self.first_look.store(now.saturating_add(budget.cpu_ns.min(budget.wall_ns)), Ordering::Relaxed);
        self.callbacks.store(callbacks.0, Ordering::Relaxed);
        CURRENT.set(self);
        STOPPED_BY.set(None);
        // Sequentially consistent: the watchdog sees it, or the caller sees afterwards that the watchdog sleeps.
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// The step has ended. Gives the clock that stopped it, if it felt that.
    pub(crate) fn end(&self) -> Option<Clock> {
        self.epoch.fetch_add(1, Ordering::Release);
        CURRENT.set(ptr::null());
        STOPPED_BY.take()
    }

    /// CPU time that the last step used, when it has just ended.
    pub(crate) fn cpu_used(&self) -> u64 {
        cpu_time(self.cpu_clock).saturating_sub(self.cpu_start.load(Ordering::Relaxed))
    }

    /// The VM is about to be dropped: the watchdog will not touch it any more.
    pub(crate) fn retire(&self, callbacks: Callbacks) {
        let _watchdog_is_out = self.verdict();
        if self.callbacks.load(Ordering::Relaxed) == callbacks.0 {
            self.callbacks.store(ptr::null_mut(), Ordering::Relaxed);
        }
    }

    /// Grows with each begin and end.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// The watchdog's look at `now`: stops what is over its limits. Gives the time of the next look, if any is needed.
    ///
    /// Numbers of a newer execution may be read with the epoch of an older one; then the older one is sentenced, which
    /// has no effect.
    pub(crate) fn look(&self, now: u64) -> Option<u64> {
        let epoch = self.epoch.load(Ordering::Acquire);
        if epoch.is_multiple_of(2) {
            return None;
        }
        let known = self.next_look_epoch.load(Ordering::Relaxed) == epoch;
        let due = if known { &self.next_look } else { &self.first_look }.load(Ordering::Relaxed);
        if now < due {
            return Some(due);
        }
        let cpu_used = cpu_time(self.cpu_clock).saturating_sub(self.cpu_start.load(Ordering::Relaxed));
        let cpu_left = self.cpu_limit.load(Ordering::Relaxed).saturating_sub(cpu_used);
        let wall_left = self.wall_end.load(Ordering::Relaxed).saturating_sub(now);
        let next = if cpu_left == 0 {
            self.stop(epoch, Clock::Cpu);
            u64::MAX
        } else if wall_left == 0 {
            self.stop(epoch, Clock::Wall);
            u64::MAX
        } else {
            now + cpu_left.min(wall_left).max(LOOK_AGAIN_NS_MIN)
        };
        self.next_look.store(next, Ordering::Relaxed);
        self.next_look_epoch.store(epoch, Ordering::Relaxed);
        Some(next)
    }

    fn stop(&self, epoch: u64, clock: Clock) {
        let mut verdict = self.verdict();
        let callbacks = self.callbacks.load(Ordering::Relaxed);
        if self.epoch.load(Ordering::Acquire) == epoch && !callbacks.is_null() {
            *verdict = Some((epoch, clock));
            self.sentenced.store(epoch, Ordering::Relaxed);
            // SAFETY: the VM lives by the invariant of `callbacks`, and goes on living while the lock is held.
            unsafe { Callbacks(callbacks).set_interrupt(Some(interrupt)) }
        }
    }

    fn verdict(&self) -> MutexGuard<'_, Option<(u64, Clock)>> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// CPU time of this thread, not earlier than it really is and at most [`CPU_READING_NS_MAX`] later.
    fn cpu_reading(&self, now: u64) -> u64 {
        let reading = self.reading.load(Ordering::Relaxed);
        let age = now.saturating_sub(self.reading_at.load(Ordering::Relaxed));
        if reading != 0 && age < CPU_READING_NS_MAX {
            return reading + age;
        }
        let reading = cpu_time(self.cpu_clock);
        self.reading.store(reading, Ordering::Relaxed);
        self.reading_at.store(now, Ordering::Relaxed);
        reading
    }
}

/// Nanoseconds on a thread's CPU clock; 0 when the thread is gone.
fn cpu_time(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to `time` only; an unknown clock is an error and leaves it 0.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    let time = Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0));
    nanos(time)
}

/// `duration` in nanoseconds; five centuries fit, and more is as good as that.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Called by Luau on the thread of the script, at places where an error may be raised.
unsafe extern "C-unwind" fn interrupt(state: *mut ffi::lua_State, gc: c_int) {
    // During a collection nothing may be raised.
    if gc >= 0 {
        return;
    }
    // SAFETY: only executions call this, and `CURRENT` is set from their begin to their end; the slot is kept alive by
    // the VM they run in.
    let Some(slot) = (unsafe { CURRENT.get().as_ref() }) else { return };
    let verdict = slot.verdict();
    match *verdict {
        Some((epoch, clock)) if epoch == slot.epoch.load(Ordering::Relaxed) => {
            STOPPED_BY.set(Some(clock));
            drop(verdict);
            // SAFETY: the thread that is running, on which the interrupt was called. Luau lets an interrupt yield where
            // its thread is yieldable, and raise elsewhere; nothing in this frame needs dropping.
            unsafe {
                trace::note(state);
                if ffi::lua_isyieldable(state) != 0 {
                    ffi::lua_yield(state, 0);
                } else {
                    ffi::luaL_error(state, c"deadline exceeded".as_ptr());
                }
            }
        }
        // For an execution that is over. Under the lock, so that a verdict on this one is not removed with it.
        // SAFETY: the VM is running, so it lives.
        _ => unsafe { Callbacks(ffi::lua_callbacks(state)).set_interrupt(None) },
    }
}

/// Whether the execution on this thread has felt that it is to be stopped: then a coroutine that yielded may not have
/// done so by itself.
pub(crate) fn is_stopped() -> bool {
    STOPPED_BY.get().is_some()
}

/// Whether the execution on this thread is to be stopped: for loops of ours, which the interrupt does not reach. Once
/// true, it has been felt, as an interrupt would have been.
pub(crate) fn time_is_up() -> bool {
    // SAFETY: set from begin to end of an execution only, and the slot is kept alive by the VM it runs in.
    let Some(slot) = (unsafe { CURRENT.get().as_ref() }) else { return false };
    if slot.sentenced.load(Ordering::Relaxed) != slot.epoch.load(Ordering::Relaxed) {
        return false;
    }
    let verdict = *slot.verdict();
    match verdict {
        Some((epoch, clock)) if epoch == slot.epoch.load(Ordering::Relaxed) => {
            STOPPED_BY.set(Some(clock));
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Budget = Budget { cpu_ns: 1_000_000_000, wall_ns: 1_000_000_000 };

    #[test]
    fn a_verdict_on_an_ended_execution_does_not_stop_the_next() {
        let lua = mlua::Lua::new();
        let callbacks = Callbacks::of(&lua).unwrap();
        let slot = Slot::new().unwrap();
        slot.begin(callbacks, BUDGET, 0, false);
        slot.stop(1, Clock::Cpu);
        assert_eq!(slot.end(), None);

        slot.begin(callbacks, BUDGET, 0, false);
        let answer: mlua::Result<i32> = lua.load("for i = 1, 1000 do end return 7").eval();

        assert_eq!(answer.unwrap(), 7);
        assert_eq!(slot.end(), None);
    }

    #[test]
    fn a_verdict_on_the_running_execution_stops_it() {
        let lua = mlua::Lua::new();
        let callbacks = Callbacks::of(&lua).unwrap();
        let slot = Slot::new().unwrap();
        slot.begin(callbacks, BUDGET, 0, false);
        slot.stop(1, Clock::Wall);

        let answer: mlua::Result<()> = lua.load("while true do pcall(function() end) end").eval();

        assert!(answer.is_err());
        assert_eq!(slot.end(), Some(Clock::Wall));
    }

    #[test]
    fn a_loop_of_ours_feels_the_verdict_on_its_own_execution_only() {
        let lua = mlua::Lua::new();
        let callbacks = Callbacks::of(&lua).unwrap();
        let slot = Slot::new().unwrap();
        slot.begin(callbacks, BUDGET, 0, false);
        assert!(!time_is_up());
        slot.stop(1, Clock::Cpu);
        assert!(time_is_up());
        assert_eq!(slot.end(), Some(Clock::Cpu));
        assert!(!time_is_up());

        slot.begin(callbacks, BUDGET, 0, false);
        assert!(!time_is_up());
        assert_eq!(slot.end(), None);
    }

    #[test]
    fn a_retired_vm_is_not_touched() {
        let lua = mlua::Lua::new();
        let callbacks = Callbacks::of(&lua).unwrap();
        let slot = Slot::new().unwrap();
        slot.begin(callbacks, BUDGET, 0, false);

        slot.retire(callbacks);
        drop(lua);
        slot.stop(1, Clock::Cpu);

        assert_eq!(*slot.verdict(), None);
        slot.end();
    }

    #[test]
    fn a_look_comes_back_when_wall_time_has_passed_but_cpu_time_has_not() {
        let lua = mlua::Lua::new();
        let slot = Slot::new().unwrap();
        assert_eq!(slot.look(0), None);
        let budget = Budget { cpu_ns: 1_000_000_000, wall_ns: 9_000_000_000 };
        slot.begin(Callbacks::of(&lua).unwrap(), budget, 0, false);

        assert_eq!(slot.look(0), Some(1_000_000_000));
        let next = slot.look(1_000_000_000).unwrap();
        assert!((1_900_000_000..=2_000_000_000).contains(&next), "{next}");
        assert_eq!(slot.look(1_500_000_000), Some(next));
        assert_eq!(slot.look(9_000_000_000), Some(u64::MAX));

        assert_eq!(*slot.verdict(), Some((1, Clock::Wall)));
        slot.end();
    }
}
