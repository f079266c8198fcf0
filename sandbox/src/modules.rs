//! `require`: how the files of a script find each other, and the tables that come with the sandbox.
//!
//! What is written here finds and loads; `modules.luau` keeps what was loaded. A script never sees a file system: paths
//! are looked up among the modules of its own [`Program`], and belong to one execution's environment.
#![allow(unsafe_code, reason = "C functions that Luau calls; each keeps to what it is given")]

use std::ffi::c_int;
use std::sync::OnceLock;

use data_encoding::BASE64;
use mlua::chunk::{ChunkMode, Compiler};
use mlua::{Function, Lua, LuaString, Table, ffi};

use crate::compile::{Module, Program};
use crate::json;
use crate::limits::Limits;
use crate::package;
use crate::stack::{Pin, Position, Stack, Status};

/// Bytes of a text that `json` and `base64` take at a time: no deadline can stop them, and a millisecond is enough.
const TEXT_BYTES_MAX: usize = 256 << 10;

/// Values that `json.encode` writes at a time.
const VALUES_MAX: u32 = 10_000;

/// Nesting that `json` takes, as of input and answer.
const DEPTH_MAX: u32 = 64;

/// Modules that an error lists.
const LISTED_MAX: usize = 20;

/// Adds `require`, `json.encode` and `json.decode` to `base`, the names of a new VM. `array` marks arrays. Gives what
/// makes a `require` for the modules of one program, for [`enter`].
pub(crate) fn install(lua: &Lua, base: &Table, array: &Table) -> mlua::Result<Function> {
    // SAFETY: the state is valid on this thread during the call, which is protected and gives what is left on the stack.
    let host: Table = unsafe {
        lua.exec_raw((array,), |state| {
            let mut stack = Stack::new(state);
            let [array] = stack.pin_all();
            stack.clear();
            let host = stack.push_table(0, 6);
            let functions: [(_, ffi::lua_CFunction); 4] =
                [(c"encode", encode), (c"decode", decode), (c"find", find), (c"load", load)];
            for (name, function) in functions {
                stack.push_function(function, name, array);
                stack.set_field(host, name);
            }
        })?
    };
    host.raw_set("base64encode", lua.create_function(base64_encode)?)?;
    host.raw_set("base64decode", lua.create_function(base64_decode)?)?;
    lua.load(bytecode()).set_name("=modules").set_mode(ChunkMode::Binary).call((base, host))
}

/// Gives an environment the `require` of a package. That of other scripts is among the names of every environment.
///
/// `requirer` is what [`install`] gave. Any other status than [`Status::Returned`] leaves the error on top.
pub(crate) fn enter(
    stack: &mut Stack,
    requirer: Pin,
    program: &Program,
    environment: Position,
    handler: Position,
) -> Status {
    if !program.is_package() {
        return Status::Returned;
    }
    stack.push_pin(requirer);
    stack.push_program(program.clone());
    stack.push_bytes(program.entry().path.as_bytes());
    let status = stack.call(2, handler);
    if status == Status::Returned {
        stack.set_field(environment, c"require");
    }
    status
}

/// The bytecode of `modules.luau`, compiled once per process, as the prelude is.
fn bytecode() -> &'static [u8] {
    static BYTECODE: OnceLock<Vec<u8>> = OnceLock::new();
    BYTECODE.get_or_init(|| {
        Compiler::new()
            .set_optimization_level(1)
            .set_debug_level(0)
            .compile(include_str!("modules.luau"))
            .expect("the text is part of this program, and every test compiles it")
    })
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
        }
        Err(why) => {
            stack.push_nil();
            stack.push_bytes(why.as_bytes());
        }
    }
    2
}

/// `load(program, path)`: the function of a module's file, bound to the globals of the running thread.
unsafe extern "C-unwind" fn load(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as in `find`.
    let mut stack = unsafe { Stack::new(state) };
    let program = stack.program(Position::FIRST);
    let path = String::from_utf8_lossy(stack.bytes(Position::FIRST.after())).into_owned();
    let module = program.module(&path).expect("`find` gave the path");
    if !stack.load_module(module) {
        stack.raise();
    }
    1
}

/// `encode(value)`: its JSON text, or nil and why not.
unsafe extern "C-unwind" fn encode(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as in `find`.
    let mut stack = unsafe { Stack::new(state) };
    let array = stack.kept_pin();
    let limits =
        Limits { output_bytes: TEXT_BYTES_MAX, output_nodes: VALUES_MAX, depth: DEPTH_MAX, ..Limits::default() };
    match json::take(&mut stack, Position::FIRST, &limits, array) {
        Ok(text) => {
            stack.push_bytes(&text);
            1
        }
        Err(refused) => {
            let why = refused.sentence_about("value");
            stack.push_nil();
            stack.push_bytes(why.as_bytes());
            2
        }
    }
}

/// `decode(text)`: true and the value; or false and why not.
unsafe extern "C-unwind" fn decode(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as in `find`.
    let mut stack = unsafe { Stack::new(state) };
    let array = stack.kept_pin();
    let text = stack.bytes(Position::FIRST);
    let read = if text.is_empty() {
        Err("the text is empty".to_owned())
    } else if text.len() > TEXT_BYTES_MAX {
        Err(format!("the text has {} bytes, the limit is {TEXT_BYTES_MAX}", text.len()))
    } else {
        let text = text.to_vec();
        stack.push_boolean(true);
        json::push(&mut stack, &text, DEPTH_MAX, array).map_err(|err| err.to_string())
    };
    if let Err(why) = read {
        stack.clear();
        stack.push_boolean(false);
        stack.push_bytes(why.as_bytes());
    }
    2
}

/// Result or nil, and why not.
type Answer = (Option<LuaString>, Option<String>);

fn base64_encode(lua: &Lua, text: LuaString) -> mlua::Result<Answer> {
    match small(&text.as_bytes()) {
        Ok(bytes) => Ok((Some(lua.create_string(BASE64.encode(bytes))?), None)),
        Err(why) => Ok((None, Some(why))),
    }
}

fn base64_decode(lua: &Lua, text: LuaString) -> mlua::Result<Answer> {
    let bytes = text.as_bytes();
    match small(&bytes).and_then(|text| BASE64.decode(text).map_err(|err| err.to_string())) {
        Ok(bytes) => Ok((Some(lua.create_string(bytes)?), None)),
        Err(why) => Ok((None, Some(why))),
    }
}

fn small(text: &[u8]) -> Result<&[u8], String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("the string has {} bytes, the limit is {TEXT_BYTES_MAX}", text.len()));
    }
    Ok(text)
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
        let paths: Vec<&str> = program.paths().collect();
        let more = paths.len().saturating_sub(LISTED_MAX);
        let listed = paths[..paths.len() - more].join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("`{from}` finds no module `{shown}`; the package has {listed}{more}")
    })
}
