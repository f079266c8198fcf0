//! What the gate asks of a script in place of an answer: what its table declares, and whether a test of its own holds.
//!
//! Tables are read raw, so reading runs none of the script's code, and into values of bounded size.

use std::sync::OnceLock;

use mlua::chunk::Compiler;

use crate::call::Call;
use crate::compile::Module;
use crate::context::Contexts;
use crate::forms::{Failure, check};
use crate::stack::{Kind, Position, Stack};

/// Fields of a script's table that mean something to others than the script.
pub(crate) const FIELDS: [&str; 10] =
    ["after", "before", "capabilities", "handle", "http", "limits", "middleware", "on", "state", "tests"];

/// Values read of one script.
const VALUES_MAX: u32 = 2_000;

/// Nesting of what is read: `http = { hosts = { "…" } }` and one more.
const DEPTH_MAX: u32 = 3;

/// Bytes read of one text.
const TEXT_BYTES_MAX: usize = 300;

/// The table that a script returned.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    /// False if it returned something else.
    pub(crate) is_table: bool,
    /// Those of [`FIELDS`] that are there.
    pub(crate) fields: Vec<(&'static str, Sketch)>,
    /// Names of others.
    pub(crate) others: Vec<String>,
    /// There is more than was read.
    pub(crate) too_much: bool,
}

/// A value, as far as a manifest may hold it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sketch {
    Boolean(bool),
    Number(f64),
    Text(String),
    Function,
    Table(Vec<(Sketch, Sketch)>),
    /// With its article.
    Other(&'static str),
    /// Not read: too deep, too long, or too much before it.
    TooMuch,
}

/// Reads what the script returned, raw.
pub(crate) fn read(stack: &mut Stack, table: Position) -> Declared {
    if stack.kind(table) != Kind::Table {
        return Declared::default();
    }
    let mut declared = Declared { is_table: true, ..Declared::default() };
    let (mut left, mut cursor) = (VALUES_MAX, 0);
    let before = stack.top();
    while let Some(next) = stack.push_next(table, cursor) {
        cursor = next;
        let key = before.after();
        if let Sketch::Text(name) = sketch(stack, key, 0, &mut left) {
            match FIELDS.into_iter().find(|field| *field == name) {
                Some(field) => declared.fields.push((field, sketch(stack, key.after(), DEPTH_MAX, &mut left))),
                None => declared.others.push(name),
            }
        }
        stack.cut(before);
    }
    declared.fields.sort_by_key(|(field, _)| *field);
    declared.too_much = left == 0;
    declared
}

fn sketch(stack: &mut Stack, position: Position, depth: u32, left: &mut u32) -> Sketch {
    let Some(fewer) = left.checked_sub(1) else { return Sketch::TooMuch };
    *left = fewer;
    match stack.kind(position) {
        Kind::Boolean => Sketch::Boolean(stack.boolean(position)),
        Kind::Number => Sketch::Number(stack.number(position)),
        Kind::String if stack.bytes(position).len() > TEXT_BYTES_MAX => Sketch::TooMuch,
        Kind::String => Sketch::Text(String::from_utf8_lossy(stack.bytes(position)).into_owned()),
        Kind::Function => Sketch::Function,
        Kind::Table if depth == 0 => Sketch::TooMuch,
        Kind::Table => {
            let (mut entries, mut cursor) = (Vec::new(), 0);
            let before = stack.top();
            while let Some(next) = stack.push_next(position, cursor) {
                cursor = next;
                let key = match stack.kind(before.after()) {
                    Kind::Table => Sketch::Other(Kind::Table.name()),
                    _ => sketch(stack, before.after(), 0, left),
                };
                let value = sketch(stack, before.after().after(), depth - 1, left);
                stack.cut(before);
                if *left == 0 {
                    return Sketch::TooMuch;
                }
                entries.push((key, value));
            }
            Sketch::Table(entries)
        }
        other => Sketch::Other(other.name()),
    }
}

/// Finds the test of that name in what the script returned.
pub(crate) fn test(stack: &mut Stack, returned: Position, name: &str) -> Result<Position, Failure> {
    let gone = || Failure::Raised(format!("there is no test `{name}` when the script runs again"));
    if stack.kind(returned) != Kind::Table {
        return Err(gone());
    }
    let tests = stack.push_field(returned, c"tests");
    if stack.kind(tests) != Kind::Table {
        return Err(gone());
    }
    let mut test = stack.push_entry(tests, name.as_bytes());
    if let (Kind::Nil, Ok(index)) = (stack.kind(test), name.parse()) {
        test = stack.push_element(tests, index);
    }
    if stack.kind(test) == Kind::Function { Ok(test) } else { Err(gone()) }
}

/// Pushes the argument of a test.
pub(crate) fn push_argument(
    stack: &mut Stack,
    contexts: &mut Contexts,
    call: &Call<'_>,
    name: &str,
) -> Result<(), Failure> {
    if !stack.load(helper()) {
        return Err(Failure::Memory);
    }
    stack.push_bytes(name.as_bytes());
    contexts.push(stack, call)?;
    check(stack.call(2), stack)
}

/// What makes the argument of a test.
fn helper() -> &'static Module {
    static HELPER: OnceLock<Module> = OnceLock::new();
    HELPER.get_or_init(|| Module {
        path: "testing".to_owned(),
        chunk_name: c"=testing".to_owned(),
        bytecode: Compiler::new()
            .set_optimization_level(1)
            .set_debug_level(0)
            .compile(include_str!("testing.luau"))
            .expect("the text is part of this program, and every test compiles it"),
    })
}
