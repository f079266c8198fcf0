//! The sandbox on the author's desk: the same checks and limits as in the manager and the executors.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use contract::policy::Document;
use contract::{Code, TenantName, Version};
use sandbox::{Call, Engine, Execution, Limits, Manifest, Refusal};

use crate::blame;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::files;
use crate::folder;

/// Stack of the thread that compiles and runs, as in the executors: the sandbox's depth limits are made for it.
const STACK_BYTES: usize = 8 << 20;

/// A script as read from its file or folder.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// Path as the author gave it, or `stdin`.
    pub(crate) path: String,
    /// Last part of the path: what the sandbox calls the script.
    file: String,
    /// Its bytes; those of a folder are a tar file.
    pub(crate) source: Vec<u8>,
    is_folder: bool,
}

impl Script {
    /// Reads the script at `path`: a file, or a folder of modules; `-` is standard input.
    ///
    /// # Errors
    /// It can't be read.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        if files::is_stdin(path) {
            let source = files::named("script", path)?;
            return Ok(Self { path: "stdin".into(), file: "stdin".into(), source, is_folder: false });
        }
        let is_folder = path.is_dir();
        let source = if is_folder { folder::pack(path)? } else { files::named("script", path)? };
        // `.` has no name of its own.
        let whole = if is_folder { fs_err::canonicalize(path).ok() } else { None };
        let whole = whole.as_deref().unwrap_or(path);
        let file = whole.file_name().unwrap_or(whole.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { path: path.display().to_string(), file, source, is_folder })
    }

    /// What the script is called after: a folder's name, a file's name without its ending: `risk` of `rules/risk.luau`.
    pub(crate) fn stem(&self) -> String {
        let file = Path::new(&self.file);
        let stem = if self.is_folder { file.file_name() } else { file.file_stem() };
        stem.unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Its files and their texts, as the sandbox and the manager name them.
    pub(crate) fn sources(&self) -> Vec<(String, String)> {
        let modules = sandbox::modules(&self.file, &self.source, &Limits::default()).unwrap_or_default();
        modules.into_iter().map(|(path, text)| (path, String::from_utf8_lossy(&text).into_owned())).collect()
    }

    /// What the author calls a file of the script.
    fn known_as(&self, file: &str) -> String {
        if file == self.file { self.path.clone() } else { format!("{}/{file}", self.path.trim_end_matches('/')) }
    }

    /// `failure`, with diagnostics that name the path the author gave and show its lines.
    fn point(&self, failure: Failure, mut diagnostics: Vec<contract::Diagnostic>) -> Failure {
        for diagnostic in &mut diagnostics {
            diagnostic.file = self.known_as(&diagnostic.file);
        }
        let sources = self.sources().into_iter().map(|(file, text)| (self.known_as(&file), text)).collect();
        failure.diagnostics(diagnostics).sources(sources)
    }

    /// The sandbox's refusal, told.
    fn refused(&self, refusal: Refusal) -> Failure {
        let failure = Failure::new(blame::exit_of(refusal.code), refusal.code.as_str(), refusal.detail);
        let failure = if refusal.code == Code::TooLarge { failure.exit(Exit::Script) } else { failure };
        self.point(failure, refusal.diagnostics)
    }

    /// Something here does not work, which is not the script's fault.
    fn internal(&self, why: String) -> Failure {
        Failure::new(Exit::Other, Code::Internal.as_str(), format!("cannot run `{}`: {why}", self.path))
    }

    fn engine(&self) -> Result<Arc<Engine>, Failure> {
        Engine::start().map_err(|err| self.internal(format!("start the watchdog thread: {err}")))
    }
}

/// Checks a script as the gate does: size, encoding, syntax, what it declares, its own tests.
///
/// # Errors
/// It is refused.
pub(crate) fn check(script: &Script) -> Result<Manifest, Failure> {
    let engine = script.engine()?;
    on_big_stack(|| sandbox::check(&engine, &script.file, &script.source, &Limits::default()))?
        .map(|checked| checked.manifest)
        .map_err(|refusal| script.refused(refusal))
}

/// Checks a policy script as the gate does, and reads what it answers; `tenant` is whose it is.
///
/// # Errors
/// It is refused.
pub(crate) fn policy(script: &Script, tenant: &TenantName) -> Result<Document, Failure> {
    let (engine, limits) = (script.engine()?, Limits::default());
    on_big_stack(|| {
        let checked = sandbox::check(&engine, &script.file, &script.source, &limits)?;
        sandbox::policy(&engine, &checked.program, tenant, &limits)
    })?
    .map_err(|refusal| script.refused(refusal))
}

/// Runs a script once on `input`, which is JSON text; empty = `null`.
///
/// The execution may have failed: see [`fault`].
///
/// # Errors
/// The script is refused, or this machine has no thread or memory for a VM.
pub(crate) fn run(script: &Script, input: &[u8]) -> Result<Execution, Failure> {
    let (engine, limits) = (script.engine()?, Limits::default());
    on_big_stack(|| {
        let program = sandbox::compile(&script.file, &script.source, &limits).map_err(|r| script.refused(r))?;
        let manifest = sandbox::inspect(&engine, &program, &limits).map_err(|r| script.refused(r))?;
        let mut vm = engine.vm(&manifest.limits.narrow(&limits)).map_err(|fault| script.internal(fault.detail))?;
        let (stem, version) = (script.stem(), Version::of(&script.source));
        let call = Call { input, ..Call::new("desk", &stem, version.as_str(), "desk", &limits) };
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
        let script =
            |file: &str, is_folder| Script { path: file.into(), file: file.into(), source: Vec::new(), is_folder };

        assert_eq!(script("risk.luau", false).stem(), "risk");
        assert_eq!(script("risk.v2.zip", false).stem(), "risk.v2");
        assert_eq!(script("risk.v2", true).stem(), "risk.v2");
    }

    #[test]
    fn the_guide_tells_the_limits_that_hold() {
        let guide = include_str!("../../docs/guide.md");
        let Limits {
            cpu,
            wall,
            memory_bytes,
            source_bytes,
            package_bytes,
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
            format!("| file of a script | {} KiB |", source_bytes >> 10),
            format!("| all modules of a package | {} MiB, 256 files |", package_bytes >> 20),
            format!("| input | {} MiB |", input_bytes >> 20),
            format!("| answer | {} MiB, {thousands},{rest:03} values |", output_bytes >> 20),
            format!("| nesting of input and answer | {depth} |"),
            format!("| log of an execution | {} KiB |", log_bytes >> 10),
        ] {
            assert!(guide.contains(&row), "docs/guide.md has no row `{row}`");
        }
    }
}
