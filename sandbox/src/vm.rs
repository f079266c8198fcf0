//! A VM, and the story of one execution in it.
#![allow(unsafe_code, reason = "enters the protected call in which the stack may be used")]

use std::cell::{Cell, RefCell};
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::Code;
use mlua::state::{GcIncParams, GcMode};
use mlua::{Function, Lua, LuaOptions, Table};

use crate::compile::Program;
use crate::context::{self, Members};
use crate::engine::Engine;
use crate::fault::Fault;
use crate::forms::{self, Failure, Shared};
use crate::globals::{self, Globals};
use crate::guard;
use crate::limits::Limits;
use crate::log::{Log, LogLine};
use crate::probe::Probe;
use crate::slot::{Budget, Callbacks, Slot, nanos};
use crate::stack::Stack;
use crate::trace;

/// A VM that holds more than this part of its limit after an execution is swept at once: garbage of one execution
/// must not take the memory of the next. Below, sweeping as it goes is cheaper.
const SWEEP_ABOVE: f64 = 0.25;

/// Luau starts a sweep when the heap has grown to this many percent of what lived, and does not sweep because the limit
/// is near. The usual 200 would kill scripts that make much garbage.
const SWEEP_GOAL_PERCENT: i32 = 150;

/// Sweeping work per memory taken, in percent.
const SWEEP_WORK_PERCENT: i32 = 400;

/// Luau VM of one tenant on one thread. Neither `Send` nor `Sync`.
pub struct Vm {
    engine: Arc<Engine>,
    slot: Arc<Slot>,
    callbacks: Callbacks,
    lua: Lua,
    shared: Shared,
    limits: Limits,
    budget: Budget,
    log: Rc<RefCell<Log>>,
    ends: Rc<Cell<Instant>>,
    random: Random,
    usable: bool,
}

/// One execution: what the script is told.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Whose script.
    pub tenant: &'a str,
    /// Which.
    pub script: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Id of this execution.
    pub execution_id: &'a str,
    /// JSON text; empty = `null`.
    pub input: &'a [u8],
}

/// What an execution left.
#[derive(Debug)]
pub struct Execution {
    /// JSON text, or why there is none.
    pub outcome: Result<Vec<u8>, Fault>,
    /// What the script logged, oldest first.
    pub log: Vec<LogLine>,
    /// Log lines dropped for the budget.
    pub log_dropped: u32,
    /// Wall time.
    pub wall: Duration,
}

impl Vm {
    pub(crate) fn new(engine: Arc<Engine>, slot: Arc<Slot>, limits: &Limits) -> Result<Self, Fault> {
        let budget = Budget { cpu_ns: nanos(limits.cpu), wall_ns: nanos(limits.wall) };
        engine.watchdog().expect(budget);
        let log = Rc::new(RefCell::new(Log::default()));
        let ends = Rc::new(Cell::new(Instant::now()));
        let mut random = Random::from_system();
        let (lua, shared, callbacks) = build(&log, &ends, &mut random)
            .map_err(|error| Fault::internal(&format!("a new VM could not be set up: {error}")))?;
        let used = lua.used_memory();
        if used >= limits.memory_bytes {
            return Err(Fault::no_room(used, limits.memory_bytes));
        }
        lua.set_memory_limit(limits.memory_bytes).map_err(|error| Fault::internal(&error.to_string()))?;
        Ok(Self {
            engine,
            slot,
            callbacks,
            lua,
            shared,
            limits: limits.clone(),
            budget,
            log,
            ends,
            random,
            usable: true,
        })
    }

    /// Runs `program` in a fresh environment. Needs a thread with 8 MiB of stack.
    ///
    /// The outcome's [`Fault`] has the code `too_large` or `bad_json` for the input, `script_error`,
    /// `deadline_exceeded`, `memory_exceeded` for the run, `output_exceeded`, `result_invalid` for the answer, and
    /// `internal` for a panic of ours or when the VM was no longer usable.
    pub fn run(&mut self, program: &Program, call: &Call<'_>) -> Execution {
        self.run_probe(program, call, None)
    }

    /// Has `program` answer to a probe: the outcome of one that holds is empty.
    pub(crate) fn probe(&mut self, program: &Program, call: &Call<'_>, probe: Probe<'_>) -> Execution {
        self.run_probe(program, call, Some(probe))
    }

    fn run_probe(&mut self, program: &Program, call: &Call<'_>, probe: Option<Probe<'_>>) -> Execution {
        let started = Instant::now();
        self.log.borrow_mut().begin(self.limits.log_bytes);
        let outcome = self.execute(program, call, probe, started);
        let (log, log_dropped) = self.log.borrow_mut().take();
        let wall = started.elapsed();
        self.sweep();
        Execution { outcome, log, log_dropped, wall }
    }

    /// False after a fault that may have hurt the VM (memory, deadline, panic): drop it and make a new one.
    pub fn is_usable(&self) -> bool {
        self.usable
    }

    /// Bytes the VM holds now.
    pub fn used_bytes(&self) -> usize {
        self.lua.used_memory()
    }

    fn execute(
        &mut self,
        program: &Program,
        call: &Call<'_>,
        probe: Option<Probe<'_>>,
        started: Instant,
    ) -> Result<Vec<u8>, Fault> {
        if !self.usable {
            return Err(Fault::internal("the VM was hurt by an earlier execution and should have been replaced"));
        }
        if call.input.len() > self.limits.input_bytes {
            return Err(Fault::input_too_large(call.input.len(), self.limits.input_bytes));
        }
        self.ends.set(started.checked_add(self.limits.wall).unwrap_or(started));
        let seed = self.random.next_u32();
        trace::reset();

        self.engine.watchdog().begin(&self.slot, self.callbacks, self.budget, started);
        // Around the protected call, not inside: a Lua error on its way is not Rust's to catch.
        let ended = catch_unwind(AssertUnwindSafe(|| self.enter(program, call, probe, seed)));
        let stopped_by = self.slot.end();

        // Asked in any case: the answer is for this execution only.
        let panicked = guard::panicked();
        let (Ok(ended), false) = (ended, panicked) else {
            self.usable = false;
            return Err(Fault::internal("the sandbox itself failed (panic); the VM is given up"));
        };
        if let Some(clock) = stopped_by {
            self.usable = false;
            return Err(Fault::deadline(clock, &self.limits, program, &trace::place()));
        }
        ended.map_err(|failure| {
            self.usable = !matches!(failure, Failure::Memory);
            self.fault(failure, program)
        })
    }

    /// The protected call in which everything happens that may raise a Lua error.
    fn enter(
        &self,
        program: &Program,
        call: &Call<'_>,
        probe: Option<Probe<'_>>,
        seed: u32,
    ) -> Result<Vec<u8>, Failure> {
        let mut result = None;
        // SAFETY: the state is valid on this thread during the call, which is protected and restores the stack.
        let entered = unsafe {
            self.lua.exec_raw::<()>((), |state| {
                let mut stack = Stack::new(state);
                result = Some(forms::run(&mut stack, self.shared, program, call, probe, &self.limits, seed));
            })
        };
        match (result, entered) {
            (Some(result), Ok(())) => result,
            (_, Err(mlua::Error::MemoryError(_))) => Err(Failure::Memory),
            (_, Err(error)) => Err(Failure::Raised(error.to_string())),
            (None, Ok(())) => Err(Failure::Load("the protected call was not made".to_owned())),
        }
    }

    fn fault(&self, failure: Failure, program: &Program) -> Fault {
        match failure {
            Failure::Input(error) => Fault::bad_json(&error),
            Failure::Load(error) => Fault::internal(&format!("Luau refused compiled code: {error}")),
            Failure::Raised(message) => Fault::raised(program, &message, &trace::place()),
            Failure::Memory => Fault::memory(self.limits.memory_bytes, program, &trace::place()),
            Failure::Form(detail) => Fault::new(Code::ResultInvalid, detail),
            Failure::Output(refused) if refused.is_limit() => Fault::new(Code::OutputExceeded, refused.sentence()),
            Failure::Output(refused) => Fault::new(Code::ResultInvalid, refused.sentence()),
        }
    }

    /// Sweeps if much was left behind. A VM that is not usable will be dropped, so nobody needs it swept.
    fn sweep(&mut self) {
        #[expect(clippy::cast_precision_loss, reason = "a rough comparison")]
        let much = self.lua.used_memory() as f64 > self.limits.memory_bytes as f64 * SWEEP_ABOVE;
        if self.usable && much {
            self.usable = self.lua.gc_collect().is_ok();
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.slot.retire(self.callbacks);
    }
}

impl fmt::Debug for Vm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vm")
            .field("used_bytes", &self.used_bytes())
            .field("usable", &self.usable)
            .finish_non_exhaustive()
    }
}

/// Makes a VM with the names of `globals.rs`, still without a memory limit, so that setting up cannot half fail.
fn build(
    log: &Rc<RefCell<Log>>,
    ends: &Rc<Cell<Instant>>,
    random: &mut Random,
) -> mlua::Result<(Lua, Shared, Callbacks)> {
    let lua = Lua::new_with(globals::libraries(), LuaOptions::default())?;
    lua.gc_set_mode(GcMode::Incremental(
        GcIncParams::default().goal(SWEEP_GOAL_PERCENT).step_multiplier(SWEEP_WORK_PERCENT),
    ));
    let Globals { base, environment, array, log, requirer, reseed } = globals::install(&lua, log)?;
    let values =
        (base, environment, array, log, requirer, reseed, context::deadline(&lua, ends)?, trace::handler(&lua)?);
    let shared = pin(&lua, values, random.key())?;
    let callbacks = Callbacks::of(&lua)?;
    Ok((lua, shared, callbacks))
}

fn pin(
    lua: &Lua,
    values: (Table, Table, Table, Table, Function, Function, Function, Function),
    address_key: [u64; 4],
) -> mlua::Result<Shared> {
    let mut shared = None;
    // SAFETY: the state is valid on this thread during the call, which is protected and restores the stack.
    unsafe {
        lua.exec_raw::<()>(values, |state| {
            let mut stack = Stack::new(state);
            stack.scramble_addresses(address_key);
            // In the order of `values`.
            let [base, environment, array, log, requirer, reseed, deadline, locate] = stack.pin_all();
            let members = Members { log, deadline };
            shared = Some(Shared { base, environment, array, members, requirer, reseed, locate });
            stack.clear();
        })?;
    }
    shared.ok_or_else(|| mlua::Error::runtime("the protected call was not made"))
}

/// SplitMix64, started from the system's randomness. Not for secrets.
struct Random(u64);

impl Random {
    fn from_system() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }

    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn next_u32(&mut self) -> u32 {
        u32::try_from(self.next_u64() >> 32).unwrap_or_default()
    }

    fn key(&mut self) -> [u64; 4] {
        std::array::from_fn(|_| self.next_u64())
    }
}
