//! `ctx`, what a handler is told about the execution it is part of.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use mlua::{Function, Lua};

use crate::stack::{Pin, Position, Stack};
use crate::vm::Call;

/// Shared members of every `ctx` of a VM.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Members {
    pub(crate) log: Pin,
    pub(crate) deadline: Pin,
}

/// `ctx.deadline()`: seconds of wall time left, never below 0. A function, because it changes while the script runs.
pub(crate) fn deadline(lua: &Lua, ends: &Rc<Cell<Instant>>) -> mlua::Result<Function> {
    let ends = Rc::clone(ends);
    lua.create_function(move |_, ()| Ok(ends.get().saturating_duration_since(Instant::now()).as_secs_f64()))
}

/// Pushes a read-only table with `tenant`, `script`, `version`, `execution_id`, `log` and `deadline`.
pub(crate) fn push(stack: &mut Stack, call: &Call<'_>, members: Members) -> Position {
    let table = stack.push_table(0, 6);
    let texts = [
        (c"tenant", call.tenant),
        (c"script", call.script),
        (c"version", call.version),
        (c"execution_id", call.execution_id),
    ];
    for (name, text) in texts {
        stack.push_bytes(text.as_bytes());
        stack.set_field(table, name);
    }
    for (name, pin) in [(c"log", members.log), (c"deadline", members.deadline)] {
        stack.push_pin(pin);
        stack.set_field(table, name);
    }
    stack.freeze(table);
    table
}
