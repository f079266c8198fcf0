//! Looking at this machine. Decides nothing; every look has a deadline or can't wait.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use harness::rig::{Engine, Facts, NoEngine};
use tokio::process::Command;

use super::findings::{OPTIONAL_TOOLS, TOOLS};
use crate::shell;

/// A tool tells its version in milliseconds; one behind a slow disk or a proxy in seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What was seen.
#[derive(Debug)]
pub(super) struct Seen {
    /// The first line of each tool's answer when asked for its version, in the order of `TOOLS` then `OPTIONAL_TOOLS`.
    pub(super) tools: Vec<Option<String>>,
    pub(super) engine: Result<Facts, NoEngine>,
    /// Free bytes where `target/` is; none if the system doesn't tell.
    pub(super) free_bytes: Option<u64>,
    /// Ports of `cargo xtask dev` that somebody else holds.
    pub(super) taken_ports: Vec<u16>,
}

pub(super) async fn look() -> Seen {
    let asked = TOOLS.iter().chain(OPTIONAL_TOOLS).map(|tool| version(tool.ask));
    let (tools, engine) = tokio::join!(join_all(asked), Engine::find());
    Seen {
        tools,
        engine: engine.map(|engine| engine.facts().clone()),
        free_bytes: free_bytes(),
        taken_ports: taken_ports(),
    }
}

async fn version(ask: &[&str]) -> Option<String> {
    let (program, arguments) = ask.split_first()?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(ANSWER_WITHIN, command.output()).await.ok()?.ok()?;
    // Some tell it on stderr (nginx does).
    let told = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    let first = String::from_utf8_lossy(&told).lines().next().unwrap_or_default().trim().to_owned();
    output.status.success().then_some(first)
}

fn free_bytes() -> Option<u64> {
    let told = rustix::fs::statvfs(shell::root()).ok()?;
    Some(told.f_bavail.saturating_mul(told.f_frsize))
}

fn taken_ports() -> Vec<u16> {
    super::findings::DEV_PORTS.into_iter().filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_err()).collect()
}
