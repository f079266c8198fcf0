//! The names a script finds, all of them: what is not listed here does not exist for it.
//!
//! Absent on purpose: `loadstring`, `getfenv`, `setfenv` (ways out of the environment), `newproxy`,
//! `collectgarbage`, `gcinfo`, `debug`, `dofile`, `loadfile`, `package`, all of `io` and `os` but what is named, and of
//! `table` the old `foreach`, `foreachi`, `getn` and `maxn` (loops in C without an end in sight). `require` is our own,
//! see `modules.rs`.

use std::sync::OnceLock;

use mlua::chunk::{ChunkMode, Compiler};
use mlua::{Function, Lua, LuaString, StdLib, Table, Value};

use crate::host;
use crate::life::Now;
use crate::modules;

/// Functions and values taken over from Luau as they are.
const NAMES: &str = "_VERSION assert error getmetatable ipairs next pairs pcall rawequal rawget rawlen rawset select \
     setmetatable tonumber tostring type typeof unpack xpcall";

/// Libraries, and what is taken over of each. `prelude.luau` and `tasks.luau` replace and add some.
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
    ("coroutine", "close create isyieldable status yield"),
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
    ("task", ""),
    ("utf8", "char charpattern codepoint codes len offset"),
    ("vector", "abs angle ceil clamp create cross dot floor lerp magnitude max min normalize one sign zero"),
];

/// What a VM keeps of its globals.
pub(crate) struct Globals {
    /// The names. Read-only.
    pub(crate) base: Table,
    /// Metatable of every execution's environment: reads go to the names above, and scripts cannot get at it.
    pub(crate) environment: Table,
    /// An environment in which nothing runs. Read-only.
    pub(crate) nowhere: Table,
    /// Metatable of tables that are arrays also when empty.
    pub(crate) array: Table,
    /// Makes the metatable of `ctx` for a set of capabilities.
    pub(crate) context: Function,
    /// A table whose first element is the tasks of the execution that runs now.
    pub(crate) now: Table,
    /// Runs tasks.
    pub(crate) drive: Function,
    /// Copies an environment.
    pub(crate) remember: Function,
    /// Makes an environment as it was when it was copied.
    pub(crate) restore: Function,
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

/// Builds the names in a new VM and makes all that is shared between executions read-only. The functions act for the
/// execution that is in `life`.
pub(crate) fn install(lua: &Lua, life: &Now) -> mlua::Result<Globals> {
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

    let run = |bytecode: &'static [u8], name: &str| {
        lua.load(bytecode).set_name(format!("={name}")).set_mode(ChunkMode::Binary)
    };
    let [prelude, tasks, context, modules] = bytecode();
    let host = host::functions(lua, life)?;
    let (log, array): (Table, Table) = run(prelude, "prelude").call((&base, &host))?;
    host::add_calls(lua, life, &host, array.clone())?;
    let now = lua.create_table()?;
    let (ask, drive, remember, restore): (Function, Function, Function, Function) =
        run(tasks, "tasks").call((&base, &now, &host))?;
    let (context, members): (Function, Table) = run(context, "context").call((&base, &host, ask, log))?;
    let requirer = run(modules, "modules").call((&base, &host, modules::functions(lua, &array)?, members))?;
    let reseed = from.raw_get::<Table>("math")?.raw_get("randomseed")?;

    #[cfg(test)]
    base.raw_set(
        "panic_on_purpose",
        crate::guard::function(lua, |_, ()| -> mlua::Result<()> { panic!("on purpose") })?,
    )?;

    // `("text"):find(…)` must find our functions, too.
    let string: Table = base.raw_get("string")?;
    lua.set_type_metatable::<LuaString>(Some(hidden(lua, &string)?));
    for &(library, _) in LIBRARIES {
        base.raw_get::<Table>(library)?.set_readonly(true);
    }
    base.set_readonly(true);
    let environment = hidden(lua, &base)?;
    let nowhere = lua.create_table()?;
    nowhere.set_metatable(Some(environment.clone()))?;
    nowhere.set_readonly(true);
    lua.sandbox(true)?;
    Ok(Globals { base, environment, nowhere, array, reseed, context, now, drive, remember, restore, requirer })
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

/// Bytecode of our own Luau code: prelude, tasks, context and modules, compiled once per process. Without inlining, which would
/// hide the frames that `error` counts.
fn bytecode() -> [&'static [u8]; 4] {
    static BYTECODE: OnceLock<[Vec<u8>; 4]> = OnceLock::new();
    let compiler = Compiler::new().set_optimization_level(1).set_debug_level(0);
    BYTECODE
        .get_or_init(|| {
            [
                include_str!("prelude.luau"),
                include_str!("tasks.luau"),
                include_str!("context.luau"),
                include_str!("modules.luau"),
            ]
            .map(|source| compiler.compile(source).expect("this is part of this program, and every test compiles it"))
        })
        .each_ref()
        .map(Vec::as_slice)
}
