//! What the Luau part of `init` is built on: the table `native`. Scripts don't see it.
//!
//! A function here that can fail returns `nil` and the reason, so that the Luau part raises it at the script's own line.

mod files;
mod process;
mod time;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use mlua::{Function, IntoLuaMulti, Lua, LuaString, MultiValue, Result, Table, Value, Variadic};

use crate::arguments::Script;
use crate::script::message;
use crate::supervisor::{Reason, Supervisor};
use crate::wait::drive;
use crate::{signals, sys};

/// Makes the table.
pub(crate) fn native(lua: &Lua, supervisor: &Rc<Supervisor>, script: &Script) -> Result<Table> {
    let native = lua.create_table()?;
    own(lua, &native, supervisor)?;
    code_of_others(lua, &native, script)?;
    files::add(lua, &native)?;
    process::add(lua, &native, supervisor)?;
    time::add(lua, &native, supervisor)?;
    Ok(native)
}

/// The text of a script. A first line for the kernel (`#!`) becomes a comment, so that lines keep their numbers.
///
/// # Errors
/// The file can't be read.
pub(crate) fn code(path: &Path) -> Result<Vec<u8>> {
    let mut code = std::fs::File::open(path)
        .and_then(|mut file| {
            let mut code = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut code).map(|_| code)
        })
        .map_err(|err| mlua::Error::runtime(format!("read the script `{}`: {err}", path.display())))?;
    if code.starts_with(b"#!") {
        code.splice(..2, *b"--");
    }
    Ok(code)
}

/// `nil` and the reason instead of an error.
fn told<T: IntoLuaMulti>(lua: &Lua, result: std::result::Result<T, impl ToString>) -> Result<MultiValue> {
    match result {
        Ok(value) => value.into_lua_multi(lua),
        Err(err) => (Value::Nil, err.to_string()).into_lua_multi(lua),
    }
}

/// About the supervisor itself.
fn own(lua: &Lua, native: &Table, supervisor: &Rc<Supervisor>) -> Result<()> {
    native.set("pid", lua.create_function(|_, ()| Ok(std::process::id()))?)?;
    let names = lua.create_table()?;
    for (name, number) in signals::NAMES {
        names.raw_set(name, number)?;
    }
    names.raw_set("SIGRTMIN", libc::SIGRTMIN())?;
    names.raw_set("SIGRTMAX", libc::SIGRTMAX())?;
    native.set("signals", names)?;
    native.set("signal_name", lua.create_function(|_, signal: i32| Ok(signals::name(signal)))?)?;

    let it = Rc::clone(supervisor);
    let kill = move |lua: &Lua, (pid, signal): (i32, i32)| {
        if it.children.is_former(pid.abs()) {
            let why = format!("process {pid} was a child of this supervisor and has ended");
            return told::<bool>(lua, Err(why));
        }
        let sent = sys::kill(pid, signal).map(|()| true);
        told(lua, sent.map_err(|err| format!("send {} to process {pid}: {err}", signals::name(signal))))
    };
    native.set("kill", lua.create_function(kill)?)?;

    let it = Rc::clone(supervisor);
    let print = move |_: &Lua, (line, to_stderr): (LuaString, bool)| {
        let output = if to_stderr { &it.stderr } else { &it.stdout };
        output.say(&line.as_bytes());
        Ok(())
    };
    native.set("print", lua.create_function(print)?)?;

    let it = Rc::clone(supervisor);
    let on = move |_: &Lua, (signal, function): (i32, Option<Function>)| {
        let mut handlers = it.handlers.borrow_mut();
        match function {
            Some(function) => handlers.insert(signal, function),
            None => handlers.remove(&signal),
        };
        Ok(())
    };
    native.set("on", lua.create_function(on)?)?;

    let it = Rc::clone(supervisor);
    let forward = move |_: &Lua, signal: i32| {
        it.hand_on(signal, false);
        Ok(())
    };
    native.set("forward", lua.create_function(forward)?)?;
    let it = Rc::clone(supervisor);
    let exit = move |_: &Lua, code: i32| {
        it.stop(Reason::Exit(code));
        Ok(())
    };
    native.set("exit", lua.create_function(exit)?)?;
    let it = Rc::clone(supervisor);
    native.set("orphans", lua.create_function(move |_, ()| Ok(it.children.orphans()))?)?;
    let it = Rc::clone(supervisor);
    let stopping = move |_: &Lua, ()| {
        Ok(it.stopping().map(|reason| match reason {
            Reason::Signal(signal) => signals::name(signal),
            Reason::Exit(_) => "exit".to_owned(),
            Reason::ScriptEnded => "end".to_owned(),
        }))
    };
    native.set("stopping", lua.create_function(stopping)?)?;

    let it = Rc::clone(supervisor);
    let spawn = move |lua: &Lua, (label, function, arguments): (String, Function, Variadic<Value>)| {
        let thread = lua.create_thread(function)?;
        let (it, arguments) = (Rc::clone(&it), arguments.into_lua_multi(lua)?);
        let task = tokio::task::spawn_local(async move {
            if let Err(err) = drive(thread, arguments, Rc::default()).await {
                it.tell(&format!("error in '{label}' task: {}", message(&err)));
            }
        });
        Ok(time::Task(task.abort_handle()))
    };
    native.set("spawn", lua.create_function(spawn)?)
}

/// For `require` and `os.getenv`.
fn code_of_others(lua: &Lua, native: &Table, script: &Script) -> Result<()> {
    let folder = match script {
        Script::File(path) => path.parent().unwrap_or(Path::new("")).to_owned(),
        Script::Code(_) => Path::new("").to_owned(),
    };
    let load = move |lua: &Lua, name: String| {
        let path = folder.join(&name);
        let candidates = [path.with_extension("luau"), path.with_extension("lua"), path.join("init.luau"), path];
        let Some(file) = candidates.iter().find(|file| file.is_file()) else {
            return told::<Function>(lua, Err(format!("there is no module `{name}` beside the script")));
        };
        let loaded =
            code(file).and_then(|code| lua.load(code).set_name(format!("={}", file.display())).into_function());
        told(lua, loaded.map_err(|err| message(&err)))
    };
    native.set("load", lua.create_function(load)?)?;

    let variable = |lua: &Lua, name: LuaString| {
        let value = std::env::var_os(OsStr::from_bytes(&name.as_bytes()));
        value.map(|value| lua.create_string(value.as_bytes())).transpose()
    };
    native.set("getenv", lua.create_function(variable)?)
}
