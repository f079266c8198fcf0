//! Luau made safe: compile a script, run it under limits, take JSON in and out.
//!
//! ```text
//! compile(file, source) ── Program ──┐
//! Engine::start() ── engine.vm() ── Vm::begin(program, call) ── Step::Ended(Execution { outcome, log, … })
//!                                                   └────────── Step::Waiting(Waiting { run, asks, wake_at })
//!                                                                    └── Vm::resume(run, answers) ── Step …
//! check(engine, file, source) ── compiled, inspected, its own tests run: what the gate asks for
//! ```
//!
//! One [`Engine`] per process, one [`Vm`] per tenant and thread, one fresh environment per execution. A script sees the
//! names in `globals.rs` and nothing else; every limit is set before its first instruction. This crate alone names
//! `mlua`. It does no I/O, keeps no scripts and knows no tenants; who calls it decides what runs where.
//!
//! # Stack
//! The Luau parser and nested C calls (up to 200) need room: call [`compile()`] and the methods of [`Vm`] that run scripts
//! on threads with **8 MiB** of stack. On less, a hostile script can overflow it, and that ends the process.
//!
//! # Packages
//! A source is Luau text, or a zip or tar file of modules. `require("./x")` finds modules of the same package only;
//! `require("@moonswarm/NAME")` gives a read-only table of the sandbox's: `base64`, `json`, `task`, and with their
//! capabilities `hash`, `random` and `time`. A module may wait while it loads. Module names are those of their files, in
//! errors too: `rules/vip.luau:12: …`. In a kept environment (see [`State`]) modules stay loaded as its chunk does.
//!
//! # Forms of a script
//! - its chunk returns a function: `handler(input, ctx)`, what that returns is the answer;
//! - its chunk returns a table: a module. [`Entry`] says which of its functions is called: `handle`, one of the events in
//!   `on`, `before` or `after`;
//! - its chunk returns nothing: the founding form, which reads the global `input` and leaves the global `result`.
//!
//! # Waits
//! An execution runs on a Lua thread of its own. When its main coroutine waits and no task is ready, the step ends, and
//! the host holds a [`Run`] until an [`Answer`] comes or `wake_at` is reached; other executions of the VM run meanwhile.
//! Each has, over all its steps: one CPU budget (only steps count), wall time from its begin, log, environment and
//! `ctx.deadline()`. Random numbers do not depend on other executions; a seed that a script sets holds until it waits.
//! A step ends early only by a limit: nothing of a script runs after its deadline, in no task.
//!
//! A chunk may wait, too, but not where Luau cannot yield: in a metamethod, or in a function that a library calls, such
//! as the comparator of `table.sort`. That is an error at its line. So is a main coroutine that yields when no task,
//! timer or answer could resume it, and one that the script itself resumes or ends.
//!
//! # Tasks
//! `task.spawn`, `defer`, `delay`, `wait` and `cancel` are as Luau users know them: `spawn` runs at once, `defer` when all
//! that runs has given way, a coroutine that waits gives way to who resumed it and is resumed by the scheduler. Waits and
//! delays are at least 0.05 s and end on a grain of 0.01 s, so that an execution wakes its host at most 100 times a second.
//! At most 1,000 tasks of an execution may wait or be ready.
//!
//! The execution ends when its main function has returned and nothing is ready. What still waits then, for its time or
//! for an answer, is dropped, and asks of that last step are never made. An error in a task is logged with its line and
//! ends the task, not the execution; memory that runs out in a task or coroutine ends the execution.
//!
//! # Capabilities
//! What reaches outside must be [granted](Grants): `ctx.run(script, input)` and `ctx.http.request{…}`, with `get` and
//! `post`, become [`Ask`]s that the host answers; refusals are raised where the script asked. At most 64 may be
//! unanswered. `log`, `time`, `random`, `json` and `hash` reach nothing and are granted by default. Without a capability
//! its member of `ctx` is absent, and an ask is refused even when a script kept another execution's `ctx`.
//! `ctx.capabilities` lists the names; `ctx:withlimits{ capabilities = {…} }` gives a `ctx` with fewer, for code that is
//! trusted less.
//!
//! # State
//! [`State`] says what stays of a script between executions, and what that can promise.
//!
//! # JSON and Luau values
//! | JSON in | Luau | JSON out |
//! |---|---|---|
//! | object | table with string keys | object, in no particular order |
//! | array | table with keys 1 to n | array |
//! | `[]` | empty table marked as array | `[]`, also when made with `json.array()` |
//! | `{}` | empty table | `{}` |
//! | `null` | absent (nil) | `null` for nil, `json.null` and holes of an array |
//! | number | number (64-bit float) | number; integers without a fraction, exactly |
//! | integer that a float does not hold | refused (`bad_json`) | |
//! | string | string | string; must be UTF-8 |
//!
//! An integer of more than 64 bits and any decimal fraction become the nearest float, as in most JSON readers.

mod asks;
mod call;
mod capability;
mod check;
mod chunks;
mod compile;
mod context;
mod drive;
mod engine;
mod fault;
mod forms;
mod globals;
mod guard;
mod hash;
mod host;
mod json;
mod kept;
mod layer;
mod life;
mod limits;
mod log;
mod manifest;
mod modules;
mod package;
mod parts;
mod patterns;
mod policy;
mod probe;
mod random;
mod rest;
mod run;
mod slot;
mod stack;
mod trace;
mod turn;
mod types;
mod vm;
mod watchdog;

pub use asks::{Answer, Ask};
pub use call::{Call, Callee, Entry, State};
pub use capability::{Capability, Grants};
pub use check::{Checked, check, inspect};
pub use compile::{Program, Refusal, compile, modules};
pub use contract::Diagnostic;
pub use engine::Engine;
pub use fault::Fault;
pub use layer::{Layer, NamePattern};
pub use limits::Limits;
pub use log::{Level, LogLine};
pub use manifest::{Manifest, OwnLimits};
pub use policy::policy;
pub use run::{Execution, Outcome, Run, Step, Waiting};
pub use slot::nanos;
pub use types::TYPES;
pub use vm::Vm;
