//! What goes to stdout and what to stderr: results on stdout, all other words on stderr, and with `--json` one
//! document on stdout and nothing else.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;

/// The way the program speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// For programs.
    pub(crate) json: bool,
}

impl Output {
    /// The result of a command: `text` for people, `document` for programs.
    ///
    /// # Errors
    /// Stdout can't be written, for example a full disk. A reader that went away is no error: `moonswarm list | head`.
    pub(crate) fn result(self, text: &str, document: &impl Serialize) -> Result<(), Failure> {
        if !self.json {
            return raw(text.as_bytes());
        }
        let mut bytes = serde_json::to_vec(document).map_err(|err| write_failure(&err.into()))?;
        bytes.push(b'\n');
        raw(&bytes)
    }

    /// Words beside the result. With `--json` nobody is there to read them.
    pub(crate) fn note(self, text: &str) {
        if !self.json {
            // Nothing is left to be told if stderr is gone.
            let _ = anstream::stderr().lock().write_all(text.as_bytes());
        }
    }

    /// A command that failed, and its exit code.
    pub(crate) fn failure(self, failure: &Failure) -> Exit {
        if !self.json {
            self.note(&failure.text());
        } else if let Err(unwritten) = self.result("", &failure.document()) {
            return unwritten.exit;
        }
        failure.exit
    }

    /// True if a person watches while a command runs.
    pub(crate) fn is_watched(self) -> bool {
        !self.json && io::stderr().is_terminal()
    }
}

/// Bytes for stdout as they are; colors are taken off where stdout does not want them.
///
/// # Errors
/// See [`Output::result`].
pub(crate) fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(err) if err.kind() != io::ErrorKind::BrokenPipe => Err(write_failure(&err)),
        _ => Ok(()),
    }
}

fn write_failure(err: &io::Error) -> Failure {
    Failure::new(Exit::Other, "file", format!("cannot write the result to stdout: {err}"))
}
