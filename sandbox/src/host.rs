//! What our own Luau code is given to work with. Scripts never see it.
//!
//! Each function is linear in its arguments, and fails by what it returns: an error of Rust would reach the script as a
//! value that it cannot read.
#![allow(unsafe_code, reason = "enters the protected call in which the stack may be used")]

use std::rc::Rc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use memchr::memmem;
use mlua::{Lua, LuaString, Table, Value};

use crate::capability::Capability;
use crate::guard;
use crate::hash;
use crate::json;
use crate::life::Now;
use crate::log::Level;
use crate::patterns;
use crate::stack::{Pin, Stack};
use crate::trace;

/// Work of one [`sweep`].
const SWEEP_KIB: u16 = 256;

/// All of them but `ask`.
pub(crate) fn functions(lua: &Lua, life: &Now) -> mlua::Result<Table> {
    let host = lua.create_table()?;
    let now = Rc::clone(life);
    host.raw_set(
        "log",
        guard::function(lua, move |_, (level, message): (LuaString, LuaString)| {
            let mut life = now.borrow_mut();
            if life.grants.contains(Capability::Log) {
                life.log.add(Level::named(&level.as_bytes()), &message.as_bytes());
            }
            Ok(())
        })?,
    )?;
    let now = Rc::clone(life);
    host.raw_set(
        "isgranted",
        guard::function(lua, move |_, name: LuaString| {
            let capability = Capability::named(&name.to_string_lossy());
            Ok(capability.is_some_and(|capability| now.borrow().grants.contains(capability)))
        })?,
    )?;
    let now = Rc::clone(life);
    host.raw_set(
        "deadline",
        guard::function(lua, move |_, ()| {
            Ok(now.borrow().ends.saturating_duration_since(Instant::now()).as_secs_f64())
        })?,
    )?;
    host.raw_set(
        "now",
        guard::function(lua, |_, ()| {
            Ok(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()))
        })?,
    )?;
    host.raw_set("find", guard::function(lua, find)?)?;
    host.raw_set("isat", guard::function(lua, is_at)?)?;
    host.raw_set(
        "heaviest",
        guard::function(lua, |_, pattern: LuaString| Ok(patterns::heaviest(&pattern.as_bytes())))?,
    )?;
    host.raw_set(
        "percents",
        #[expect(clippy::cast_precision_loss, reason = "a string in a VM is shorter than 2^53")]
        guard::function(lua, |_, text: LuaString| Ok(memchr::memchr_iter(b'%', &text.as_bytes()).count() as f64))?,
    )?;
    host.raw_set(
        "iscfunction",
        guard::function(lua, |_, value: Value| {
            Ok(value.as_function().is_some_and(|function| function.info().what == "C"))
        })?,
    )?;
    let now = Rc::clone(life);
    host.raw_set(
        "iscrowded",
        #[expect(clippy::cast_precision_loss, reason = "a rough comparison")]
        guard::function(lua, move |lua, more: f64| {
            Ok(lua.used_memory() as f64 + more > now.borrow().limits.memory_bytes as f64)
        })?,
    )?;
    host.raw_set("sweep", guard::function(lua, |lua, ()| Ok(sweep(lua)))?)?;
    host.raw_set("failed", trace::failed(lua)?)?;
    host.raw_set("exhaust", trace::exhausted(lua)?)?;
    // Luau's own `setmetatable` and `table.freeze` each refuse what the other has done.
    host.raw_set(
        "seal",
        guard::function(lua, |_, (table, metatable): (Table, Table)| {
            table.set_metatable(Some(metatable))?;
            table.set_readonly(true);
            Ok(table)
        })?,
    )?;
    host.raw_set("hash", hash::functions(lua)?)?;
    host.raw_set("hash_bytes_max", hash::INPUT_BYTES_MAX)?;
    Ok(host)
}

/// Adds `ask(capability, name, payload)`, which needs the metatable of arrays. It gives the id of the ask, or nil and why
/// there is none; without a sentence that is because memory ran out.
pub(crate) fn add_calls(lua: &Lua, life: &Now, host: &Table, array: Table) -> mlua::Result<()> {
    let array = Pin::of(lua, array)?;
    let now = Rc::clone(life);
    host.raw_set(
        "ask",
        guard::function(lua, move |lua, (capability, name, payload): (LuaString, LuaString, Value)| {
            let life = &mut *now.borrow_mut();
            let mut written = None;
            // SAFETY: the state is valid on this thread during the call, which is protected and restores the stack.
            let entered = unsafe {
                lua.exec_raw::<()>(payload, |state| {
                    let mut stack = Stack::new(state);
                    let payload = stack.top();
                    written = Some(json::take(&mut stack, payload, &life.limits, array));
                    stack.clear();
                })
            };
            let capability = Capability::named(&capability.to_string_lossy());
            Ok(match (written, entered, capability) {
                (Some(Ok(json)), Ok(()), Some(capability)) => {
                    match life.asks.make(life.grants, capability, json, life.limits.output_bytes) {
                        Ok(id) => (Some(id), None),
                        Err(sentence) => (None, Some(sentence)),
                    }
                }
                (Some(Err(refused)), Ok(()), _) => (None, Some(refused.sentence(&name.to_string_lossy()))),
                _ => (None, None),
            })
        })?,
    )
}

/// Sweeps for some 0.1 ms. Whether a round of sweeping has ended with it.
fn sweep(lua: &Lua) -> bool {
    let mut ended = true;
    // SAFETY: the state is valid on this thread during the call, which is protected and restores the stack.
    let entered = unsafe { lua.exec_raw::<()>((), |state| ended = Stack::new(state).sweep(SWEEP_KIB)) };
    // Without memory for the call itself there is nothing to gain.
    entered.is_err() || ended
}

/// Where `needle` begins among the `places` bytes of `text` from byte `from` (from 1). Linear, where Luau's own search
/// is quadratic.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the prelude gives whole numbers from 1 to the length of a string, and `as` keeps others in range"
)]
fn find(_: &Lua, (text, needle, from, places): (LuaString, LuaString, f64, f64)) -> mlua::Result<Option<f64>> {
    let (text, needle) = (text.as_bytes(), needle.as_bytes());
    let from = (from as usize).saturating_sub(1);
    let end = from.saturating_add(places as usize).saturating_add(needle.len().saturating_sub(1));
    let range = text.get(from..end.min(text.len())).unwrap_or_default();
    Ok(memmem::find(range, &needle).map(|at| (from + at + 1) as f64))
}

/// Whether `needle` is in `text` at byte `at` (from 1).
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as in `find`")]
fn is_at(_: &Lua, (text, needle, at): (LuaString, LuaString, f64)) -> mlua::Result<bool> {
    let (text, needle) = (text.as_bytes(), needle.as_bytes());
    Ok(text.get((at as usize).saturating_sub(1)..).is_some_and(|rest| rest.starts_with(&needle)))
}
