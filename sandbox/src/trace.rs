//! Finds the place in a script at which an error was raised.
//!
//! Messages usually begin with it, but not those of errors that are tables, of `error(text, 0)` and of C functions
//! called on the script's behalf. So the frames are asked, while they still stand.
#![allow(unsafe_code, reason = "Luau calls the handler through its C API")]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_int};

use mlua::ffi;

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

/// The error handler for [`crate::stack::Stack::call`].
pub(crate) fn handler(lua: &mlua::Lua) -> mlua::Result<mlua::Function> {
    // SAFETY: `locate` keeps to the rules of a C function: it takes one value and gives one.
    unsafe { lua.create_c_function(locate) }
}

/// Forgets the place of an earlier error of this thread.
pub(crate) fn reset() {
    PLACE.take();
}

/// Place of the last error of this thread.
pub(crate) fn place() -> Place {
    PLACE.with_borrow(Clone::clone)
}

/// Notes the innermost frame that has a line. Only scripts have: our own prelude is compiled without.
unsafe extern "C-unwind" fn locate(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: an all-zero `lua_Debug` is valid (null pointers and numbers), and `lua_getinfo` allocates nothing, so it
    // is also safe when memory has run out. The name it points to lives as long as the function in the frame.
    unsafe {
        let mut frame: ffi::lua_Debug = std::mem::zeroed();
        let mut level = 1;
        while ffi::lua_getinfo(state, level, c"sl".as_ptr(), &raw mut frame) != 0 {
            if let Some(line) = u32::try_from(frame.currentline).ok().filter(|&line| line > 0) {
                let chunk_name = Some(CStr::from_ptr(frame.source).to_owned());
                PLACE.set(Place { chunk_name, line });
                break;
            }
            level += 1;
        }
    }
    1
}
