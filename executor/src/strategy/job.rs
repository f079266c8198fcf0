//! What is executed, and what comes of it: the same for all strategies, and for every door by which a call comes in.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use contract::Code;
use contract::ids::EventName;
use sandbox::{Fault, LogLine};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::drill::Drill;
use crate::release::{Script, Tenant};

/// What of a script is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// What answers a call.
    Handle,
    /// What it has for this event.
    Event(EventName),
}

/// One execution to be made.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// What to run; it names its tenant and version.
    pub(crate) script: Arc<Script>,
    /// What of it.
    pub(crate) entry: Entry,
    /// The execution's id.
    pub(crate) id: Uuid,
    /// JSON text; empty = `null`.
    pub(crate) input: Bytes,
    /// The scripts of its tenant in the same release, which it may run, and on which terms.
    pub(crate) siblings: Arc<Tenant>,
    /// Cancelled when nobody wants the outcome any more. Felt while the execution waits.
    pub(crate) cancel: CancellationToken,
    /// A fault on purpose, in place of the script; only where drills are allowed.
    pub(crate) drill: Option<Drill>,
}

/// What came of a [`Job`].
#[derive(Debug)]
pub(crate) struct Outcome {
    /// JSON text, or why there is none.
    pub(crate) result: Result<Bytes, Fault>,
    /// What the script logged, oldest first.
    pub(crate) log: Vec<LogLine>,
    /// Log lines dropped for the budget.
    pub(crate) log_dropped: u32,
    /// Wall time of the execution, without waiting for its turn.
    pub(crate) wall: Duration,
    /// CPU time, as far as it is worth measuring (`clock.rs`); 0 for short executions.
    pub(crate) cpu: Duration,
    /// When a caller that was refused for its rate may come again: whole seconds, at least one.
    pub(crate) retry_after: Option<Duration>,
}

impl Outcome {
    /// A result without anything else to tell.
    pub(crate) fn bare(result: Result<Bytes, Fault>) -> Self {
        Self { result, log: Vec::new(), log_dropped: 0, wall: Duration::ZERO, cpu: Duration::ZERO, retry_after: None }
    }

    /// Whether the execution may have put its VM out of use.
    pub(crate) fn hurts_vm(&self) -> bool {
        let code = self.result.as_ref().err().map(|fault| fault.code);
        matches!(code, Some(Code::DeadlineExceeded | Code::MemoryExceeded | Code::Internal))
    }

    /// An execution that did not take place, or of which nothing is known.
    pub(crate) fn fault(fault: Fault) -> Self {
        Self::bare(Err(fault))
    }
}

/// A fault of ours or of the moment, without a place in the script.
pub(crate) fn fault(code: Code, detail: impl Into<String>) -> Fault {
    Fault { code, detail: detail.into(), diagnostics: Vec::new() }
}
