//! One program of the product as a child process: started, listened to, ended.
//!
//! A child's stdin is a pipe that nobody writes to. The programs run with `--lifeline`: when this process dies, however
//! it dies, the pipe closes and they end by themselves.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;

/// Receives every log line of a program: its name and the line (JSON, unless the program broke down).
pub type LineSink = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// A sink for those who read the log file.
pub fn no_sink() -> LineSink {
    Arc::new(|_, _| {})
}

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    /// Held, not used: waiting for a child closes its stdin if it is still the child's own.
    _lifeline: Option<ChildStdin>,
    address: watch::Receiver<Option<String>>,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with `arguments`; its log goes line by line to `log` (appended) and to `sink`.
    ///
    /// # Errors
    /// The program or the log file can't be opened.
    pub async fn spawn(name: &str, program: &Path, arguments: &[String], log: &Path, sink: LineSink) -> Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .args(["--log-format", "json", "--lifeline"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {name}: `{}`", program.display()))?;
        let stderr = child.stderr.take().expect("stderr is piped");
        let mut file = tokio::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .await
            .with_context(|| format!("open log file `{}`", log.display()))?;
        let (tell, address) = watch::channel(None);

        let owner = name.to_owned();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(address) = listening(&line) {
                    tell.send_replace(Some(address));
                }
                sink(&owner, &line);
                // A full disk must not stop the program under test: it would block on its own log.
                let _ = file.write_all(format!("{line}\n").as_bytes()).await;
            }
            let _ = file.flush().await;
        });
        let lifeline = child.stdin.take();
        Ok(Self { name: name.to_owned(), child, _lifeline: lifeline, address, log: log.to_owned() })
    }

    /// The address the program said it listens on, as soon as it says so.
    ///
    /// # Errors
    /// It ended first, or `deadline` passed; the error ends with the last lines of its log.
    pub async fn address(&mut self, deadline: Duration) -> Result<String> {
        let mut address = self.address.clone();
        let told = async move { address.wait_for(Option::is_some).await.ok().and_then(|told| told.clone()) };
        match tokio::time::timeout(deadline, told).await {
            Ok(Some(address)) => Ok(address),
            Ok(None) => {
                let status = self.child.wait().await?;
                bail!("{} ended ({status}) before it listened\n{}", self.name, self.last_lines())
            }
            Err(_) => bail!("{} does not listen after {deadline:?}\n{}", self.name, self.last_lines()),
        }
    }

    /// Resolves when the program ends by itself.
    ///
    /// # Errors
    /// The operating system does not tell.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait().await?)
    }

    /// Asks the program to end (SIGTERM) and waits; after `deadline` it is killed.
    ///
    /// # Errors
    /// The operating system does not tell how it ended.
    pub async fn terminate(&mut self, deadline: Duration) -> Result<ExitStatus> {
        if let Some(id) = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
            // The child may have ended in between; waiting below tells.
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        match tokio::time::timeout(deadline, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => self.kill().await,
        }
    }

    /// Kills the program (SIGKILL), as a crash would.
    ///
    /// # Errors
    /// The operating system does not tell how it ended.
    pub async fn kill(&mut self) -> Result<ExitStatus> {
        self.child.start_kill()?;
        Ok(self.child.wait().await?)
    }

    /// Its name in messages: `manager`, `executor-2`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id; `None` once it ended and somebody waited for that.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Where its log is.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The end of its log, for error messages.
    pub fn last_lines(&self) -> String {
        let text = fs_err::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(12)..].join("\n");
        format!("end of its log `{}`:\n{tail}", self.log.display())
    }
}

/// The address in a program's `listening` line.
fn listening(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    (line["message"] == "listening").then(|| line["address"].as_str().map(ToOwned::to_owned))?
}
