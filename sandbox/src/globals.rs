//! The names a script finds, all of them: what is not listed here does not exist for it.
//!
//! Absent on purpose: `loadstring`, `getfenv`, `setfenv` (ways out of the environment), `newproxy`,
//! `collectgarbage`, `gcinfo`, `debug`, `dofile`, `loadfile`, `package`, all of `io` and `os` but what is named, and of
//! `table` the old `foreach`, `foreachi`, `getn` and `maxn` (loops in C without an end in sight). `require` is our own,
//! see `modules.rs`.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::OnceLock;

use memchr::memmem;
use mlua::chunk::{ChunkMode, Compiler};
use mlua::{Function, Lua, LuaString, StdLib, Table, Value};

use crate::guard;
use crate::log::{Level, Log};
use crate::modules;
use crate::patterns;

/// Functions and values taken over from Luau as they are.
const NAMES: &str = "_VERSION assert error getmetatable ipairs next pairs pcall rawequal rawget rawlen rawset select \
     setmetatable tonumber tostring type typeof unpack xpcall";

/// Libraries, and what is taken over of each. `prelude.luau` replaces and adds some.
const LIBRARIES: &[(&str, &str)] = &[
    (
        "bit32",
        "arshift band bnot bor btest bxor byteswap countlz countrz extract lrotate lshift replace rrotate rshift",
    ),
    (
        "buffer",
        "copy create fill fromstring len readbits readf32 readf64 readi16 readi32 readi8 readstring readu16 \
         readu32 readu8 tostring writebits writef32 writef64 writei16 writei32 writei8 writestring writeu16 \
         writeu32 writeu8",
    ),
    ("coroutine", "close create isyieldable resume running status wrap yield"),
    ("io", ""),
    ("json", ""),
    (
        "math",
        "abs acos asin atan atan2 ceil clamp cos cosh deg exp floor fmod frexp huge isfinite isinf isnan ldexp \
         lerp log log10 map max min modf noise pi pow rad random randomseed round sign sin sinh sqrt tan tanh",
    ),
    ("os", "clock difftime time"),
    ("string", "byte char len lower pack packsize rep reverse sub unpack upper"),
    ("table", "clear clone concat create find freeze insert isfrozen move pack remove unpack"),
    ("utf8", "char charpattern codepoint codes len offset"),
    ("vector", "abs angle ceil clamp create cross dot floor lerp magnitude max min normalize one sign zero"),
];

/// What a VM keeps of its globals.
pub(crate) struct Globals {
    /// The names. Read-only.
    pub(crate) base: Table,
    /// Metatable of every execution's environment: reads go to the names above, and scripts cannot get at it.
    pub(crate) environment: Table,
    /// Metatable of tables that are arrays also when empty.
    pub(crate) array: Table,
    /// `ctx.log`.
    pub(crate) log: Table,
    /// Makes the `require` of a package.
    pub(crate) requirer: Function,
    /// `math.randomseed`, so that executions do not continue each other's random numbers.
    pub(crate) reseed: Function,
}

/// Libraries to open: those that names come from, and nothing that takes memory for nothing.
pub(crate) fn libraries() -> StdLib {
    [StdLib::BUFFER, StdLib::COROUTINE, StdLib::MATH, StdLib::OS, StdLib::STRING, StdLib::TABLE, StdLib::UTF8]
        .into_iter()
        .fold(StdLib::BIT | StdLib::VECTOR, |all, library| all | library)
}

/// Builds the names in a new VM and makes all that is shared between executions read-only. What scripts log goes to
/// `log`.
pub(crate) fn install(lua: &Lua, log: &Rc<RefCell<Log>>) -> mlua::Result<Globals> {
    let from = lua.globals();
    let base = lua.create_table()?;
    take_over(&from, &base, NAMES)?;
    for &(library, names) in LIBRARIES {
        let copy = lua.create_table()?;
        if !names.is_empty() {
            take_over(&from.raw_get(library)?, &copy, names)?;
        }
        base.raw_set(library, copy)?;
    }
    base.raw_get::<Table>("json")?.raw_set("null", Value::NULL)?;

    let prelude = lua.load(prelude()).set_name("=prelude").set_mode(ChunkMode::Binary);
    let (log, array): (Table, Table) = prelude.call((&base, host(lua, log)?))?;
    let requirer = modules::install(lua, &base, &array)?;
    let reseed = from.raw_get::<Table>("math")?.raw_get("randomseed")?;

    #[cfg(test)]
    base.raw_set("panic_on_purpose", guard::function(lua, |_, ()| -> mlua::Result<()> { panic!("on purpose") })?)?;

    // `("text"):find(…)` must find our functions, too.
    let string: Table = base.raw_get("string")?;
    lua.set_type_metatable::<LuaString>(Some(hidden(lua, &string)?));
    for &(library, _) in LIBRARIES {
        base.raw_get::<Table>(library)?.set_readonly(true);
    }
    base.set_readonly(true);
    let environment = hidden(lua, &base)?;
    lua.sandbox(true)?;
    Ok(Globals { base, environment, array, log, requirer, reseed })
}

/// Copies `names`. One that Luau no longer has is an error here and not a surprise in a script.
fn take_over(from: &Table, to: &Table, names: &str) -> mlua::Result<()> {
    for name in names.split_whitespace() {
        let value: Value = from.raw_get(name)?;
        if value.is_nil() {
            return Err(mlua::Error::runtime(format!("Luau has no `{name}`")));
        }
        to.raw_set(name, value)?;
    }
    Ok(())
}

/// A read-only metatable that looks into `index` and that `getmetatable` and `setmetatable` do not reach.
fn hidden(lua: &Lua, index: &Table) -> mlua::Result<Table> {
    let metatable = lua.create_table()?;
    metatable.raw_set("__index", index)?;
    metatable.raw_set("__metatable", "locked")?;
    metatable.set_readonly(true);
    Ok(metatable)
}

/// What the prelude is given to work with. Scripts never see it. Each function is linear in its arguments.
fn host(lua: &Lua, log: &Rc<RefCell<Log>>) -> mlua::Result<Table> {
    let host = lua.create_table()?;
    let log = Rc::clone(log);
    host.raw_set(
        "log",
        guard::function(lua, move |_, (level, message): (LuaString, LuaString)| {
            log.borrow_mut().add(Level::named(&level.as_bytes()), &message.as_bytes());
            Ok(())
        })?,
    )?;
    host.raw_set("find", guard::function(lua, find)?)?;
    host.raw_set("isat", guard::function(lua, is_at)?)?;
    host.raw_set(
        "heaviest",
        guard::function(lua, |_, pattern: LuaString| Ok(patterns::heaviest(&pattern.as_bytes())))?,
    )?;
    host.raw_set(
        "percents",
        #[expect(clippy::cast_precision_loss, reason = "a string in a VM is shorter than 2^53")]
        guard::function(lua, |_, text: LuaString| Ok(memchr::memchr_iter(b'%', &text.as_bytes()).count() as f64))?,
    )?;
    host.raw_set(
        "iscfunction",
        guard::function(lua, |_, value: Value| {
            Ok(value.as_function().is_some_and(|function| function.info().what == "C"))
        })?,
    )?;
    Ok(host)
}

/// Where `needle` begins among the `places` bytes of `text` from byte `from` (from 1). Linear, where Luau's own search
/// is quadratic.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the prelude gives whole numbers from 1 to the length of a string, and `as` keeps others in range"
)]
fn find(_: &Lua, (text, needle, from, places): (LuaString, LuaString, f64, f64)) -> mlua::Result<Option<f64>> {
    let (text, needle) = (text.as_bytes(), needle.as_bytes());
    let from = (from as usize).saturating_sub(1);
    let end = from.saturating_add(places as usize).saturating_add(needle.len().saturating_sub(1));
    let range = text.get(from..end.min(text.len())).unwrap_or_default();
    Ok(memmem::find(range, &needle).map(|at| (from + at + 1) as f64))
}

/// Whether `needle` is in `text` at byte `at` (from 1).
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as in `find`")]
fn is_at(_: &Lua, (text, needle, at): (LuaString, LuaString, f64)) -> mlua::Result<bool> {
    let (text, needle) = (text.as_bytes(), needle.as_bytes());
    Ok(text.get((at as usize).saturating_sub(1)..).is_some_and(|rest| rest.starts_with(&needle)))
}

/// The prelude's bytecode, compiled once per process. Without inlining, which would hide the frames that `error`
/// counts.
fn prelude() -> &'static [u8] {
    static BYTECODE: OnceLock<Vec<u8>> = OnceLock::new();
    BYTECODE.get_or_init(|| {
        Compiler::new()
            .set_optimization_level(1)
            .set_debug_level(0)
            .compile(include_str!("prelude.luau"))
            .expect("the prelude is part of this program, and every test compiles it")
    })
}
