//! The part of Luau's C API that the sandbox uses, made safe.
//!
//! Values are named by [`Position`], counted from the bottom of the frame, because Luau answers "none" for a position
//! above the top but reads wild memory for one below the bottom. Each method checks with a real assertion what the C
//! function takes for granted. Pushing makes room by itself and raises a Lua error when there is none.
//!
//! A Lua error is a C++ exception: it unwinds through these frames, and through the Rust frames of who called, up to
//! the protected call that made the [`Stack`]. Nothing may catch it on the way, so no `catch_unwind` inside.
#![allow(unsafe_code, reason = "wraps C functions; each block says why the call is sound")]

mod threads;

use std::ffi::{CStr, c_int};
use std::ptr;

use mlua::ffi;

use crate::compile::{Module, Program};

/// The largest block that Luau's API lets one ask for. No limit of a VM has room for it right after memory ran out.
const TOO_MUCH: usize = 1 << 30;

/// Place of a value, from 1. The top of an empty stack is 0, a place without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position(c_int);

impl Position {
    /// The place of the first value: a C function's first argument.
    pub(crate) const FIRST: Self = Self(1);

    /// The place above this one.
    pub(crate) fn after(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A value kept in the registry of one VM, for as long as the VM lives or until it is let go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pin(c_int);

impl Pin {
    /// Keeps `value` in `lua`.
    pub(crate) fn of(lua: &mlua::Lua, value: impl mlua::IntoLua) -> mlua::Result<Self> {
        let mut pin = Self(ffi::LUA_REFNIL);
        // SAFETY: the state is valid on this thread during the call, which is protected and restores the stack.
        unsafe { lua.exec_raw::<()>(value.into_lua(lua)?, |state| pin = Stack::new(state).keep())? };
        Ok(pin)
    }
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Nil,
    Boolean,
    Number,
    Integer,
    String,
    Table,
    Function,
    /// The only one that scripts can get hold of is `json.null`.
    LightUserdata,
    Userdata,
    Thread,
    Buffer,
    Vector,
}

impl Kind {
    /// With its article, for sentences.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::Integer => "an integer",
            Self::String => "a string",
            Self::Table => "a table",
            Self::Function => "a function",
            Self::LightUserdata => "json.null",
            Self::Userdata => "a userdata",
            Self::Thread => "a coroutine",
            Self::Buffer => "a buffer",
            Self::Vector => "a vector",
        }
    }
}

/// How a call, or a turn of a coroutine, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Its result is on top, or still in the coroutine.
    Returned,
    /// The coroutine waits to be resumed.
    Yielded,
    /// The error object is on top.
    Raised,
    /// The memory limit was hit and nothing caught that.
    OutOfMemory,
}

/// The stack of one Lua thread, within one protected call.
pub(crate) struct Stack {
    state: *mut ffi::lua_State,
}

impl Stack {
    /// # Safety
    /// `state` is valid while the value lives, on its own thread, and inside a protected call, which takes the errors
    /// that methods raise.
    pub(crate) unsafe fn new(state: *mut ffi::lua_State) -> Self {
        Self { state }
    }

    /// Place of the topmost value.
    pub(crate) fn top(&self) -> Position {
        // SAFETY: `state` is valid, see `new`.
        Position(unsafe { ffi::lua_gettop(self.state) })
    }

    /// How many values are above `position`.
    pub(crate) fn count_above(&self, position: Position) -> c_int {
        self.top().0 - position.0
    }

    /// Drops all above `position`.
    pub(crate) fn cut(&mut self, position: Position) {
        assert!(position.0 <= self.top().0);
        // SAFETY: shrinks only, checked above.
        unsafe { ffi::lua_settop(self.state, position.0) }
    }

    /// Drops the topmost value.
    pub(crate) fn pop(&mut self) {
        let top = self.top().0;
        assert!(top > 0);
        // SAFETY: there is a value to drop, checked above.
        unsafe { ffi::lua_settop(self.state, top - 1) }
    }

    pub(crate) fn kind(&self, position: Position) -> Kind {
        // SAFETY: a place with a value, checked by `index`.
        match unsafe { ffi::lua_type(self.state, self.index(position)) } {
            ffi::LUA_TBOOLEAN => Kind::Boolean,
            ffi::LUA_TNUMBER => Kind::Number,
            ffi::LUA_TINTEGER => Kind::Integer,
            ffi::LUA_TSTRING => Kind::String,
            ffi::LUA_TTABLE => Kind::Table,
            ffi::LUA_TFUNCTION => Kind::Function,
            ffi::LUA_TLIGHTUSERDATA => Kind::LightUserdata,
            ffi::LUA_TUSERDATA => Kind::Userdata,
            ffi::LUA_TTHREAD => Kind::Thread,
            ffi::LUA_TBUFFER => Kind::Buffer,
            ffi::LUA_TVECTOR => Kind::Vector,
            _ => Kind::Nil,
        }
    }

    pub(crate) fn boolean(&self, position: Position) -> bool {
        // SAFETY: a place with a value, checked by `index`.
        unsafe { ffi::lua_toboolean(self.state, self.index(position)) != 0 }
    }

    /// 0 if it is no number.
    pub(crate) fn number(&self, position: Position) -> f64 {
        // SAFETY: a place with a value, checked by `index`.
        unsafe { ffi::lua_tonumber(self.state, self.index(position)) }
    }

    /// 0 if it is no 64-bit integer.
    pub(crate) fn integer(&self, position: Position) -> i64 {
        // SAFETY: a place with a value, checked by `index`; the flag may be null.
        unsafe { ffi::lua_tointeger64(self.state, self.index(position), ptr::null_mut()) }
    }

    /// The bytes of a string. They stay as long as the stack is not changed, which the borrow sees to.
    pub(crate) fn bytes(&self, position: Position) -> &[u8] {
        assert_eq!(self.kind(position), Kind::String);
        let mut length = 0;
        // SAFETY: it is a string, checked above, so nothing is converted and the pointer is to `length` bytes.
        unsafe {
            let bytes = ffi::lua_tolstring(self.state, position.0, &raw mut length);
            std::slice::from_raw_parts(bytes.cast(), length)
        }
    }

    pub(crate) fn push_nil(&mut self) {
        // SAFETY: makes room by itself.
        unsafe { ffi::lua_pushnil(self.state) }
    }

    pub(crate) fn push_boolean(&mut self, value: bool) {
        // SAFETY: makes room by itself.
        unsafe { ffi::lua_pushboolean(self.state, c_int::from(value)) }
    }

    pub(crate) fn push_number(&mut self, value: f64) {
        // SAFETY: makes room by itself.
        unsafe { ffi::lua_pushnumber(self.state, value) }
    }

    pub(crate) fn push_bytes(&mut self, value: &[u8]) {
        // SAFETY: Luau copies `length` bytes from the pointer.
        unsafe {
            ffi::lua_pushlstring(self.state, value.as_ptr().cast(), value.len());
        }
    }

    /// A new table with room for so many elements and fields.
    pub(crate) fn push_table(&mut self, elements: u16, fields: u16) -> Position {
        // SAFETY: the counts are small and not negative.
        unsafe { ffi::lua_createtable(self.state, c_int::from(elements), c_int::from(fields)) }
        self.top()
    }

    /// The same value once more, on top.
    pub(crate) fn push_copy(&mut self, position: Position) {
        // SAFETY: a place with a value, checked by `index`.
        unsafe { ffi::lua_pushvalue(self.state, self.index(position)) }
    }

    pub(crate) fn push_pin(&mut self, pin: Pin) {
        // SAFETY: the registry is a table at any time.
        unsafe {
            ffi::lua_rawgeti(self.state, ffi::LUA_REGISTRYINDEX, pin.0.into());
        }
    }

    /// Drops all values.
    pub(crate) fn clear(&mut self) {
        // SAFETY: shrinks only.
        unsafe { ffi::lua_settop(self.state, 0) }
    }

    /// Keeps the topmost value until it is let go, and drops it from the stack.
    pub(crate) fn keep(&mut self) -> Pin {
        // SAFETY: a place with a value, checked by `index`.
        let pin = Pin(unsafe { ffi::lua_ref(self.state, self.index(self.top())) });
        self.pop();
        pin
    }

    /// Lets a kept value go. The pin must not be used again: it may soon name another value.
    pub(crate) fn let_go(&mut self, pin: Pin) {
        // SAFETY: only empties a place of the registry; a wrong one would be a wrong value and not wild memory.
        unsafe {
            ffi::lua_unref(self.state, pin.0);
        }
    }

    /// `table[name] = top`, without metamethods; drops the top.
    pub(crate) fn set_field(&mut self, table: Position, name: &CStr) {
        self.assert_table_below(table, 1);
        // SAFETY: a table with a value above it, checked above; a read-only one raises.
        unsafe { ffi::lua_rawsetfield(self.state, table.0, name.as_ptr()) }
    }

    /// Pushes `table[name]`, without metamethods.
    pub(crate) fn push_field(&mut self, table: Position, name: &CStr) -> Position {
        self.assert_table_below(table, 0);
        // SAFETY: a table, checked above.
        unsafe { ffi::lua_rawgetfield(self.state, table.0, name.as_ptr()) };
        self.top()
    }

    /// Pushes `table[name]`, without metamethods.
    pub(crate) fn push_entry(&mut self, table: Position, name: &[u8]) -> Position {
        self.assert_table_below(table, 0);
        self.push_bytes(name);
        // SAFETY: a table and a key above it.
        unsafe { ffi::lua_rawget(self.state, table.0) };
        self.top()
    }

    /// `table[index] = top`, without metamethods; drops the top.
    pub(crate) fn set_element(&mut self, table: Position, index: i32) {
        self.assert_table_below(table, 1);
        // SAFETY: a table with a value above it, checked above.
        unsafe { ffi::lua_rawseti(self.state, table.0, index.into()) }
    }

    /// Pushes `table[index]`, without metamethods.
    pub(crate) fn push_element(&mut self, table: Position, index: i32) -> Position {
        self.assert_table_below(table, 0);
        // SAFETY: a table, checked above.
        unsafe { ffi::lua_rawgeti(self.state, table.0, index.into()) };
        self.top()
    }

    /// `table[key] = value` with the key below the value on top, without metamethods; drops both.
    pub(crate) fn set_entry(&mut self, table: Position) {
        self.assert_table_below(table, 2);
        // SAFETY: a table with two values above it, checked above; a key of nil or NaN raises.
        unsafe { ffi::lua_rawset(self.state, table.0) }
    }

    /// Pushes the entry at or after `cursor` (from 0), key below value, and gives the cursor of the one after it.
    /// The table must not change between.
    pub(crate) fn push_next(&mut self, table: Position, cursor: i32) -> Option<i32> {
        self.assert_table_below(table, 0);
        assert!(cursor >= 0);
        // SAFETY: a table and a cursor not below 0, checked above; one past the end gives -1.
        let next = unsafe { ffi::lua_rawiter(self.state, table.0, cursor) };
        (next >= 0).then_some(next)
    }

    /// Gives the table at `position` the pinned table as metatable.
    pub(crate) fn set_metatable(&mut self, position: Position, metatable: Pin) {
        self.assert_table_below(position, 0);
        self.push_pin(metatable);
        assert_eq!(self.kind(self.top()), Kind::Table);
        // SAFETY: a table on top and a table below, checked above.
        unsafe {
            ffi::lua_setmetatable(self.state, position.0);
        }
    }

    /// Whether that is the metatable of the table at `position`.
    pub(crate) fn has_metatable(&mut self, position: Position, metatable: Pin) -> bool {
        self.assert_table_below(position, 0);
        let top = self.top();
        // SAFETY: a table, checked above; both values are compared without metamethods while they are on the stack.
        let same = unsafe {
            ffi::lua_getmetatable(self.state, position.0) != 0 && {
                self.push_pin(metatable);
                ffi::lua_rawequal(self.state, top.0 + 1, top.0 + 2) != 0
            }
        };
        self.cut(top);
        same
    }

    /// Makes the table read-only.
    pub(crate) fn freeze(&mut self, table: Position) {
        self.assert_table_below(table, 0);
        // SAFETY: a table, checked above.
        unsafe { ffi::lua_setreadonly(self.state, table.0, 1) }
    }

    /// Makes the table the globals of this thread and of the coroutines it makes; what is loaded from now on is bound to
    /// it. Luau resolves names such as `math.floor` when it loads code, and looks them up among the *thread's* globals
    /// even if the code is bound to another table, so binding alone would leak them.
    pub(crate) fn set_globals(&mut self, table: Position) {
        self.push_copy(table);
        self.assert_table_below(self.top(), 0);
        // SAFETY: a table on top, checked above; both calls only set a field, the second tells Luau that names mean what
        // they say, which allows its fast paths.
        unsafe {
            ffi::lua_replace(self.state, ffi::LUA_GLOBALSINDEX);
            ffi::lua_setsafeenv(self.state, ffi::LUA_GLOBALSINDEX, 1);
        }
    }

    /// Pushes the globals of this thread.
    pub(crate) fn push_globals(&mut self) -> Position {
        // SAFETY: the globals are a table at any time; makes room by itself.
        unsafe { ffi::lua_pushvalue(self.state, ffi::LUA_GLOBALSINDEX) }
        self.top()
    }

    /// Calls the function below the `arguments` topmost values, protected. Function and arguments give way to all its
    /// results or to the error.
    pub(crate) fn call(&mut self, arguments: u8) -> Status {
        let arguments = c_int::from(arguments);
        assert!(self.top().0 > arguments);
        // SAFETY: function and arguments are there, checked above.
        status(unsafe { ffi::lua_pcall(self.state, arguments, ffi::LUA_MULTRET, 0) })
    }

    /// Does so much work of sweeping, and tells whether a round has ended with it.
    pub(crate) fn sweep(&mut self, kib: u16) -> bool {
        // SAFETY: sweeping is allowed wherever something may be allocated.
        unsafe { ffi::lua_gc(self.state, ffi::LUA_GCSTEP, kib.into()) != 0 }
    }

    /// Seeds what makes addresses in texts (`table: 0x…`) meaningless outside this VM.
    pub(crate) fn scramble_addresses(&mut self, key: [u64; 4]) {
        // SAFETY: only sets numbers.
        unsafe { ffi::lua_setpointerencodekey(self.state, key[0], key[1], key[2], key[3]) }
    }

    /// Raises Luau's own error for memory that ran out. Only the allocator raises that one, so it is asked for what it
    /// cannot have.
    pub(crate) fn raise_out_of_memory(&mut self) -> ! {
        // SAFETY: both calls raise; the protected call around takes the error, see `new`.
        unsafe {
            ffi::lua_newbuffer(self.state, TOO_MUCH);
            ffi::luaL_error(self.state, c"not enough memory".as_ptr())
        }
    }

    /// Pushes a C function that keeps a pin, to be asked for with [`Stack::kept_pin`].
    pub(crate) fn push_function(&mut self, function: ffi::lua_CFunction, name: &'static CStr, pin: Pin) {
        // SAFETY: the number is the one value that the function keeps; Luau uses the name as long as the function lives.
        unsafe {
            ffi::lua_pushnumber(self.state, pin.0.into());
            ffi::lua_pushcclosured(self.state, function, name.as_ptr(), 1);
        }
    }

    /// The pin of the running function, which [`Stack::push_function`] made.
    #[expect(clippy::cast_possible_truncation, reason = "the number was made from such an integer")]
    pub(crate) fn kept_pin(&self) -> Pin {
        // SAFETY: only reads; a function without it has 0 there, a pin of nothing.
        Pin(unsafe { ffi::lua_tonumber(self.state, ffi::lua_upvalueindex(1)) } as c_int)
    }

    /// Pushes a handle of the program, which keeps it as long as the handle lives. Scripts must not get hold of it.
    pub(crate) fn push_program(&mut self, program: Program) {
        // SAFETY: Luau drops the value when it collects the handle. A program is no more aligned than a pointer, which
        // Luau's values are.
        unsafe {
            ffi::lua_newuserdata_t(self.state, program);
        }
    }

    /// The program of a handle.
    pub(crate) fn program(&self, position: Position) -> Program {
        assert_eq!(self.kind(position), Kind::Userdata);
        // SAFETY: `push_program` made it: only `modules.luau` asks, with the handle that it was given.
        unsafe { (*ffi::lua_touserdata(self.state, position.0).cast::<Program>()).clone() }
    }

    /// Pushes the function of a file of a program, bound to this thread's globals; false if Luau refused, with its
    /// message on top. It refuses what this process compiled only for want of memory.
    pub(crate) fn load(&mut self, module: &Module) -> bool {
        let bytecode = &module.bytecode;
        // SAFETY: the bytecode was made by the compiler of this very process, see `Program`; Luau copies it. 0 stands for
        // the thread's globals.
        let status = unsafe {
            ffi::luau_load(self.state, module.chunk_name.as_ptr(), bytecode.as_ptr().cast(), bytecode.len(), 0)
        };
        status == ffi::LUA_OK
    }

    /// Pushes a copy of the Luau function at `position` that is bound to this thread's globals.
    pub(crate) fn push_rebound(&mut self, position: Position) {
        // SAFETY: a Luau function, checked here; Luau makes room for the copy.
        unsafe {
            assert!(ffi::lua_isLfunction(self.state, self.index(position)) != 0);
            ffi::lua_clonefunction(self.state, position.0);
        }
    }

    /// The module of `program` that runs in the innermost frame which runs one.
    pub(crate) fn running_module<'p>(&self, program: &'p Program) -> Option<&'p Module> {
        // SAFETY: an all-zero `lua_Debug` is valid (null pointers and numbers). `lua_getinfo` allocates nothing, and the
        // name it points to lives as long as the function in the frame.
        unsafe {
            let mut frame: ffi::lua_Debug = std::mem::zeroed();
            let mut level = 1;
            while ffi::lua_getinfo(self.state, level, c"s".as_ptr(), &raw mut frame) != 0 {
                if let Some(module) = program.module_of_chunk(CStr::from_ptr(frame.source)) {
                    return Some(module);
                }
                level += 1;
            }
        }
        None
    }

    /// Whether the coroutine at `thread` is inside the function at `function`.
    pub(crate) fn is_inside(&mut self, thread: Position, function: Position) -> bool {
        assert!(self.kind(thread) == Kind::Thread && self.kind(function) == Kind::Function);
        // SAFETY: the kinds were checked. The thread is alive as long as it is on the stack; what is pushed on its stack is
        // taken off again before it can run, and room for it is there.
        unsafe {
            let other = ffi::lua_tothread(self.state, self.index(thread));
            let sought = ffi::lua_topointer(self.state, self.index(function));
            if ffi::lua_checkstack(other, 1) == 0 {
                return true;
            }
            let mut frame: ffi::lua_Debug = std::mem::zeroed();
            let mut level = 0;
            while ffi::lua_getinfo(other, level, c"f".as_ptr(), &raw mut frame) != 0 {
                let found = ffi::lua_topointer(other, -1) == sought;
                ffi::lua_pop(other, 1);
                if found {
                    return true;
                }
                level += 1;
            }
        }
        false
    }

    /// The position for C, after checking that a value is there.
    fn index(&self, position: Position) -> c_int {
        assert!(position.0 > 0 && position.0 <= self.top().0);
        position.0
    }

    /// A table at `position`, and at least `above` values on top of it.
    fn assert_table_below(&self, position: Position, above: c_int) {
        assert!(position.0 + above <= self.top().0 && self.kind(position) == Kind::Table);
    }
}

fn status(code: c_int) -> Status {
    match code {
        ffi::LUA_OK => Status::Returned,
        ffi::LUA_YIELD => Status::Yielded,
        ffi::LUA_ERRMEM => Status::OutOfMemory,
        _ => Status::Raised,
    }
}
