//! The gate, whole: what a source must pass before it may run anywhere. The same on the author's desk and in the manager.

use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::{Code, Diagnostic};

use crate::call::Call;
use crate::capability::Grants;
use crate::compile::{Program, Refusal, compile};
use crate::engine::Engine;
use crate::fault::Fault;
use crate::limits::Limits;
use crate::manifest::Manifest;
use crate::vm::Vm;

/// All tests of a script together. Whoever checks has others to check, too.
const TESTS_WALL_MAX: Duration = Duration::from_secs(10);

/// A source that passed.
#[derive(Debug)]
pub struct Checked {
    /// Ready to run.
    pub program: Program,
    /// What it declares.
    pub manifest: Manifest,
}

/// Compiles `source`, reads what it declares, and runs its own tests, all under `limits`. Needs a thread with 8 MiB of
/// stack; takes as long as the tests, at most ten seconds and one execution.
///
/// # Errors
/// [`Refusal`]: as [`compile()`] and [`inspect`], and for all tests that failed, each with name and line.
pub fn check(engine: &Arc<Engine>, file: &str, source: &[u8], limits: &Limits) -> Result<Checked, Refusal> {
    let program = compile(file, source, limits)?;
    let manifest = inspect(engine, &program, limits)?;
    test(engine, &program, &manifest, limits)?;
    Ok(Checked { program, manifest })
}

/// Runs the script once in a VM of its own, without input and without calling its handler, and reads what the table it
/// returns declares. One that returns no table, or raises, or uses up its limits, declares nothing: it may only have
/// missed its input.
///
/// # Errors
/// [`Refusal`] with all that is wrong with a declaration, or for want of a VM.
pub fn inspect(engine: &Arc<Engine>, program: &Program, limits: &Limits) -> Result<Manifest, Refusal> {
    let mut vm = engine.vm(limits).map_err(no_vm)?;
    match vm.declared(program, &call(program, limits)) {
        Ok(declared) => Manifest::read(&program.entry().path, &declared),
        Err(fault) if fault.code == Code::Internal => Err(no_vm(fault)),
        Err(_) => Ok(Manifest::default()),
    }
}

/// Runs each test as an execution of its own: in a fresh environment, under the script's own limits. What the script
/// declares it may ask for, it may ask for: the answer is a sentence.
fn test(engine: &Arc<Engine>, program: &Program, manifest: &Manifest, limits: &Limits) -> Result<(), Refusal> {
    if manifest.tests.is_empty() {
        return Ok(());
    }
    let (limits, begun) = (manifest.limits.narrow(limits), Instant::now());
    let grants = manifest.capabilities.iter().fold(Grants::HARMLESS, |grants, &capability| grants.with(capability));
    let call = Call { grants: &grants, ..call(program, &limits) };
    let mut vm: Option<Vm> = None;
    let mut failed = Vec::new();
    for name in &manifest.tests {
        if begun.elapsed() > TESTS_WALL_MAX {
            let file = &program.entry().path;
            let sentence = format!("{file}: its tests take longer than {} s together", TESTS_WALL_MAX.as_secs());
            failed.push(Refusal::script(sentence));
            break;
        }
        let vm = match vm.take().filter(Vm::is_usable) {
            Some(usable) => vm.insert(usable),
            None => vm.insert(engine.vm(&limits).map_err(no_vm)?),
        };
        match vm.test(program, &call, name) {
            Ok(()) => {}
            Err(fault) if fault.code == Code::Internal => return Err(no_vm(fault)),
            Err(fault) => failed.push(failure(program, name, fault)),
        }
    }
    Refusal::all(failed).map_or(Ok(()), Err)
}

fn failure(program: &Program, name: &str, fault: Fault) -> Refusal {
    let at = fault.diagnostics.into_iter().next();
    let (file, line) = at.as_ref().map_or((program.entry().path.clone(), 0), |at| (at.file.clone(), at.line));
    // A script's own words stand in the diagnostic, all others in the sentence.
    let why = match at {
        Some(at) if fault.code == Code::ScriptError => at.message,
        _ => fault.detail,
    };
    let message = format!("test {name:?} failed: {why}");
    let diagnostic = Diagnostic { file, line, column: None, message };
    let mut refusal = Refusal::script(diagnostic.to_string());
    refusal.diagnostics.push(diagnostic);
    refusal
}

/// Who runs while a script is checked.
fn call<'a>(program: &'a Program, limits: &'a Limits) -> Call<'a> {
    let script = program.file().split('.').next().unwrap_or_default();
    Call::new("check", script, "check", "check", limits)
}

/// The fault is not the script's, but there is no verdict without a VM.
fn no_vm(fault: Fault) -> Refusal {
    let Fault { code, detail, diagnostics } = fault;
    Refusal { code, detail: format!("the script could not be checked: {detail}"), diagnostics }
}
