//! How a script waits: its coroutine yields a [`Wait`], and is resumed with what came of it.
//!
//! The functions that wait are written in Luau (`lib/`) around host functions that return one. A coroutine that the
//! script made itself passes what it gets on to whoever resumed it, so it always arrives here.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use mlua::thread::ThreadStatus;
use mlua::{AnyUserData, Error, IntoLuaMulti, Lua, MultiValue, Result, Thread, UserData};

type Coming = Pin<Box<dyn Future<Output = Result<MultiValue>>>>;

/// Something that a script waits for.
pub(crate) struct Wait {
    coming: Option<Coming>,
    /// It comes with the end of a child at the latest.
    of_child: bool,
}

impl UserData for Wait {}

impl Wait {
    /// Waits for `coming`.
    pub(crate) fn new<V: IntoLuaMulti>(lua: &Lua, coming: impl Future<Output = V> + 'static) -> Self {
        let lua = lua.clone();
        let coming = async move { coming.await.into_lua_multi(&lua) };
        Self { coming: Some(Box::pin(coming)), of_child: false }
    }

    /// The same for what a child's end brings.
    pub(crate) fn of_child<V: IntoLuaMulti>(lua: &Lua, coming: impl Future<Output = V> + 'static) -> Self {
        Self { of_child: true, ..Self::new(lua, coming) }
    }
}

/// Runs a coroutine to its end. `on_child` tells whether it waits for a child at the moment.
pub(crate) async fn drive(thread: Thread, arguments: MultiValue, on_child: Rc<Cell<bool>>) -> Result<MultiValue> {
    let mut values = arguments;
    loop {
        let yielded: MultiValue = thread.resume(values)?;
        if thread.status() != ThreadStatus::Resumable {
            return Ok(yielded);
        }
        let coming = yielded.front().and_then(taken).ok_or_else(|| {
            Error::runtime(
                "`coroutine.yield` was called outside of a coroutine: only what `init` returns may wait here",
            )
        })?;
        on_child.set(coming.1);
        values = coming.0.await?;
    }
}

fn taken(value: &mlua::Value) -> Option<(Coming, bool)> {
    let wait: &AnyUserData = value.as_userdata()?;
    let mut wait = wait.borrow_mut::<Wait>().ok()?;
    Some((wait.coming.take()?, wait.of_child))
}
