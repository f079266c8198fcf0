//! A VM, and the steps of the executions in it.
#![allow(unsafe_code, reason = "enters the protected call in which the stack may be used")]

use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use contract::Code;
use mlua::Lua;
use mlua::state::{GcIncParams, GcMode};

use crate::asks::{Answer, Ask};
use crate::call::{Call, Entry};
use crate::chunks::Chunks;
use crate::compile::Program;
use crate::context::Contexts;
use crate::engine::Engine;
use crate::fault::Fault;
use crate::forms::{Failure, Wanted};
use crate::globals::{self, Globals};
use crate::guard;
use crate::kept::Kept;
use crate::life::{Life, Now};
use crate::limits::Limits;
use crate::parts::{Parts, Shared, Spare};
use crate::probe::Declared;
use crate::random::Random;
use crate::run::{Execution, Home, Outcome, Own, Run, Step, Waiting};
use crate::slot::{Budget, Callbacks, Slot, nanos};
use crate::stack::{Pin, Stack};
use crate::trace::{self, Place};
use crate::turn::{self, Turned};

/// A VM that holds more than this part of its limit after a step is swept at once: garbage of one execution must not
/// take the memory of the next. Below, sweeping as it goes is cheaper.
const SWEEP_ABOVE: f64 = 0.25;

/// What lives on after a sweep must grow by this factor before the next, or waiting executions would have every step
/// sweep in vain.
const SWEEP_GROWTH: f64 = 1.5;

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
    parts: Parts,
    limits: Limits,
    now: Now,
    home: Rc<Home>,
    random: Random,
    health: Health,
    /// Bytes held above which the VM is swept.
    sweep_above: f64,
}

/// Whether a VM may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Health {
    Sound,
    /// Takes no new executions; those that wait may end.
    Hurt,
    /// Nothing may run any more.
    Broken,
}

impl Vm {
    pub(crate) fn new(engine: Arc<Engine>, slot: Arc<Slot>, limits: &Limits) -> Result<Self, Fault> {
        engine.watchdog().expect(Budget { cpu_ns: nanos(limits.cpu), wall_ns: nanos(limits.wall) });
        let now = Rc::new(RefCell::new(Life::idle()));
        let mut random = Random::from_system();
        let (lua, parts, callbacks) = build(&now, &mut random)
            .map_err(|error| Fault::internal(&format!("a new VM could not be set up: {error}")))?;
        let used = lua.used_memory();
        if used >= limits.memory_bytes {
            return Err(Fault::no_room(used, limits.memory_bytes));
        }
        lua.set_memory_limit(limits.memory_bytes).map_err(|error| Fault::internal(&error.to_string()))?;
        let mut vm = Self {
            engine,
            slot,
            callbacks,
            lua,
            parts,
            limits: limits.clone(),
            now,
            home: Rc::default(),
            random,
            health: Health::Sound,
            sweep_above: 0.0,
        };
        vm.sweep_above = vm.sweep_floor();
        Ok(vm)
    }

    /// Begins an execution of `program`, and runs it until it waits or ends. Needs a thread with 8 MiB of stack.
    ///
    /// The outcome's [`Fault`] has the code `too_large` or `bad_json` for the input, `script_error`,
    /// `rejected_by_middleware`, `deadline_exceeded`, `memory_exceeded` for the run, `output_exceeded`, `result_invalid`
    /// for the answer, and `internal` for a panic of ours or when the VM was no longer usable.
    pub fn begin(&mut self, program: &Program, call: &Call<'_>) -> Step {
        self.begin_for(program, call, Wanted::of(call.entry))
    }

    fn begin_for(&mut self, program: &Program, call: &Call<'_>, wanted: Wanted<'_>) -> Step {
        let now = Instant::now();
        let mut life = Life::new(call.limits, *call.grants, now);
        life.limits.memory_bytes = life.limits.memory_bytes.min(self.limits.memory_bytes);
        if self.health != Health::Sound {
            return ended(
                life,
                Err(Fault::internal("the VM was hurt by an earlier execution and should have been replaced")),
            );
        }
        let result_bytes = if let Entry::After { result } = call.entry { result.len() } else { 0 };
        let bytes = call.input.len().max(result_bytes);
        if bytes > call.limits.input_bytes {
            return ended(life, Err(Fault::input_too_large(bytes, call.limits.input_bytes)));
        }
        let seed = self.random.next_u32();
        self.step(life, program, now, false, |stack, parts| turn::begin(stack, parts, program, call, wanted, seed))
    }

    /// Goes on with an execution of this VM that waited, because there are answers or its time has come. Answers to what
    /// was not asked or was cancelled are ignored.
    ///
    /// The outcome is as for [`Vm::begin`].
    pub fn resume(&mut self, run: Run, answers: Vec<Answer>) -> Step {
        let now = Instant::now();
        let program = run.program().clone();
        if !run.is_of(&self.home) || self.health == Health::Broken {
            let fault = Fault::internal("the execution belongs to another VM, or its VM has failed");
            return ended(run.into_life(), Err(fault));
        }
        let Own { mut life, rest } = run.into_own();
        if let Some(clock) = life.over(now) {
            self.home.dropped.borrow_mut().extend(rest.pins());
            let fault = Fault::deadline(clock, &life.limits, &program, &Place::default());
            return ended(life, Err(fault));
        }
        let answers = answers.into_iter().filter(|answer| life.asks.close(answer.id)).collect();
        let (seed, limits) = (self.random.next_u32(), life.limits.clone());
        self.step(life, &program, now, true, |stack, parts| {
            turn::resume(stack, parts, &program, rest, answers, &limits, seed)
        })
    }

    /// Ends an execution that waits. Its outcome is a [`Fault`] with the code `cancelled`.
    pub fn cancel(&mut self, run: Run) -> Execution {
        let fault = Fault::new(Code::Cancelled, format!("`{}` was cancelled while it waited", run.program().file()));
        execution(run.into_life(), Err(fault))
    }

    /// Runs an execution to its end on this thread, sleeping while it waits. It has nobody to ask: `ctx.run` and
    /// `ctx.http` raise an error.
    pub fn run(&mut self, program: &Program, call: &Call<'_>) -> Execution {
        self.run_with(program, call, &mut |ask| Err(format!("`{}` is not available here", ask.capability)))
    }

    /// Runs an execution to its end on this thread, sleeping while it waits. `host` answers what it asks for, with JSON
    /// text or a sentence, one after the other.
    pub fn run_with(
        &mut self,
        program: &Program,
        call: &Call<'_>,
        host: &mut dyn FnMut(Ask) -> Result<Vec<u8>, String>,
    ) -> Execution {
        let step = self.begin(program, call);
        self.finish(step, host)
    }

    /// Runs the script's chunk, and reads what the table that it returns declares.
    ///
    /// # Errors
    /// As [`Vm::begin`].
    pub(crate) fn declared(&mut self, program: &Program, call: &Call<'_>) -> Result<Declared, Fault> {
        let step = self.begin_for(program, call, Wanted::Declared);
        self.finish(step, &mut |ask| Err(format!("`{}` is not available while a script loads", ask.capability)))
            .outcome?;
        self.parts.declared.take().ok_or_else(|| Fault::internal("the script ended and was not read"))
    }

    /// Runs the script's own test of that name. It holds if it raises no error.
    ///
    /// # Errors
    /// As [`Vm::begin`].
    pub(crate) fn test(&mut self, program: &Program, call: &Call<'_>, name: &str) -> Result<(), Fault> {
        let step = self.begin_for(program, call, Wanted::Test(name.into()));
        let mut refuse = |ask: Ask| {
            Err(format!("`{}` is not available in tests; call the handler with a `ctx` of your own", ask.capability))
        };
        self.finish(step, &mut refuse).outcome.map(drop)
    }

    /// Runs an execution to its end after its first step.
    fn finish(&mut self, mut step: Step, host: &mut dyn FnMut(Ask) -> Result<Vec<u8>, String>) -> Execution {
        loop {
            match step {
                Step::Ended(execution) => return execution,
                Step::Waiting(Waiting { run, asks, wake_at }) => {
                    if asks.is_empty() {
                        let until = wake_at.unwrap_or(run.ends());
                        thread::sleep(until.saturating_duration_since(Instant::now()));
                    }
                    let answers = asks.into_iter().map(|ask| Answer { id: ask.id, outcome: host(ask) }).collect();
                    step = self.resume(run, answers);
                }
            }
        }
    }

    /// False after a fault that may have hurt the VM (memory, deadline, panic): make a new one for new executions, and
    /// drop this one when nothing is [waiting](Self::waiting) in it.
    pub fn is_usable(&self) -> bool {
        self.health == Health::Sound
    }

    /// How many executions wait.
    pub fn waiting(&self) -> usize {
        self.home.waiting.get()
    }

    /// Bytes the VM holds now.
    pub fn used_bytes(&self) -> usize {
        self.lua.used_memory()
    }

    /// One step of an execution, that began or goes on at `now`.
    fn step(
        &mut self,
        life: Life,
        program: &Program,
        now: Instant,
        goes_on: bool,
        turn: impl FnOnce(&mut Stack, &mut Parts) -> Result<Turned, Failure>,
    ) -> Step {
        let budget = life.budget(now);
        let memory = life.limits.memory_bytes;
        let idle = self.now.replace(life);
        let narrower = memory < self.limits.memory_bytes;
        if narrower {
            self.limit_memory(memory);
        }
        trace::reset();

        self.engine.watchdog().begin(&self.slot, self.callbacks, budget, now, goes_on);
        // Around the protected call, not inside: a Lua error on its way is not Rust's to catch.
        let turned = catch_unwind(AssertUnwindSafe(|| self.enter(turn)));
        let stopped_by = self.slot.end();

        if narrower {
            self.limit_memory(self.limits.memory_bytes);
        }
        let mut life = self.now.replace(idle);
        // Asked in any case: the answer is for this step only.
        let panicked = guard::panicked();
        let turned = match (turned, stopped_by) {
            (Ok(turned), Some(clock)) if !panicked => {
                self.health = Health::Hurt;
                if let Ok(Turned::Waiting(rest, _)) = turned {
                    self.home.dropped.borrow_mut().extend(rest.pins());
                }
                Err(Fault::deadline(clock, &life.limits, program, &trace::place()))
            }
            (Ok(turned), None) if !panicked => turned.map_err(|failure| {
                if matches!(failure, Failure::Memory) {
                    self.health = Health::Hurt;
                }
                failure.fault(program, memory)
            }),
            _ => {
                self.health = Health::Broken;
                Err(Fault::internal("the sandbox itself failed (panic); the VM is given up"))
            }
        };
        self.sweep();
        match turned {
            Ok(Turned::Ended(outcome)) => ended(life, Ok(outcome)),
            Ok(Turned::Waiting(rest, wake_in)) => {
                life.cpu_left = life.cpu_left.saturating_sub(self.slot.cpu_used());
                let wake_at = wake_in.map(|time| Instant::now().checked_add(time).unwrap_or(life.ends).min(life.ends));
                let asks = life.asks.take();
                let run = Run::new(Own { life, rest }, program.clone(), Rc::clone(&self.home));
                Step::Waiting(Waiting { run, asks, wake_at })
            }
            Err(fault) => ended(life, Err(fault)),
        }
    }

    /// The protected call in which everything happens that may raise a Lua error.
    fn enter(
        &mut self,
        turn: impl FnOnce(&mut Stack, &mut Parts) -> Result<Turned, Failure>,
    ) -> Result<Turned, Failure> {
        let mut turned = None;
        let (parts, home) = (&mut self.parts, &self.home);
        // SAFETY: the state is valid on this thread during the call, which is protected and restores the stack.
        let entered = unsafe {
            self.lua.exec_raw::<()>((), |state| {
                let mut stack = Stack::new(state);
                for pin in home.dropped.borrow_mut().drain(..) {
                    stack.let_go(pin);
                }
                turned = Some(turn(&mut stack, parts));
            })
        };
        if let (Some(turned), Ok(())) = (turned, entered) {
            return turned;
        }
        // Raised where nothing of the script's was running, so that only memory can be the reason. What the execution
        // left must not be held for those that wait.
        let parts = &mut self.parts;
        // SAFETY: as above. If it fails, more is held than needed, and the limit still holds.
        let _ = unsafe { self.lua.exec_raw::<()>((), |state| parts.leave(&mut Stack::new(state))) };
        Err(Failure::Memory)
    }

    fn limit_memory(&self, bytes: usize) {
        self.lua.set_memory_limit(bytes).expect("it was limited when it was made");
    }

    /// Sweeps if much was left behind and somebody needs the room.
    #[expect(clippy::cast_precision_loss, reason = "a rough comparison")]
    fn sweep(&mut self) {
        let needed = match self.health {
            Health::Sound => true,
            Health::Hurt => self.waiting() > 0,
            Health::Broken => false,
        };
        if !needed || (self.lua.used_memory() as f64) < self.sweep_above {
            return;
        }
        self.home.dropped.borrow_mut().extend(self.parts.kept.take_pooled());
        if self.lua.gc_collect().is_err() {
            self.health = Health::Hurt;
        }
        self.sweep_above = self.sweep_floor().max(self.lua.used_memory() as f64 * SWEEP_GROWTH);
    }

    #[expect(clippy::cast_precision_loss, reason = "a rough comparison")]
    fn sweep_floor(&self) -> f64 {
        self.limits.memory_bytes as f64 * SWEEP_ABOVE
    }
}

fn ended(life: Life, outcome: Result<Outcome, Fault>) -> Step {
    Step::Ended(execution(life, outcome))
}

fn execution(life: Life, outcome: Result<Outcome, Fault>) -> Execution {
    let (log, log_dropped) = life.log.into_lines();
    Execution { outcome, log, log_dropped, wall: life.began.elapsed() }
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
            .field("health", &self.health)
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

/// Makes a VM with the names of `globals.rs`, still without a memory limit, so that setting up cannot half fail.
fn build(now: &Now, random: &mut Random) -> mlua::Result<(Lua, Parts, Callbacks)> {
    let lua = Lua::new_with(globals::libraries(), mlua::LuaOptions::default())?;
    lua.gc_set_mode(GcMode::Incremental(
        GcIncParams::default().goal(SWEEP_GOAL_PERCENT).step_multiplier(SWEEP_WORK_PERCENT),
    ));
    let key = random.key();
    // SAFETY: the state is valid on this thread during the call, which is protected and restores the stack.
    unsafe { lua.exec_raw::<()>((), |state| Stack::new(state).scramble_addresses(key))? };
    let Globals { base, environment, nowhere, array, reseed, context, now: tasks, drive, remember, restore, requirer } =
        globals::install(&lua, now)?;
    let shared = Shared {
        base: Pin::of(&lua, base)?,
        environment: Pin::of(&lua, environment)?,
        array: Pin::of(&lua, array)?,
        reseed: Pin::of(&lua, reseed)?,
        now: Pin::of(&lua, tasks)?,
        drive: Pin::of(&lua, drive)?,
        remember: Pin::of(&lua, remember)?,
        restore: Pin::of(&lua, restore)?,
        requirer: Pin::of(&lua, requirer)?,
    };
    let contexts = Contexts::new(Pin::of(&lua, context)?);
    let callbacks = Callbacks::of(&lua)?;
    let chunks = Chunks::new(Pin::of(&lua, nowhere)?);
    Ok((
        lua,
        Parts { shared, contexts, chunks, kept: Kept::default(), spare: Spare::default(), declared: None },
        callbacks,
    ))
}
