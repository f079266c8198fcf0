//! Running the program and seeing what it says.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::fake::Fake;

/// A run of the program: environment empty but for what the test gives, a fresh directory as home of its files.
pub(crate) struct Program {
    command: Command,
    stdin: Vec<u8>,
    hide: Vec<(String, &'static str)>,
}

/// How it ended and what it said. `Display` is made for snapshots.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) exit: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// The one JSON document on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.stderr, "", "with --json nothing is said on stderr");
        serde_json::from_str(&self.stdout).unwrap_or_else(|err| panic!("{err} in {:?}", self.stdout))
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "exit {}", self.exit)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                write!(f, "---- {name}\n{text}")?;
            }
        }
        Ok(())
    }
}

/// `moonswarm` with these arguments, parted by spaces.
pub(crate) fn moonswarm(arguments: &str) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moonswarm"));
    command.env_clear().args(arguments.split_whitespace());
    Program { command, stdin: Vec::new(), hide: Vec::new() }
}

impl Program {
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn stdin(mut self, text: &str) -> Self {
        self.stdin = text.as_bytes().to_vec();
        self
    }

    /// In the directory of these files.
    pub(crate) fn within(mut self, files: &Files) -> Self {
        self.command.current_dir(files.0.path());
        self
    }

    /// Talking to this manager, whose address is shown as `MANAGER`.
    pub(crate) fn manager(mut self, fake: &Fake) -> Self {
        self.hide.push((fake.url.clone(), "MANAGER"));
        self.env("MOONSWARM_MANAGER", &fake.url)
    }

    /// Talking to this executor, whose address is shown as `EXECUTOR`.
    pub(crate) fn executor(mut self, fake: &Fake) -> Self {
        self.hide.push((fake.url.clone(), "EXECUTOR"));
        self.env("MOONSWARM_EXECUTOR", &fake.url)
    }

    /// Runs it to its end.
    pub(crate) fn run(mut self) -> Said {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        // A program that does not read its input closes it: that is its right.
        let _ = child.stdin.take().unwrap().write_all(&self.stdin);
        let output = child.wait_with_output().unwrap();
        let text = |bytes| {
            let mut text = String::from_utf8(bytes).unwrap();
            for (from, to) in &self.hide {
                text = text.replace(from, to);
            }
            text
        };
        Said { exit: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Runs it while nobody reads its stdout; gives the exit code.
    pub(crate) fn run_unread(mut self) -> i32 {
        let mut child = self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        drop(child.stdout.take());
        child.wait().unwrap().code().unwrap()
    }
}

/// A directory with files in it, removed at the end.
pub(crate) struct Files(tempfile::TempDir);

impl Files {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        Self(directory)
    }

    /// One more.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.0.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, bytes).unwrap();
    }
}

/// A file of the project.
pub(crate) fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
