//! Coroutines, as far as the host deals with them: their places on this stack, what is moved into and out of them, and how
//! they are resumed.
#![allow(unsafe_code, reason = "wraps C functions; each block says why the call is sound")]

use std::ffi::c_int;

use mlua::ffi;

use super::{Kind, Position, Stack, Status, status};
use crate::trace;

impl Stack {
    /// A new coroutine, with the same globals as this thread.
    pub(crate) fn push_thread(&mut self) -> Position {
        // SAFETY: makes room by itself.
        unsafe { ffi::lua_newthread(self.state) };
        self.top()
    }

    /// Makes a coroutine that has returned as new, and drops all that it still held.
    pub(crate) fn renew_thread(&mut self, thread: Position) {
        let state = self.thread(thread);
        // SAFETY: a coroutine that is not active can be reset.
        unsafe {
            assert_eq!(ffi::lua_costatus(self.state, state), ffi::LUA_COFIN);
            ffi::lua_resetthread(state);
        }
        self.share_globals(thread);
    }

    /// Gives a coroutine the globals of this thread.
    pub(crate) fn share_globals(&mut self, thread: Position) {
        let state = self.thread(thread);
        // SAFETY: Luau makes room for the value, which is a table, and takes it off again.
        unsafe {
            ffi::lua_xpush(self.state, state, ffi::LUA_GLOBALSINDEX);
            ffi::lua_replace(state, ffi::LUA_GLOBALSINDEX);
        }
    }

    /// Moves the topmost `count` values into the coroutine.
    pub(crate) fn send(&mut self, thread: Position, count: c_int) {
        let state = self.thread(thread);
        assert!(count >= 0 && thread.0 + count <= self.top().0);
        // SAFETY: so many values are there, above the coroutine; Luau makes room for them.
        unsafe { ffi::lua_xmove(self.state, state, count) }
    }

    /// Moves the first result of a coroutine that has returned to the top, nil if there is none, and drops the others.
    pub(crate) fn fetch(&mut self, thread: Position) -> Position {
        let state = self.thread(thread);
        // SAFETY: the coroutine does not run and has no frames, so all it holds are results; one value is left there, and
        // moved.
        unsafe {
            ffi::lua_settop(state, 1);
            ffi::lua_xmove(state, self.state, 1);
        }
        self.top()
    }

    /// Starts or goes on with a coroutine: one that yielded takes its topmost `arguments` values as results of the yield,
    /// a new one calls the function below them. An error is moved to the top of this stack; the coroutine's frames stay,
    /// see [`Stack::note_place`].
    pub(crate) fn resume(&mut self, thread: Position, arguments: c_int) -> Status {
        let state = self.thread(thread);
        // SAFETY: a coroutine of this VM, checked by `thread`. What Luau takes for granted is checked here: it is
        // suspended, and holds the arguments and, if it is new, a function below them.
        let status = unsafe {
            assert_eq!(ffi::lua_costatus(self.state, state), ffi::LUA_COSUS);
            let function = c_int::from(ffi::lua_status(state) == ffi::LUA_OK);
            assert!(arguments >= 0 && ffi::lua_gettop(state) >= arguments + function);
            status(ffi::lua_resume_(state, self.state, arguments))
        };
        if !matches!(status, Status::Returned | Status::Yielded) {
            // SAFETY: the error is on top of a coroutine that failed.
            unsafe { ffi::lua_xmove(state, self.state, 1) }
        }
        status
    }

    /// Whether the coroutine has yielded and was neither resumed nor ended since.
    pub(crate) fn is_waiting(&mut self, thread: Position) -> bool {
        let state = self.thread(thread);
        // SAFETY: a coroutine of this VM, checked by `thread`; only reads.
        unsafe { ffi::lua_status(state) == ffi::LUA_YIELD }
    }

    /// Notes the place at which a coroutine failed or waits, unless one is noted already.
    pub(crate) fn note_place(&mut self, thread: Position) {
        // SAFETY: a coroutine of this VM, checked by `thread`.
        unsafe { trace::note(self.thread(thread)) }
    }

    fn thread(&self, position: Position) -> *mut ffi::lua_State {
        assert_eq!(self.kind(position), Kind::Thread);
        // SAFETY: a place with a coroutine, checked above.
        unsafe { ffi::lua_tothread(self.state, position.0) }
    }
}
