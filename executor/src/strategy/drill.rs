//! Faults on purpose, in place of a script, so that tests can show what becomes of them.
//!
//! A caller asks for one with the header `x-moonswarm-drill`. It is heard only by an executor that was started with the
//! hidden flag `--drills`, which is refused beyond loopback.
#![allow(unsafe_code, reason = "ptrace(2) has no safe form")]

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Signal, getppid, kill_process};
use sandbox::Fault;
use serde::{Deserialize, Serialize};

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Drill {
    /// Panic where scripts run.
    Panic,
    /// Panic where connections are accepted.
    PanicWorker,
    /// Never come back, like a C loop that no interrupt reaches.
    Stick,
    /// End the process that runs scripts, without a word.
    Exit,
    /// Tell of each thing that a contained process may not do how it went.
    Escape,
}

impl FromStr for Drill {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_value(text.into())
    }
}

impl Drill {
    /// Does it.
    pub(crate) fn perform(self) -> Result<Bytes, Fault> {
        match self {
            Self::Panic | Self::PanicWorker => panic!("a drill"),
            Self::Stick => loop {
                std::thread::sleep(Duration::from_secs(1));
            },
            Self::Exit => std::process::exit(9),
            Self::Escape => Ok(serde_json::to_vec(&escape()).expect("strings are always JSON").into()),
        }
    }
}

/// Each attempt by name, with the error that it met or `done`.
fn escape() -> serde_json::Value {
    let parent = getppid();
    serde_json::json!({
        "open": told(std::fs::File::open("/etc/hostname")),
        "open self": told(std::fs::File::open("/proc/self/environ")),
        "write": told(std::fs::File::create("/tmp/moonswarm-drill")),
        "socket": told(TcpStream::connect("127.0.0.1:1")),
        "exec": told(Command::new("/proc/self/exe").arg("--version").stdin(Stdio::inherit()).output()),
        "thread": told(std::thread::Builder::new().spawn(|| ())),
        "kill parent": told(parent.map_or(Ok(()), |parent| kill_process(parent, Signal::CONT))),
        "ptrace": told(attach(parent.map_or(0, |parent| parent.as_raw_nonzero().get()))),
        "environment": std::env::vars_os().count(),
    })
}

fn told<T>(attempt: Result<T, impl Into<std::io::Error>>) -> String {
    match attempt.map_err(Into::into) {
        Ok(_) => "done".to_owned(),
        Err(err) => err.to_string(),
    }
}

fn attach(process: i32) -> std::io::Result<()> {
    // SAFETY: `PTRACE_SEIZE` uses no memory of ours.
    match unsafe { libc::ptrace(libc::PTRACE_SEIZE, process, 0, 0) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
