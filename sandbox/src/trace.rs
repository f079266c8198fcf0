//! Finds the line of a script at which an error was raised, and errors that came out of a coroutine changed.
//!
//! Messages usually begin with a line, but not those of errors that are tables, of `error(text, 0)` and of C functions
//! called on the script's behalf. So the frames are asked: Luau leaves those of a failed coroutine standing.
#![allow(unsafe_code, reason = "Luau tells frames through its C API")]

use std::cell::Cell;
use std::ffi::c_int;

use mlua::ffi;

/// The largest block that Luau's API lets one ask for. No limit of a VM has room for it right after memory ran out.
const TOO_MUCH: usize = 1 << 30;

thread_local! {
    static LINE: Cell<u32> = const { Cell::new(0) };
}

/// Forgets the line of an earlier error of this thread.
pub(crate) fn reset() {
    LINE.set(0);
}

/// Line of the first error of this thread that was noted, 0 when there is none.
pub(crate) fn line() -> u32 {
    LINE.get()
}

/// Notes where `state` is, unless something is noted.
///
/// # Safety
/// `state` is a Lua thread that does not run on another thread.
pub(crate) unsafe fn note(state: *mut ffi::lua_State) {
    if LINE.get() == 0 {
        // SAFETY: as promised by the caller.
        LINE.set(unsafe { innermost_line(state) });
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
                    return exhaust(state);
                }
                line = innermost_line(thread);
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
    // SAFETY: see there.
    unsafe { lua.create_c_function(exhaust) }
}

/// Only the allocator raises that error, so it is asked for what it cannot have.
unsafe extern "C-unwind" fn exhaust(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: a C function of Luau may raise; nothing in this frame needs dropping.
    unsafe {
        ffi::lua_newbuffer(state, TOO_MUCH);
        ffi::luaL_error(state, c"not enough memory".as_ptr())
    }
}

/// Line of the innermost frame that has one. Only scripts have: our own Luau code is compiled without.
///
/// # Safety
/// As for [`note`].
unsafe fn innermost_line(state: *mut ffi::lua_State) -> u32 {
    // SAFETY: an all-zero `lua_Debug` is valid (null pointers and numbers), and `lua_getinfo` allocates nothing, so it
    // is also safe when memory has run out.
    unsafe {
        let mut frame: ffi::lua_Debug = std::mem::zeroed();
        let mut level = 0;
        while ffi::lua_getinfo(state, level, c"l".as_ptr(), &raw mut frame) != 0 {
            if let Some(line) = u32::try_from(frame.currentline).ok().filter(|&line| line > 0) {
                return line;
            }
            level += 1;
        }
    }
    0
}
