//! Starting children, and the handle by which the Luau part knows one.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use mlua::{Lua, LuaString, MultiValue, Result, Table, UserData, UserDataMethods, Value};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::Sender;
use tokio::sync::Mutex;

use super::time::seconds;
use super::told;
use crate::children::{Child, End, Treatment};
use crate::spawn::{Input, Order, Target, spawn};
use crate::stream::Kept;
use crate::supervisor::Supervisor;
use crate::user::User;
use crate::wait::Wait;

pub(super) fn add(lua: &Lua, native: &Table, supervisor: &Rc<Supervisor>) -> Result<()> {
    let it = Rc::clone(supervisor);
    let exec = move |lua: &Lua, options: Table| {
        let order = match order(&options)? {
            Ok(order) => order,
            Err(why) => return told::<Handle>(lua, Err(why)),
        };
        let started = spawn(order, &it.children, &it.stdout, &it.stderr);
        told(
            lua,
            started.map(|started| Handle {
                child: started.child,
                stdin: Rc::new(Mutex::new(started.stdin)),
                stdout: started.stdout,
                stderr: started.stderr,
            }),
        )
    };
    native.set("exec", lua.create_function(exec)?)
}

fn os(text: &LuaString) -> OsString {
    OsStr::from_bytes(&text.as_bytes()).to_owned()
}

/// Reads the options, whose types the Luau part has checked; what is wrong with their values is told.
fn order(options: &Table) -> Result<std::result::Result<Order, String>> {
    let words: Vec<LuaString> = options.get("words")?;
    let Some((program, arguments)) = words.split_first() else {
        return Ok(Err("there is nothing to start".to_owned()));
    };
    let mut environment = Vec::new();
    for pair in options.get::<Option<Table>>("env")?.iter().flat_map(Table::pairs::<LuaString, Value>) {
        let (name, value) = pair?;
        let value = match value {
            Value::Boolean(false) => None,
            Value::String(value) => Some(os(&value)),
            other => Some(other.to_string()?.into()),
        };
        environment.push((os(&name), value));
    }
    let user = match options.get::<Option<String>>("user")?.map(|user| User::find(&user)).transpose() {
        Ok(user) => user,
        Err(err) => return Ok(Err(err.to_string())),
    };
    let target = |name: &str| {
        Ok::<_, mlua::Error>(match options.get::<String>(name)?.as_str() {
            "inherit" => Target::Inherit,
            "pipe" => Target::Pipe,
            "null" => Target::Null,
            _ => Target::Log,
        })
    };
    Ok(Ok(Order {
        program: os(program),
        arguments: arguments.iter().map(os).collect(),
        environment,
        clear_environment: options.get::<Option<bool>>("clear_env")?.unwrap_or(false),
        directory: options.get::<Option<LuaString>>("cwd")?.map(|directory| os(&directory).into()),
        user,
        stdin: match options.get::<String>("stdin")?.as_str() {
            "null" => Input::Null,
            "pipe" => Input::Pipe,
            _ => Input::Inherit,
        },
        stdout: target("stdout")?,
        stderr: target("stderr")?,
        name: options.get("name")?,
        keep: options.get("keep")?,
        treatment: Treatment {
            stop_signal: options.get("stop_signal")?,
            grace: seconds(options.get("grace")?),
            service: options.get("service")?,
        },
    }))
}

/// A child, for the Luau part.
struct Handle {
    child: Rc<Child>,
    stdin: Rc<Mutex<Option<Sender>>>,
    stdout: Option<Rc<Kept>>,
    stderr: Option<Rc<Kept>>,
}

/// Code or signal, the other one nil; both nil for none.
fn parts(end: Option<End>) -> (Option<i32>, Option<i32>) {
    match end {
        None => (None, None),
        Some(End::Code(code)) => (Some(code), None),
        Some(End::Signal(signal)) => (None, Some(signal)),
    }
}

impl Handle {
    fn stream(&self, is_stderr: bool) -> Option<Rc<Kept>> {
        if is_stderr { self.stderr.clone() } else { self.stdout.clone() }
    }
}

impl UserData for Handle {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("pid", |_, handle, ()| Ok(handle.child.pid));
        // `finish()`: code, signal.
        methods.add_method("finish", |_, handle, ()| Ok(parts(handle.child.end())));
        // `wait(seconds?)` to code, signal; nothing when the time is over.
        methods.add_method("wait", |lua, handle, patience: Option<f64>| {
            let child = Rc::clone(&handle.child);
            Ok(match patience {
                None => Wait::of_child(lua, async move { parts(Some(child.ended().await)) }),
                Some(patience) => Wait::of_child(lua, async move {
                    parts(tokio::time::timeout(seconds(patience), child.ended()).await.ok())
                }),
            })
        });
        // `signal(number)`: true, or false when it has ended.
        methods.add_method("signal", |lua, handle, signal: i32| told(lua, handle.child.signal(signal)));
        // `stop(signal?, grace?)` to code, signal.
        methods.add_method("stop", |lua, handle, (signal, grace): (Option<i32>, Option<f64>)| {
            let child = Rc::clone(&handle.child);
            let signal = signal.or(child.treatment.stop_signal).unwrap_or(libc::SIGTERM);
            let grace = grace.map_or(child.treatment.grace, seconds);
            Ok(Wait::of_child(lua, async move { parts(child.stop(signal, grace).await.ok()) }))
        });
        // `read(is_stderr)` to text, bytes dropped; or nil and why not.
        methods.add_method("read", |lua, handle, is_stderr: bool| {
            let Some(stream) = handle.stream(is_stderr) else {
                return told::<Wait>(
                    lua,
                    Err("it is not read by the supervisor: start the child with \"log\" or \"pipe\""),
                );
            };
            let text = lua.clone();
            let read = Wait::of_child(lua, async move {
                match stream.take().await {
                    Ok((bytes, dropped)) => {
                        text.create_string(bytes).and_then(|bytes| told_pair(&text, bytes, dropped))
                    }
                    Err(_) => told::<Value>(&text, Err("stream already consumed")),
                }
                .unwrap_or_default()
            });
            told::<Wait>(lua, Ok::<_, String>(read))
        });
        // `line(text)` to true, or false when both streams end before.
        methods.add_method("line", |lua, handle, text: LuaString| {
            let (stdout, stderr) = (handle.stdout.clone(), handle.stderr.clone());
            let text = text.as_bytes().to_vec();
            Ok(Wait::of_child(lua, async move {
                let seen = async |stream: Option<Rc<Kept>>| match stream {
                    Some(stream) => stream.line_with(text.clone()).await,
                    None => false,
                };
                let (stdout, stderr) = (seen(stdout), seen(stderr));
                tokio::pin!(stdout, stderr);
                tokio::select! {
                    found = &mut stdout => found || stderr.await,
                    found = &mut stderr => found || stdout.await,
                }
            }))
        });
        // `write(text)` to nil, or why not.
        methods.add_method("write", |lua, handle, text: LuaString| {
            let (stdin, text) = (Rc::clone(&handle.stdin), text.as_bytes().to_vec());
            Ok(Wait::of_child(lua, async move {
                match stdin.lock().await.as_mut() {
                    Some(stdin) => stdin.write_all(&text).await.err().map(|err| err.to_string()),
                    None => Some("its input is closed, or was not opened with stdin = \"pipe\"".to_owned()),
                }
            }))
        });
        methods.add_method("close", |lua, handle, ()| {
            let stdin = Rc::clone(&handle.stdin);
            Ok(Wait::of_child(lua, async move { drop(stdin.lock().await.take()) }))
        });
    }
}

fn told_pair(lua: &Lua, text: LuaString, dropped: u64) -> Result<MultiValue> {
    mlua::IntoLuaMulti::into_lua_multi((text, dropped), lua)
}
