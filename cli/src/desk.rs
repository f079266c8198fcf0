//! The sandbox on the author's desk: the same checks and limits as in the manager and the executors.

use std::path::Path;
use std::thread;

use contract::{Code, Version};
use sandbox::{Call, Engine, Execution, Limits, Refusal};

use crate::blame;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::files;

/// Stack of the thread that compiles and runs, as in the executors: the sandbox's depth limits are made for it.
const STACK_BYTES: usize = 8 << 20;

/// A script as read from its file.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// Path as the author gave it, or `stdin`.
    pub(crate) path: String,
    /// Last part of the path: what the sandbox calls the script.
    file: String,
    /// Its bytes.
    pub(crate) source: Vec<u8>,
}

impl Script {
    /// Reads the script at `path`; `-` is standard input.
    ///
    /// # Errors
    /// It can't be read.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let source = files::named("script", path)?;
        if files::is_stdin(path) {
            return Ok(Self { path: "stdin".into(), file: "stdin".into(), source });
        }
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { path: path.display().to_string(), file, source })
    }

    /// The file's name without its ending, for example `risk` of `rules/risk.luau`.
    pub(crate) fn stem(&self) -> String {
        Path::new(&self.file).file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// `failure`, with diagnostics that name the path the author gave and show its lines.
    fn point(&self, failure: Failure, mut diagnostics: Vec<contract::Diagnostic>) -> Failure {
        for diagnostic in diagnostics.iter_mut().filter(|diagnostic| diagnostic.file == self.file) {
            diagnostic.file.clone_from(&self.path);
        }
        failure.diagnostics(diagnostics).source(&self.source)
    }

    /// The sandbox's refusal, told.
    fn refused(&self, refusal: Refusal) -> Failure {
        let failure = Failure::new(Exit::Script, refusal.code.as_str(), refusal.detail);
        self.point(failure, refusal.diagnostics)
    }
}

/// Checks a script as the gate does: size, encoding, syntax.
///
/// # Errors
/// It is refused.
pub(crate) fn check(script: &Script) -> Result<(), Failure> {
    on_big_stack(|| sandbox::compile(&script.file, &script.source, &Limits::default()))?
        .map(drop)
        .map_err(|refusal| script.refused(refusal))
}

/// Runs a script once on `input`, which is JSON text; empty = `null`.
///
/// The execution may have failed: see [`fault`].
///
/// # Errors
/// The script is refused, or this machine has no thread or memory for a VM.
pub(crate) fn run(script: &Script, input: &[u8]) -> Result<Execution, Failure> {
    let limits = Limits::default();
    let internal = |why: String| {
        Failure::new(Exit::Other, Code::Internal.as_str(), format!("cannot run `{}`: {why}", script.path))
    };
    on_big_stack(|| {
        let program = sandbox::compile(&script.file, &script.source, &limits).map_err(|r| script.refused(r))?;
        let engine = Engine::start().map_err(|err| internal(format!("start the watchdog thread: {err}")))?;
        let mut vm = engine.vm(&limits).map_err(|fault| internal(fault.detail))?;
        let (stem, version) = (script.stem(), Version::of(&script.source));
        let call = Call { tenant: "desk", script: &stem, version: version.as_str(), execution_id: "desk", input };
        Ok(vm.run(&program, &call))
    })?
}

/// An execution that failed, told: the script's fault, or the input's.
pub(crate) fn fault(script: &Script, fault: sandbox::Fault) -> Failure {
    let failure = Failure::new(blame::exit_of(fault.code), fault.code.as_str(), fault.detail);
    let failure = match fault.code {
        Code::BadJson | Code::TooLarge => failure.hint("the input is at fault, not the script: check --input"),
        Code::DeadlineExceeded | Code::MemoryExceeded | Code::OutputExceeded => {
            failure.hint("executors have the same limits: the script must do with less")
        }
        _ => failure,
    };
    script.point(failure, fault.diagnostics)
}

/// `work` on a thread with [`STACK_BYTES`] of stack.
fn on_big_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Failure> {
    let internal = |why: String| Failure::new(Exit::Other, Code::Internal.as_str(), why);
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("desk".into())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(|err| internal(format!("cannot start a thread for the sandbox: {err}")))?;
        thread.join().map_err(|_| internal("the sandbox has a bug: it panicked; the message is above".into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_called_after_its_file() {
        let script = |path: &str, file: &str| Script { path: path.into(), file: file.into(), source: Vec::new() };

        assert_eq!(script("rules/risk.luau", "risk.luau").stem(), "risk");
        assert_eq!(script("risk.v2.luau", "risk.v2.luau").stem(), "risk.v2");
    }

    #[test]
    fn the_guide_tells_the_limits_that_hold() {
        let guide = include_str!("../../docs/guide.md");
        let Limits {
            cpu,
            wall,
            memory_bytes,
            source_bytes,
            package_bytes: _,
            input_bytes,
            output_bytes,
            output_nodes,
            depth,
            log_bytes,
        } = Limits::default();
        let (thousands, rest) = (output_nodes / 1000, output_nodes % 1000);

        for row in [
            format!("| CPU time of an execution | {} ms |", cpu.as_millis()),
            format!("| wall time of an execution | {} s |", wall.as_secs()),
            format!("| memory of a VM | {} MiB |", memory_bytes >> 20),
            format!("| script | {} KiB |", source_bytes >> 10),
            format!("| input | {} MiB |", input_bytes >> 20),
            format!("| answer | {} MiB, {thousands},{rest:03} values |", output_bytes >> 20),
            format!("| nesting of input and answer | {depth} |"),
            format!("| log of an execution | {} KiB |", log_bytes >> 10),
        ] {
            assert!(guide.contains(&row), "docs/guide.md has no row `{row}`");
        }
    }
}
