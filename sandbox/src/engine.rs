//! What all VMs of a process share: Luau's process-wide switches and the watchdog.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mlua::Lua;

use crate::fault::Fault;
use crate::limits::Limits;
use crate::slot::Slot;
use crate::vm::Vm;
use crate::watchdog::Watchdog;

/// Corrections that Luau ships switched off: sweeping that falls behind large garbage, `table.move` over a huge range,
/// tables after memory ran out, sizes of tables, the metatable of vectors, addresses in texts.
const FLAGS: [&str; 6] = [
    "LuauBackedgeHeapCheck",
    "LuauTableMoveTimeoutFix",
    "LuauTableRobustOom",
    "LuauTableArrayAdjustCheck",
    "LuauSandboxFreezesVectorMetatable",
    "LuauNewPointerEncode",
];

thread_local! {
    /// This thread's slot in each engine, by the engine's number. Programs have one engine; only tests have more. Held
    /// as long as the thread lives: a slot that the watchdog might forget in the moment it is used again would be a
    /// thread without deadlines.
    static SLOTS: RefCell<Vec<(u64, Arc<Slot>)>> = const { RefCell::new(Vec::new()) };
}

/// What all VMs of a process share: one per process, started before the first VM.
#[derive(Debug)]
pub struct Engine {
    number: u64,
    watchdog: Watchdog,
}

impl Engine {
    /// Starts the watchdog thread.
    ///
    /// # Errors
    /// If the system gives no thread, or Luau does not know one of the corrections that the sandbox relies on.
    pub fn start() -> io::Result<Arc<Self>> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        for flag in FLAGS {
            Lua::set_fflag(flag, true)
                .map_err(|()| io::Error::other(format!("this build of Luau has no switch `{flag}`")))?;
        }
        Ok(Arc::new(Self { number: NEXT.fetch_add(1, Ordering::Relaxed), watchdog: Watchdog::start()? }))
    }

    /// A new VM for one tenant, pinned to the calling thread. Takes about 0.2 ms and 440 KiB of `memory_bytes`.
    ///
    /// # Errors
    /// [`Fault`] with `memory_exceeded` if `limits` leave no room for the VM itself, else with `internal`.
    pub fn vm(self: &Arc<Self>, limits: &Limits) -> Result<Vm, Fault> {
        let slot = self.slot().map_err(|error| Fault::internal(&format!("the thread has no CPU clock: {error}")))?;
        Vm::new(Arc::clone(self), slot, limits)
    }

    pub(crate) fn watchdog(&self) -> &Watchdog {
        &self.watchdog
    }

    /// The calling thread's slot, shared by its VMs.
    fn slot(&self) -> io::Result<Arc<Slot>> {
        SLOTS.with_borrow_mut(|slots| {
            // Those of engines that are gone.
            slots.retain(|(_, slot)| Arc::strong_count(slot) > 1);
            if let Some((_, slot)) = slots.iter().find(|(engine, _)| *engine == self.number) {
                return Ok(Arc::clone(slot));
            }
            let slot = Slot::new()?;
            self.watchdog.add(Arc::clone(&slot));
            slots.push((self.number, Arc::clone(&slot)));
            Ok(slot)
        })
    }
}
