//! The script: its VM, its main coroutine, and the tasks beside it.

use std::cell::{Cell, RefCell};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use mlua::{Error, Function, IntoLuaMulti, Lua, LuaOptions, LuaString, MultiValue, Result, StdLib, Table, Value};
use tokio::sync::Notify;

use crate::arguments::{Invocation, Script as Source};
use crate::supervisor::Supervisor;
use crate::wait::drive;
use crate::{host, signals};

/// The module `init` as far as it is written in Luau, in the order in which the parts build on each other.
const LIBRARY: [(&str, &str); 4] = [
    ("=init/core", include_str!("../lib/core.luau")),
    ("=init/child", include_str!("../lib/child.luau")),
    ("=init/schedule", include_str!("../lib/schedule.luau")),
    ("=init/service", include_str!("../lib/service.luau")),
];

/// A script that is loaded and has not begun.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    lua: Lua,
    supervisor: Rc<Supervisor>,
    /// `function(chunk, ...)`: runs the chunk and gives the exit code.
    main: Function,
    chunk: Function,
    arguments: Vec<LuaString>,
    stop_services: Function,
}

/// Makes a VM and compiles the script.
///
/// # Errors
/// The file can't be read, or it is not Luau.
pub(crate) fn load(supervisor: &Rc<Supervisor>, invocation: &Invocation) -> Result<Script> {
    let lua = Lua::new_with(StdLib::ALL_SAFE, LuaOptions::default())?;
    let (chunk_name, source) = match &invocation.script {
        Source::Code(code) => ("=init".to_owned(), code.as_bytes().to_vec()),
        Source::File(path) => (format!("={}", path.display()), host::code(path)?),
    };
    let (init, internal) = (lua.create_table()?, lua.create_table()?);
    let native = host::native(&lua, supervisor, &invocation.script)?;
    for (name, part) in LIBRARY {
        lua.load(part).set_name(name).call::<()>((&native, &init, &internal))?;
    }
    let words: Vec<_> =
        invocation.words.iter().map(|word| lua.create_string(word.as_bytes())).collect::<Result<_>>()?;
    lua.globals().set("arg", argument_table(&lua, &words, invocation.position)?)?;
    Ok(Script {
        chunk: lua.load(source).set_name(chunk_name).into_function()?,
        main: internal.get("main")?,
        stop_services: internal.get("stop_services")?,
        arguments: words[invocation.position + 1..].to_vec(),
        supervisor: Rc::clone(supervisor),
        lua,
    })
}

/// `arg[0]` is the script, what follows it counts up, and what stands before it counts down; `arg[-1]` is always there.
fn argument_table(lua: &Lua, words: &[LuaString], position: usize) -> Result<Table> {
    let table = lua.create_table()?;
    for (index, word) in words.iter().enumerate() {
        let number = i64::try_from(index).unwrap_or_default() - i64::try_from(position).unwrap_or_default();
        table.raw_set(number, word)?;
    }
    table.raw_set(-1, &words[0])?;
    Ok(table)
}

impl Script {
    /// Begins it.
    pub(crate) fn start(&self) -> Main {
        let main = Main::default();
        let (state, script) = (main.clone(), self.clone());
        tokio::task::spawn_local(async move {
            let mut arguments = MultiValue::from_iter(script.arguments.iter().cloned().map(Value::String));
            arguments.push_front(Value::Function(script.chunk.clone()));
            let result = script.run(&script.main, arguments, Rc::clone(&state.0.on_child)).await;
            if let Err(err) = &result {
                script.supervisor.tell(&message(err));
            }
            *state.0.result.borrow_mut() = Some(result.map_or(1, |values| code(&values)));
            state.0.on_child.set(false);
            state.0.ended.notify_waiters();
        });
        main
    }

    async fn run(&self, function: &Function, arguments: MultiValue, on_child: Rc<Cell<bool>>) -> Result<MultiValue> {
        drive(self.lua.create_thread(function.clone())?, arguments, on_child).await
    }

    /// Stops the services, those that others need last.
    pub(crate) async fn stop_services(&self) {
        if let Err(err) = self.run(&self.stop_services, MultiValue::new(), Rc::default()).await {
            self.supervisor.tell(&message(&err));
        }
    }

    /// Calls what the script wants called when a signal arrives.
    pub(crate) fn call_handler(&self, signal: i32, handler: Function) {
        let script = self.clone();
        tokio::task::spawn_local(async move {
            let name = signals::name(signal);
            let arguments = (name.as_str(), signal).into_lua_multi(&script.lua);
            let called = async { script.run(&handler, arguments?, Rc::default()).await };
            if let Err(err) = called.await {
                script.supervisor.tell(&format!("error in the function for {name}: {}", message(&err)));
            }
        });
    }
}

fn code(values: &MultiValue) -> i32 {
    values.front().and_then(Value::as_i32).unwrap_or(0)
}

/// The main coroutine of a script that has begun.
#[derive(Debug, Clone, Default)]
pub(crate) struct Main(Rc<MainState>);

#[derive(Debug, Default)]
struct MainState {
    on_child: Rc<Cell<bool>>,
    result: RefCell<Option<i32>>,
    ended: Notify,
}

impl Main {
    /// Waits for its end.
    pub(crate) async fn ended(&mut self) {
        while self.0.result.borrow().is_none() {
            self.0.ended.notified().await;
        }
    }

    /// The exit code that it came to, 1 for an error; `None` if it has not ended.
    pub(crate) fn result(&self) -> Option<i32> {
        *self.0.result.borrow()
    }

    /// Whether it waits for what comes with the end of a child at the latest.
    pub(crate) fn waits_for_child(&self) -> bool {
        self.0.on_child.get()
    }
}

/// An error in words for people: where, what, and the way there as far as it is the script's own.
pub(crate) fn message(err: &Error) -> String {
    let whole = match err {
        Error::SyntaxError { message, .. } | Error::RuntimeError(message) => message.clone(),
        Error::CallbackError { cause, .. } => return message(cause),
        Error::ExternalError(err) => err.to_string(),
        other => other.to_string(),
    };
    let of_the_script = |line: &&str| !line.starts_with("\tinit/") && !line.starts_with("\t[C]");
    let lines: Vec<&str> = whole.trim_end().lines().filter(of_the_script).collect();
    lines.join("\n")
}
