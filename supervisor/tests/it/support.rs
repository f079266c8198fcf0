//! Runs scripts with the built program.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Longer than anything here takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

fn program(code: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moonswarm-init"));
    command.arg(format!("local init = require('init')\n{code}")).stdin(Stdio::null());
    command
}

/// A script that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The exit code; the program itself is never ended by a signal.
    pub(crate) code: i32,
}

/// Runs code to its end.
pub(crate) fn run(code: &str) -> Ended {
    run_with(code, &[])
}

/// The same with arguments.
pub(crate) fn run_with(code: &str, arguments: &[&str]) -> Ended {
    let mut command = program(code);
    command.args(arguments);
    finish(command)
}

/// Runs a command to its end, which it must reach within the deadline.
pub(crate) fn finish(mut command: Command) -> Ended {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let (tell, ended) = mpsc::channel();
    thread::spawn(move || tell.send(child.wait_with_output()));
    let Ok(output) = ended.recv_timeout(DEADLINE) else {
        Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
        let output = ended.recv().unwrap().unwrap();
        panic!("{command:?} has not ended after {DEADLINE:?}; so far: {:?}", ended_from(&output, -1));
    };
    let output = output.unwrap();
    let code = output.status.code().unwrap_or_else(|| panic!("{:?}: {:?}", output.status, ended_from(&output, -1)));
    ended_from(&output, code)
}

fn ended_from(output: &Output, code: i32) -> Ended {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { stdout: text(&output.stdout), stderr: text(&output.stderr), code }
}

/// A script that runs, and that the test talks with by signals and lines.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    /// Starts code.
    pub(crate) fn start(code: &str) -> Self {
        Self::begin(program(code))
    }

    /// Starts a command.
    pub(crate) fn begin(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = follow(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line with `text` in it, and gives the whole line.
    #[track_caller]
    pub(crate) fn line_with(&self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(err) => panic!("no line with {text:?} ({err}); seen: {seen:?}"),
            }
        }
    }

    /// Sends it a signal, `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits for its end: what it said since the last line that was waited for, and its code.
    #[track_caller]
    pub(crate) fn end(mut self) -> (String, i32) {
        let mut rest = Vec::new();
        loop {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(line) => rest.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("it has not ended; it said: {rest:?}"),
            }
        }
        let status = self.child.wait().unwrap();
        (rest.join("\n"), status.code().unwrap_or_else(|| panic!("{status}")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a failed test; a process that has ended is none to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn follow(stdout: ChildStdout) -> mpsc::Receiver<String> {
    let (tell, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout.take(u64::MAX)).lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Sends any process a signal.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(sent.success(), "kill -{name} {pid}: {sent}");
}

/// Whether a process of this number is there and no zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
