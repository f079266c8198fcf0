//! One executor, as the registry remembers it.

use std::time::{Duration, Instant};

use contract::api::{ExecutorInfo, Laggard};
use contract::release::Scripts;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::registry::Command;

/// A live stream to an executor.
#[derive(Debug)]
pub(super) struct Link {
    /// Tells this stream from earlier ones of the same executor.
    pub(super) serial: u64,
    pub(super) mailbox: mpsc::Sender<Command>,
    /// Cancelled when the registry gives the stream up.
    pub(super) closed: CancellationToken,
}

/// How far an executor is with the release it was sent last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// It was sent none, or has done all it was told.
    Idle,
    /// It has it; no answer yet.
    Sent { release: u64, at: Instant, whole: bool },
    /// It holds it ready.
    Prepared { release: u64 },
    /// It was told to swap; no answer yet.
    Told { release: u64, at: Instant },
    /// It won't.
    Refused { release: u64, detail: String },
    /// It can't be sent, because its source is lost.
    Stuck { release: u64, detail: String },
}

impl Step {
    /// The release it is about.
    pub(super) fn release(&self) -> Option<u64> {
        match self {
            Self::Idle => None,
            Self::Sent { release, .. }
            | Self::Prepared { release }
            | Self::Told { release, .. }
            | Self::Refused { release, .. }
            | Self::Stuck { release, .. } => Some(*release),
        }
    }
}

/// An executor that is connected, or was until a moment ago.
#[derive(Debug)]
pub(super) struct Executor {
    pub(super) id: String,
    pub(super) node: String,
    pub(super) program: String,
    /// `None`: the stream broke, the executor may still answer callers.
    pub(super) link: Option<Link>,
    /// When it connected or was lost.
    pub(super) since: Instant,
    /// What it says it runs.
    pub(super) active: u64,
    pub(super) active_digest: String,
    /// The largest release it was told to activate: what it will run once it has read all that was sent.
    pub(super) expected: u64,
    pub(super) step: Step,
}

impl Executor {
    /// The number of what it will run once it has read all that was sent.
    pub(super) fn base(&self) -> u64 {
        self.active.max(self.expected)
    }

    /// Whether it runs, or was told to run, the release.
    pub(super) fn follows(&self, number: u64, digest: &str) -> bool {
        let runs = self.active == number && (number == 0 || self.active_digest == digest);
        runs || matches!(self.step, Step::Told { release, .. } if release == number)
    }

    /// Whether the scripts of a kept release are really what it runs.
    pub(super) fn is_based_on(&self, number: u64, digest: &str) -> bool {
        self.base() == number && (self.active != number || self.active_digest == digest)
    }

    /// Puts a command into the mailbox. False: it is full or closed, and the stream was given up.
    pub(super) fn send(&mut self, command: Command) -> bool {
        let Some(link) = &self.link else { return false };
        if link.mailbox.try_send(command).is_ok() {
            return true;
        }
        tracing::warn!(executor = self.id, node = self.node, "does not read its feed: disconnected, it will come back");
        self.lose();
        false
    }

    /// The stream is no more.
    pub(super) fn lose(&mut self) {
        if let Some(link) = self.link.take() {
            link.closed.cancel();
        }
        self.since = Instant::now();
        self.step = Step::Idle;
        self.expected = 0;
    }

    /// Why it does not run `number`; `held` while a rolling activation replaces executors.
    pub(super) fn laggard(&self, number: u64, held: bool, now: Instant) -> Option<Laggard> {
        if self.active >= number {
            return None;
        }
        let seconds = |since: Instant| tenths(now.saturating_duration_since(since));
        let reason = match &self.step {
            _ if self.link.is_none() => format!("feed lost {} ago", seconds(self.since)),
            Step::Sent { at, .. } => format!("no answer to prepare for {}", seconds(*at)),
            Step::Told { at, .. } => format!("told to activate {} ago, not confirmed yet", seconds(*at)),
            Step::Refused { release, detail } => format!("refused release {release}: {detail}"),
            Step::Stuck { release, detail } => format!("can't be sent release {release}: {detail}"),
            Step::Prepared { .. } | Step::Idle if held => {
                format!("runs release {} until Swarm replaces it", self.active)
            }
            Step::Prepared { .. } => "prepared, not activated yet".to_owned(),
            Step::Idle => format!("runs release {}, nothing newer was sent yet", self.active),
        };
        Some(Laggard { executor: self.id.clone(), node: self.node.clone(), reason })
    }

    pub(super) fn info(&self, now: Instant) -> ExecutorInfo {
        let since = now.saturating_duration_since(self.since).as_millis();
        ExecutorInfo {
            id: self.id.clone(),
            node: self.node.clone(),
            program: self.program.clone(),
            release: self.active,
            connected: self.link.is_some(),
            since_ms: u64::try_from(since).unwrap_or(u64::MAX),
        }
    }
}

/// A release that may still be the base of a delta.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) number: u64,
    pub(super) digest: String,
    pub(super) scripts: Scripts,
}

/// `1.2 s`, as people say it.
fn tenths(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
