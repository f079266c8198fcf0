//! Runs the load generator as a program of its own, so that it is optimised and on its own thread.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use loadgen::outcome::Outcome;
use tokio::process::{Child, Command};

/// What a generator may take beyond the time it was given: it waits 10 s for late answers.
const GRACE: Duration = Duration::from_secs(30);

/// The program.
#[derive(Debug, Clone)]
pub(super) struct Generator {
    pub(super) program: PathBuf,
}

/// How a server is asked.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// POST to this path.
    Path(String),
    /// POST to the paths in this file, one after the other.
    Paths(PathBuf),
    /// EVALSHA of this script.
    Sha(String),
}

/// One run of the generator.
#[derive(Debug, Clone)]
pub(super) struct Load<'a> {
    pub(super) address: SocketAddr,
    pub(super) ask: &'a Ask,
    pub(super) body: Option<&'a Path>,
    pub(super) connections: u16,
    /// At most so long …
    pub(super) seconds: f64,
    /// … and so many requests.
    pub(super) requests: Option<u64>,
    /// Requests per second; `None` = as fast as answers come.
    pub(super) rate: Option<f64>,
    /// Text of a good answer.
    pub(super) expect: &'a str,
    /// Header whose values are told apart.
    pub(super) note: Option<&'a str>,
}

impl Generator {
    /// Asks, and returns when all answers are there.
    ///
    /// # Errors
    /// The generator fails; its own words are in the error.
    pub(super) async fn run(&self, load: &Load<'_>) -> Result<Outcome> {
        let mut command = Command::new(&self.program);
        command.args(arguments(load)).stdin(Stdio::null()).kill_on_drop(true);
        let deadline = Duration::from_secs_f64(load.seconds) + GRACE;
        let output = tokio::time::timeout(deadline, command.output())
            .await
            .with_context(|| format!("the load generator is not done after {deadline:?}"))?
            .context("run the load generator")?;
        if !output.status.success() {
            bail!("the load generator failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("read what the load generator found")
    }

    /// A process that uses one core, for at most `seconds` and until it is dropped.
    ///
    /// # Errors
    /// It can't be started.
    pub(super) fn busy(&self, seconds: f64) -> Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(["busy", "--seconds", &seconds.to_string()]).stdin(Stdio::null()).kill_on_drop(true);
        command.spawn().context("start a busy process")
    }
}

fn arguments(load: &Load<'_>) -> Vec<String> {
    let mut arguments = match load.ask {
        Ask::Path(path) => vec!["http".to_owned(), format!("--path={path}")],
        Ask::Paths(file) => vec!["http".to_owned(), format!("--paths={}", file.display())],
        Ask::Sha(sha) => vec!["redis".to_owned(), format!("--sha={sha}")],
    };
    arguments.push(format!("--address={}", load.address));
    arguments.push(format!("--connections={}", load.connections));
    arguments.push(format!("--seconds={}", load.seconds));
    arguments.push(format!("--expect={}", load.expect));
    arguments.extend(load.body.map(|body| format!("--body={}", body.display())));
    arguments.extend(load.requests.map(|requests| format!("--requests={requests}")));
    arguments.extend(load.rate.map(|rate| format!("--rate={rate}")));
    arguments.extend(load.note.map(|header| format!("--note={header}")));
    arguments
}
