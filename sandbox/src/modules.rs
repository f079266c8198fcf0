//! `require`: how the files of a script find each other, and the tables that come with the sandbox.
//!
//! What is written here finds and loads; `modules.luau` keeps what was loaded. A script never sees a file system: paths
//! are looked up among the modules of its own [`Program`], and belong to one execution's environment.
//!
//! The functions are in C's form, because they work on the stack. Their assertions cannot fail, whatever a script does:
//! `modules.luau` alone has them, and passes each what it takes.
#![allow(unsafe_code, reason = "C functions that Luau calls; each keeps to what it is given")]

use std::ffi::c_int;

use data_encoding::BASE64;
use mlua::{Lua, Table, ffi};

use crate::compile::{Module, Program};
use crate::forms::{Failure, check};
use crate::json;
use crate::limits::{Bytes, Limits};
use crate::package;
use crate::stack::{Pin, Position, Stack};

/// Bytes of a text that `json` and `base64` take at a time: no deadline can stop them, and a millisecond is enough.
const TEXT_BYTES_MAX: usize = 256 << 10;

/// Values that `json.encode` writes at a time.
const VALUES_MAX: u32 = 10_000;

/// Nesting that `json` takes, as of input and answer.
const DEPTH_MAX: u32 = 64;

/// Modules that an error lists.
const LISTED_MAX: usize = 20;

/// What `modules.luau` is given to work with. `array` marks arrays.
pub(crate) fn functions(lua: &Lua, array: &Table) -> mlua::Result<Table> {
    let array = Pin::of(lua, array)?;
    // SAFETY: the state is valid on this thread during the call, which is protected and gives what is left on the stack.
    unsafe {
        lua.exec_raw((), |state| {
            let mut stack = Stack::new(state);
            let table = stack.push_table(0, 7);
            let functions: [(_, ffi::lua_CFunction); 7] = [
                (c"find", find),
                (c"load", load),
                (c"is_inside", is_inside),
                (c"json_encode", json_encode),
                (c"json_decode", json_decode),
                (c"base64_encode", base64_encode),
                (c"base64_decode", base64_decode),
            ];
            for (name, function) in functions {
                stack.push_function(function, name, array);
                stack.set_field(table, name);
            }
        })
    }
}

/// Gives an environment the `require` of a package, which `requirer`, made by `modules.luau`, makes. That of other scripts
/// is among the names of every environment.
pub(crate) fn enter(stack: &mut Stack, requirer: Pin, program: &Program, environment: Position) -> Result<(), Failure> {
    if program.is_package() {
        stack.push_pin(requirer);
        stack.push_program(program.clone());
        stack.push_bytes(program.entry().path.as_bytes());
        check(stack.call(2), stack)?;
        stack.set_field(environment, c"require");
    }
    Ok(())
}

/// `find(program, name)`: the path of the module that `name` means in the module that runs, and that module's path; or
/// nil and why not.
unsafe extern "C-unwind" fn find(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: Luau calls this in a protected call; `modules.luau` passes a program and a string.
    let mut stack = unsafe { Stack::new(state) };
    let program = stack.program(Position::FIRST);
    let name = String::from_utf8_lossy(stack.bytes(Position::FIRST.after())).into_owned();
    // Outside of all modules, in a coroutine made of `require` itself, names are seen from the entry.
    let from = stack.running_module(&program).unwrap_or(program.entry()).path.as_str();
    match resolve(&program, from, &name) {
        Ok(module) => {
            stack.push_bytes(module.path.as_bytes());
            stack.push_bytes(from.as_bytes());
            2
        }
        Err(why) => refuse(&mut stack, &why),
    }
}

/// `load(program, path)`: the function of a module's file, bound to the globals of the running thread.
unsafe extern "C-unwind" fn load(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as in `find`.
    let mut stack = unsafe { Stack::new(state) };
    let program = stack.program(Position::FIRST);
    let path = String::from_utf8_lossy(stack.bytes(Position::FIRST.after())).into_owned();
    let module = program.module(&path).expect("`find` gave the path");
    if !stack.load(module) {
        stack.raise_out_of_memory();
    }
    1
}

/// `is_inside(coroutine, function)`: whether it is.
unsafe extern "C-unwind" fn is_inside(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as in `find`; a coroutine and a function are passed.
    let mut stack = unsafe { Stack::new(state) };
    let inside = stack.is_inside(Position::FIRST, Position::FIRST.after());
    stack.push_boolean(inside);
    1
}

/// `json_encode(value)`: its JSON text, or nil and why not.
unsafe extern "C-unwind" fn json_encode(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as in `find`; one value is passed.
    let mut stack = unsafe { Stack::new(state) };
    let limits =
        Limits { output_bytes: TEXT_BYTES_MAX, output_nodes: VALUES_MAX, depth: DEPTH_MAX, ..Limits::default() };
    let array = stack.kept_pin();
    match json::take(&mut stack, Position::FIRST, &limits, array) {
        Ok(text) => answer(&mut stack, &text),
        Err(refused) => refuse(&mut stack, &refused.sentence("value")),
    }
}

/// `json_decode(text)`: true and the value, which may be nil; or nil and why not.
unsafe extern "C-unwind" fn json_decode(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as in `find`; a string is passed.
    let mut stack = unsafe { Stack::new(state) };
    let array = stack.kept_pin();
    let read = small(&stack).and_then(|text| {
        if text.is_empty() {
            return Err("the string is empty".to_owned());
        }
        stack.push_boolean(true);
        json::push(&mut stack, &text, DEPTH_MAX, array).map_err(|err| err.to_string())
    });
    match read {
        Ok(()) => 2,
        Err(why) => refuse(&mut stack, &why),
    }
}

/// `base64_encode(bytes)`: the text, or nil and why not.
unsafe extern "C-unwind" fn base64_encode(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as in `find`; a string is passed.
    let mut stack = unsafe { Stack::new(state) };
    match small(&stack) {
        Ok(bytes) => answer(&mut stack, BASE64.encode(&bytes).as_bytes()),
        Err(why) => refuse(&mut stack, &why),
    }
}

/// `base64_decode(text)`: the bytes, or nil and why not.
unsafe extern "C-unwind" fn base64_decode(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as in `find`; a string is passed.
    let mut stack = unsafe { Stack::new(state) };
    match small(&stack).and_then(|text| BASE64.decode(&text).map_err(|err| err.to_string())) {
        Ok(bytes) => answer(&mut stack, &bytes),
        Err(why) => refuse(&mut stack, &why),
    }
}

fn answer(stack: &mut Stack, bytes: &[u8]) -> c_int {
    stack.push_bytes(bytes);
    1
}

/// Nil and a sentence: `modules.luau` raises it, at the script's line.
fn refuse(stack: &mut Stack, why: &str) -> c_int {
    stack.push_nil();
    stack.push_bytes(why.as_bytes());
    2
}

/// The first argument, a string, if it is no longer than it may be. A copy: what is pushed may move the stack.
fn small(stack: &Stack) -> Result<Vec<u8>, String> {
    let bytes = stack.bytes(Position::FIRST);
    if bytes.len() > TEXT_BYTES_MAX {
        return Err(format!("the string has {} bytes, the limit is {}", bytes.len(), Bytes(TEXT_BYTES_MAX)));
    }
    Ok(bytes.to_vec())
}

/// The module that `name` means in the module `from`.
fn resolve<'p>(program: &'p Program, from: &str, name: &str) -> Result<&'p Module, String> {
    let shown = crate::fault::clip(name, 100);
    if !name.starts_with("./") && !name.starts_with("../") {
        return Err(format!("`{shown}` begins with none of `./`, `../` and `@moonswarm/`"));
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => return Err(format!("`{shown}` leads out of the package")),
            ".." => {}
            part => parts.push(part),
        }
    }
    let path = parts.join("/");
    package::candidates(&path).iter().find_map(|path| program.module(path)).ok_or_else(|| {
        let listed = program.paths().take(LISTED_MAX).collect::<Vec<_>>().join(", ");
        let more = match program.paths().count().saturating_sub(LISTED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("`{from}` finds no module `{shown}`; the package has {listed}{more}")
    })
}
