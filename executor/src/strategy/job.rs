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
use super::inbox::Ticket;
use super::said::Said;
use crate::release::{Around, Script, Tenant};

/// What of a script is called.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// What answers a call.
    Handle,
    /// What it has for this event.
    Event(EventName),
    /// What it, as middleware, does before this call.
    Before(Callee),
    /// What it, as middleware, does after this call, which gave this JSON text.
    After(Callee, Bytes),
}

/// The call that a middleware looks at.
#[derive(Debug, Clone)]
pub(crate) struct Callee {
    pub(crate) script: Arc<Script>,
    pub(crate) event: Option<EventName>,
}

impl Callee {
    /// As the middleware is told.
    pub(crate) fn told(&self) -> sandbox::Callee<'_> {
        sandbox::Callee {
            tenant: self.script.tenant.as_str(),
            script: self.script.name.as_str(),
            version: self.script.version.as_str(),
            event: self.event.as_ref().map(EventName::as_str),
        }
    }
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
    /// The middleware that the call goes through, outermost first.
    pub(crate) layers: Option<Around>,
    /// In a child process, the number under which the executor has the job and answers what it asks for.
    pub(crate) ticket: Option<Ticket>,
    /// Cancelled when nobody wants the outcome any more. Felt while the execution waits.
    pub(crate) cancel: CancellationToken,
    /// A fault on purpose, in place of the script; only where drills are allowed.
    pub(crate) drill: Option<Drill>,
}

impl Job {
    /// The event of the life cycle that it is for, if it is for one.
    pub(crate) fn life_cycle(&self) -> Option<&EventName> {
        match &self.entry {
            Entry::Event(event) if event.is_life_cycle() => Some(event),
            _ => None,
        }
    }
}

/// What came of a [`Job`].
#[derive(Debug)]
pub(crate) struct Outcome<T = Bytes> {
    /// JSON text, or why there is none.
    pub(crate) result: Result<T, Fault>,
    /// What the script logged, oldest first.
    pub(crate) log: Vec<LogLine>,
    /// Log lines dropped for the budget.
    pub(crate) log_dropped: u32,
    /// What other scripts said meanwhile, because of it.
    pub(crate) others: Vec<Said>,
    /// Wall time of the execution, without waiting for its turn.
    pub(crate) wall: Duration,
    /// CPU time, as far as it is worth measuring (`clock.rs`); 0 for short executions.
    pub(crate) cpu: Duration,
    /// When a caller that was refused for its rate may come again: whole seconds, at least one.
    pub(crate) retry_after: Option<Duration>,
}

impl<T> Outcome<T> {
    /// A result without anything else to tell.
    pub(crate) fn bare(result: Result<T, Fault>) -> Self {
        let (log, others) = (Vec::new(), Vec::new());
        let (wall, cpu) = (Duration::ZERO, Duration::ZERO);
        Self { result, log, log_dropped: 0, others, wall, cpu, retry_after: None }
    }

    /// An execution that did not take place, or of which nothing is known.
    pub(crate) fn fault(fault: Fault) -> Self {
        Self::bare(Err(fault))
    }

    /// The same with another result.
    pub(crate) fn with<U>(self, result: Result<U, Fault>) -> Outcome<U> {
        let Self { log, log_dropped, others, wall, cpu, retry_after, .. } = self;
        Outcome { result, log, log_dropped, others, wall, cpu, retry_after }
    }
}

/// A fault of ours or of the moment, without a place in the script.
pub(crate) fn fault(code: Code, detail: impl Into<String>) -> Fault {
    Fault { code, detail: detail.into(), diagnostics: Vec::new() }
}
