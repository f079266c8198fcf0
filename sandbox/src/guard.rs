//! Host functions that panic: the execution ends as `internal` and the VM is given up, whatever the script makes of it.
//!
//! Without this, a panic arrives in the script as an error, and a `pcall` around the call would hide it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mlua::{FromLuaMulti, Function, IntoLuaMulti, Lua};

thread_local! {
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

/// A Lua function that notes a panic of `body` for [`panicked`].
pub(crate) fn function<A, R>(lua: &Lua, body: impl Fn(&Lua, A) -> mlua::Result<R> + 'static) -> mlua::Result<Function>
where
    A: FromLuaMulti,
    R: IntoLuaMulti,
{
    lua.create_function(move |lua, arguments| {
        catch_unwind(AssertUnwindSafe(|| body(lua, arguments))).unwrap_or_else(|_| {
            PANICKED.set(true);
            Err(mlua::Error::runtime("a host function failed"))
        })
    })
}

/// Whether a host function on this thread has panicked since this was last asked.
pub(crate) fn panicked() -> bool {
    PANICKED.take()
}

#[cfg(test)]
mod tests {
    use contract::Code;

    use crate::{Call, Engine, Limits, compile};

    #[test]
    fn a_panic_in_a_host_function_ends_as_internal_though_the_script_catches_it() {
        let (engine, limits) = (Engine::start().unwrap(), Limits::default());
        let call = Call { tenant: "a", script: "x", version: "v", execution_id: "e", input: b"" };
        let run = |source: &str| {
            let mut vm = engine.vm(&limits).unwrap();
            let outcome = vm.run(&compile("x.luau", source.as_bytes(), &limits).unwrap(), &call).outcome;
            (outcome.map_err(|fault| fault.code), vm.is_usable())
        };

        for source in [
            "return function() panic_on_purpose() end",
            "return function() return (pcall(panic_on_purpose)) end",
            "return function() local _, e = pcall(panic_on_purpose) error(e) end",
            "return function() local co = coroutine.wrap(panic_on_purpose) return (pcall(co)) end",
        ] {
            assert_eq!(run(source), (Err(Code::Internal), false), "{source}");
            // The same thread goes on, in another VM.
            assert_eq!(run("return function() return 1 end"), (Ok(b"1".to_vec()), true), "{source}");
        }
    }
}
