//! The gate: source in, bytecode or a refusal out.
//!
//! Bytecode is made here and never taken from outside, because Luau trusts what it loads. It is tied to the Luau
//! version of this program and must not be stored.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fmt;
use std::sync::Arc;

use contract::ids::Form;
use contract::{Code, Diagnostic};
use mlua::chunk::Compiler;

use crate::limits::{Bytes, Limits};
use crate::package::{self, Package};

/// Globals whose fields change while a script runs. Luau resolves `name.field` of all others once, when it loads a
/// script, which is right for libraries and wrong for these.
const MUTABLE_GLOBALS: [&str; 3] = ["_G", "input", "result"];

/// A compiled script: one file, or a package of modules. Cheap to clone, shared by all threads.
#[derive(Clone)]
pub struct Program {
    inner: Arc<Inner>,
}

struct Inner {
    file: String,
    is_package: bool,
    /// By path.
    modules: Vec<Module>,
    /// INVARIANT: the index of one of them.
    entry: usize,
}

/// One file of a script.
pub(crate) struct Module {
    pub(crate) path: String,
    /// `=PATH`: the sign tells Luau to print the name as it is.
    pub(crate) chunk_name: CString,
    /// What the compiler made.
    pub(crate) bytecode: Vec<u8>,
}

impl Program {
    /// The script's file as it was given to [`compile()`]. Diagnostics of a package name its modules' paths instead.
    pub fn file(&self) -> &str {
        &self.inner.file
    }

    /// Whether the script has modules that it may `require`.
    pub fn is_package(&self) -> bool {
        self.inner.is_package
    }

    /// Paths of the files it is made of.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.inner.modules.iter().map(|module| module.path.as_str())
    }

    /// Whether it is the very same compiled script.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// The module that runs when the script does.
    pub(crate) fn entry(&self) -> &Module {
        &self.inner.modules[self.inner.entry]
    }

    pub(crate) fn module(&self, path: &str) -> Option<&Module> {
        let modules = &self.inner.modules;
        modules.binary_search_by(|module| module.path.as_str().cmp(path)).ok().map(|index| &modules[index])
    }

    /// The module that Luau knows by this name of its chunk.
    pub(crate) fn module_of_chunk(&self, chunk_name: &CStr) -> Option<&Module> {
        self.module(chunk_name.to_str().ok()?.strip_prefix('=')?)
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Program({}, {} files)", self.inner.file, self.inner.modules.len())
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
    pub(crate) fn script(detail: String) -> Self {
        Self { code: Code::ScriptRefused, detail, diagnostics: Vec::new() }
    }

    pub(crate) fn too_large(detail: String) -> Self {
        Self { code: Code::TooLarge, detail, diagnostics: Vec::new() }
    }

    fn at(file: &str, line: u32, message: String) -> Self {
        let diagnostic = Diagnostic { file: file.to_owned(), line, column: None, message };
        Self { code: Code::ScriptRefused, detail: diagnostic.to_string(), diagnostics: vec![diagnostic] }
    }

    /// All of them in one; the sentence is the first one's. `None` if there are none.
    pub(crate) fn all(refusals: Vec<Self>) -> Option<Self> {
        let more = refusals.len().checked_sub(1)?;
        let mut refusals = refusals.into_iter();
        let mut all = refusals.next()?;
        if more > 0 {
            all.detail = format!("{}; and {more} more", all.detail);
        }
        all.diagnostics.extend(refusals.flat_map(|refusal| refusal.diagnostics));
        Some(all)
    }
}

/// Checks size, encoding and syntax of `source` and compiles it. `source` is Luau text, or a package as zip or tar file,
/// told apart by its first bytes. `file` names it in diagnostics, for example `risk.luau`. A byte order mark is skipped.
/// Needs a thread with 8 MiB of stack.
///
/// A package begins with `init.luau` or `main.luau` at its root, or in the one folder that all lies in. Paths are of
/// letters, digits, `.`, `_`, `-` and `/`. Files that are no modules are passed over.
///
/// # Errors
/// [`Refusal`] with `TooLarge` above [`Limits::source_bytes`] (each file) or [`Limits::package_bytes`], else with
/// `ScriptRefused`: nothing but white space, not UTF-8, a NUL, a syntax error, which names its line; for a package also
/// a broken archive, a link, a path that leads out, a file twice, no file to begin with. What is wrong with several
/// modules is told at once.
pub fn compile(file: &str, source: &[u8], limits: &Limits) -> Result<Program, Refusal> {
    let file = file.replace('\0', "\u{fffd}");
    let form = Form::of(source);
    let Package { modules, entry } = package::unpack(&file, form, source, limits)?;
    let (mut compiled, mut refusals) = (Vec::with_capacity(modules.len()), Vec::new());
    for (path, source) in modules {
        match module(&path, &source, limits) {
            Ok(bytecode) => {
                let chunk_name = CString::new(format!("={path}")).expect("no path has a NUL");
                compiled.push(Module { path, chunk_name, bytecode });
            }
            Err(mut refusal) => {
                if refusal.diagnostics.is_empty() && form != Form::Luau {
                    let message = refusal.detail.trim_start_matches(&format!("`{path}` ")).to_owned();
                    refusal.diagnostics.push(Diagnostic { file: path, line: 0, column: None, message });
                }
                refusals.push(refusal);
            }
        }
    }
    if let Some(refusal) = Refusal::all(refusals) {
        return Err(refusal);
    }
    let entry = compiled.iter().position(|module| module.path == entry).expect("a package has its entry");
    let is_package = form != Form::Luau;
    Ok(Program { inner: Arc::new(Inner { file, is_package, modules: compiled, entry }) })
}

/// The files that [`compile()`] would compile, by path: of a text the text itself.
///
/// # Errors
/// As [`compile()`], for what makes a package none.
pub fn modules(file: &str, source: &[u8], limits: &Limits) -> Result<BTreeMap<String, Vec<u8>>, Refusal> {
    package::unpack(file, Form::of(source), source, limits).map(|package| package.modules)
}

/// The bytecode of one file.
fn module(file: &str, source: &[u8], limits: &Limits) -> Result<Vec<u8>, Refusal> {
    if source.len() > limits.source_bytes {
        let sentence = format!("`{file}` has {} bytes, the limit is {}", source.len(), Bytes(limits.source_bytes));
        return Err(Refusal::too_large(sentence));
    }
    let text = std::str::from_utf8(source)
        .map_err(|error| Refusal::at(file, line_of(source, error.valid_up_to()), "not UTF-8".to_owned()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(Refusal::script(format!("`{file}` is empty")));
    }
    if let Some(offset) = memchr::memchr(0, source) {
        return Err(Refusal::at(file, line_of(source, offset), "a NUL byte".to_owned()));
    }
    compiler().compile(text).map_err(|error| refuse(file, &error))
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
