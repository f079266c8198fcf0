//! Finds the place in a script at which an error was raised, and errors that came out of a coroutine changed.
//!
//! Messages usually begin with it, but not those of errors that are tables, of `error(text, 0)` and of C functions
//! called on the script's behalf. So the frames are asked: Luau leaves those of a failed coroutine standing.
#![allow(unsafe_code, reason = "Luau tells frames through its C API")]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_int};

use mlua::ffi;

use crate::stack::Stack;

thread_local! {
    static PLACE: RefCell<Place> = const { RefCell::new(Place { chunk_name: None, line: 0 }) };
}

/// A place in a script.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    /// As Luau has it: `=FILE`.
    pub(crate) chunk_name: Option<CString>,
    /// From 1; 0 where there is none.
    pub(crate) line: u32,
}

/// Forgets the place of an earlier error of this thread.
pub(crate) fn reset() {
    PLACE.take();
}

/// Place of the first error of this thread that was noted.
pub(crate) fn place() -> Place {
    PLACE.with_borrow(Clone::clone)
}

/// Notes where `state` is, unless something is noted.
///
/// # Safety
/// `state` is a Lua thread that does not run on another thread.
pub(crate) unsafe fn note(state: *mut ffi::lua_State) {
    if PLACE.with_borrow(|place| place.line == 0) {
        // SAFETY: as promised by the caller.
        if let Some((frame, line)) = unsafe { innermost(state) } {
            // SAFETY: a text of Luau's that lives as long as the function in the frame.
            let chunk_name = unsafe { CStr::from_ptr(frame.source) }.to_owned();
            PLACE.set(Place { chunk_name: Some(chunk_name), line });
        }
    }
}

/// The Luau function `failed(coroutine)`: the line at which a coroutine failed, or 0. If it failed because memory ran
/// out, raises that again: `coroutine.resume` would make an ordinary error of it.
pub(crate) fn failed(lua: &mlua::Lua) -> mlua::Result<mlua::Function> {
    unsafe extern "C-unwind" fn failed(state: *mut ffi::lua_State) -> c_int {
        // SAFETY: keeps to the rules of a C function: it takes one value and gives one; what may raise is called when
        // nothing in this frame needs dropping. A value that is no coroutine gives null.
        unsafe {
            let thread = ffi::lua_tothread(state, 1);
            let mut line = 0;
            if !thread.is_null() {
                if ffi::lua_status(thread) == ffi::LUA_ERRMEM {
                    Stack::new(state).raise_out_of_memory();
                }
                line = innermost(thread).map_or(0, |(_, line)| line);
            }
            ffi::lua_pushnumber(state, f64::from(line));
        }
        1
    }
    // SAFETY: see there.
    unsafe { lua.create_c_function(failed) }
}

/// The Luau function `exhaust()`: raises Luau's own error for memory that ran out.
pub(crate) fn exhausted(lua: &mlua::Lua) -> mlua::Result<mlua::Function> {
    unsafe extern "C-unwind" fn exhaust(state: *mut ffi::lua_State) -> c_int {
        // SAFETY: a C function of Luau may raise; nothing in this frame needs dropping.
        unsafe { Stack::new(state) }.raise_out_of_memory()
    }
    // SAFETY: see there.
    unsafe { lua.create_c_function(exhaust) }
}

/// The innermost frame that has a line, and that line. Only scripts have: our own Luau code is compiled without.
///
/// # Safety
/// As for [`note`].
unsafe fn innermost(state: *mut ffi::lua_State) -> Option<(ffi::lua_Debug, u32)> {
    // SAFETY: an all-zero `lua_Debug` is valid (null pointers and numbers), and `lua_getinfo` allocates nothing, so it
    // is also safe when memory has run out.
    unsafe {
        let mut frame: ffi::lua_Debug = std::mem::zeroed();
        let mut level = 0;
        while ffi::lua_getinfo(state, level, c"sl".as_ptr(), &raw mut frame) != 0 {
            if let Some(line) = u32::try_from(frame.currentline).ok().filter(|&line| line > 0) {
                return Some((frame, line));
            }
            level += 1;
        }
    }
    None
}
