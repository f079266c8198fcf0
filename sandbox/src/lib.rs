//! Luau made safe: compile a script, run it under limits, take JSON in and out.
//!
//! ```text
//! compile(file, source) ── Program ──┐
//! Engine::start() ── engine.vm() ── Vm::run(program, call) ── Execution { outcome, log, … }
//! check(engine, file, source) ── compiled, inspected, its own tests run: what the gate asks for
//! ```
//!
//! One [`Engine`] per process, one [`Vm`] per tenant and thread, one fresh environment per execution. A script sees the
//! names in `globals.rs` and nothing else; every limit is set before its first instruction. This crate alone names
//! `mlua`. It does no I/O, keeps no scripts and knows no tenants; who calls it decides what runs where.
//!
//! # Stack
//! The Luau parser and nested C calls (up to 200) need room: call [`compile()`] and [`Vm::run`] on threads with **8 MiB**
//! of stack. On less, a hostile script can overflow it, and that ends the process.
//!
//! # Packages
//! A source is Luau text, or a zip or tar file of modules. `require("./x")` finds modules of the same package only;
//! `require("@moonswarm/NAME")` gives a read-only table of the sandbox's: `base64`, `json`, and those globals that
//! `modules.luau` names. Module names are those of their files, in errors too: `rules/vip.luau:12: …`.
//!
//! # Forms of a script
//! - its chunk returns a function: `handler(input, ctx)`, what that returns is the answer;
//! - its chunk returns a table with `handle`: the same, the table may hold more;
//! - its chunk returns nothing: the founding form, which reads the global `input` and leaves the global `result`.
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

mod capability;
mod check;
mod compile;
mod context;
mod engine;
mod fault;
mod forms;
mod globals;
mod guard;
mod json;
mod limits;
mod log;
mod manifest;
mod modules;
mod package;
mod patterns;
mod probe;
mod slot;
mod stack;
mod trace;
mod types;
mod vm;
mod watchdog;

pub use capability::Capability;
pub use check::{Checked, check, inspect};
pub use compile::{Program, Refusal, compile, modules};
pub use contract::Diagnostic;
pub use engine::Engine;
pub use fault::Fault;
pub use limits::Limits;
pub use log::{Level, LogLine};
pub use manifest::{Manifest, OwnLimits, State};
pub use types::TYPES;
pub use vm::{Call, Execution, Vm};
