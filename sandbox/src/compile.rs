//! The gate: source in, bytecode or a refusal out.
//!
//! Bytecode is made here and never taken from outside, because Luau trusts what it loads. It is tied to the Luau
//! version of this program and must not be stored.

use std::ffi::{CStr, CString};
use std::fmt;
use std::sync::Arc;

use contract::{Code, Diagnostic};
use mlua::chunk::Compiler;

use crate::limits::{Bytes, Limits};

/// Globals whose fields change while a script runs. Luau resolves `name.field` of all others once, when it loads a
/// script, which is right for libraries and wrong for these.
const MUTABLE_GLOBALS: [&str; 3] = ["_G", "input", "result"];

/// A compiled script. Cheap to clone, shared by all threads.
#[derive(Clone)]
pub struct Program {
    inner: Arc<Inner>,
}

struct Inner {
    file: String,
    chunk_name: CString,
    bytecode: Vec<u8>,
}

impl Program {
    /// The script's file as diagnostics name it.
    pub fn file(&self) -> &str {
        &self.inner.file
    }

    /// `=FILE`: the sign tells Luau to print the name as it is.
    pub(crate) fn chunk_name(&self) -> &CStr {
        &self.inner.chunk_name
    }

    /// What [`compile`] made.
    pub(crate) fn bytecode(&self) -> &[u8] {
        &self.inner.bytecode
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Program({}, {} bytes)", self.inner.file, self.inner.bytecode.len())
    }
}

/// The gate refused a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// `TooLarge` or `ScriptRefused`.
    pub code: Code,
    /// One sentence.
    pub detail: String,
    /// Where, if at a place.
    pub diagnostics: Vec<Diagnostic>,
}

impl Refusal {
    fn whole(code: Code, detail: String) -> Self {
        Self { code, detail, diagnostics: Vec::new() }
    }

    fn at(file: &str, line: u32, message: String) -> Self {
        let diagnostic = Diagnostic { file: file.to_owned(), line, column: None, message };
        Self { code: Code::ScriptRefused, detail: diagnostic.to_string(), diagnostics: vec![diagnostic] }
    }
}

/// Checks size, encoding and syntax of `source` and compiles it. `file` names it in diagnostics, for example
/// `risk.luau`. A byte order mark is skipped. Needs a thread with 8 MiB of stack.
///
/// # Errors
/// [`Refusal`] with `TooLarge` above [`Limits::source_bytes`], else with `ScriptRefused`: nothing but white space, not
/// UTF-8, a NUL, or a syntax error, which names its line.
pub fn compile(file: &str, source: &[u8], limits: &Limits) -> Result<Program, Refusal> {
    let file = file.replace('\0', "\u{fffd}");
    if source.len() > limits.source_bytes {
        return Err(Refusal::whole(
            Code::TooLarge,
            format!("`{file}` has {} bytes, the limit is {}", source.len(), Bytes(limits.source_bytes)),
        ));
    }
    let text = std::str::from_utf8(source)
        .map_err(|error| Refusal::at(&file, line_of(source, error.valid_up_to()), "not UTF-8".to_owned()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(Refusal::whole(Code::ScriptRefused, format!("`{file}` is empty")));
    }
    if let Some(offset) = memchr::memchr(0, source) {
        return Err(Refusal::at(&file, line_of(source, offset), "a NUL byte".to_owned()));
    }
    let bytecode = compiler().compile(text).map_err(|error| refuse(&file, &error))?;
    let chunk_name = CString::new(format!("={file}")).expect("NULs were replaced above");
    Ok(Program { inner: Arc::new(Inner { file, chunk_name, bytecode }) })
}

/// Optimised, with lines for errors. Level 2 inlines, which costs compile time once and saves it at each execution.
fn compiler() -> Compiler {
    Compiler::new().set_optimization_level(2).set_debug_level(1).set_mutable_globals(MUTABLE_GLOBALS)
}

/// Reads the compiler's `:LINE: MESSAGE`, of which some come without the first colon.
fn refuse(file: &str, error: &mlua::Error) -> Refusal {
    let text = match error {
        mlua::Error::SyntaxError { message, .. } => message.clone(),
        other => other.to_string(),
    };
    let place = text.trim_start_matches(':').split_once(": ");
    match place.and_then(|(line, message)| Some((line.parse().ok()?, message))) {
        Some((line, message)) => Refusal::at(file, line, message.to_owned()),
        None => Refusal::at(file, 0, text),
    }
}

/// The line, from 1, in which `offset` lies.
fn line_of(source: &[u8], offset: usize) -> u32 {
    let newlines = memchr::memchr_iter(b'\n', &source[..offset]).count();
    u32::try_from(newlines).unwrap_or(u32::MAX - 1) + 1
}
