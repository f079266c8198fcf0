//! Finds the line of a script at which an error was raised.
//!
//! Messages usually begin with it, but not those of errors that are tables, of `error(text, 0)` and of C functions
//! called on the script's behalf. So the frames are asked, while they still stand.
#![allow(unsafe_code, reason = "Luau calls the handler through its C API")]

use std::cell::Cell;
use std::ffi::c_int;

use mlua::ffi;

thread_local! {
    static LINE: Cell<u32> = const { Cell::new(0) };
}

/// The error handler for [`crate::stack::Stack::call`].
pub(crate) fn handler(lua: &mlua::Lua) -> mlua::Result<mlua::Function> {
    // SAFETY: `locate` keeps to the rules of a C function: it takes one value and gives one.
    unsafe { lua.create_c_function(locate) }
}

/// Forgets the line of an earlier error of this thread.
pub(crate) fn reset() {
    LINE.set(0);
}

/// Line of the last error of this thread, 0 when there is none.
pub(crate) fn line() -> u32 {
    LINE.get()
}

/// Notes the innermost frame that has a line. Only scripts have: our own prelude is compiled without.
unsafe extern "C-unwind" fn locate(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: an all-zero `lua_Debug` is valid (null pointers and numbers), and `lua_getinfo` allocates nothing, so it
    // is also safe when memory has run out.
    unsafe {
        let mut frame: ffi::lua_Debug = std::mem::zeroed();
        let mut level = 1;
        while ffi::lua_getinfo(state, level, c"l".as_ptr(), &raw mut frame) != 0 {
            if let Some(line) = u32::try_from(frame.currentline).ok().filter(|&line| line > 0) {
                LINE.set(line);
                break;
            }
            level += 1;
        }
    }
    1
}
