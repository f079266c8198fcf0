//! What executor and child process say to each other. Both are the same program, so there are no versions.

use std::time::Duration;

use contract::ids::EventName;
use contract::policy::Effective;
use contract::{Code, Diagnostic};
use sandbox::{Fault, Limits, LogLine};
use serde::{Deserialize, Serialize};

use crate::strategy::board::VmStatus;
use crate::strategy::clock::nanos;
use crate::strategy::drill::Drill;
use crate::strategy::inbox::Ticket;
use crate::strategy::job::Outcome;
use crate::strategy::said::Said;

/// Number of a script that a child was given.
pub(super) type ScriptNumber = u64;

/// Number of something that a child asked for.
pub(super) type AskNumber = u64;

/// From the executor to a child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToChild {
    /// The first message.
    Begin { limits: Limits },
    /// A script that runs will name by `number`; its source is the body. Sent once, and compiled there: bytecode never
    /// crosses a process.
    Script { number: ScriptNumber, tenant: String, name: String, file: String },
    /// On which terms the tenant's scripts run from now on; before the first, on those that are built in.
    Terms { tenant: String, effective: Box<Effective> },
    /// Execute a script, for a call or an event, within this middleware; its input is the body.
    Run {
        ticket: Ticket,
        script: ScriptNumber,
        event: Option<EventName>,
        layers: Vec<ScriptNumber>,
        id: String,
        drill: Option<Drill>,
    },
    /// Nobody wants the outcome of a job any more.
    Cancel { ticket: Ticket },
    /// What was asked for: a script that was sent, or else the body.
    Answer { number: AskNumber, script: Option<ScriptNumber> },
    /// It is not to be had, and why.
    Refuse { number: AskNumber, why: String },
    /// These are not needed any more.
    Forget { scripts: Vec<ScriptNumber>, tenants: Vec<String> },
    /// The last message: end what there is, and then the process.
    End,
}

/// From a child to the executor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromChild {
    /// It has no rights any more and takes jobs.
    Ready(Containment),
    /// It can't begin, and why.
    Unable { why: String },
    /// What came of a job; a result is the body.
    Done { ticket: Ticket, ended: Ended },
    /// A job needs something that only the executor has. Payload of a request is the body.
    Ask { number: AskNumber, ticket: Ticket, wanted: Wanted },
    /// What scripts said at the end of the child.
    Said(Vec<Said>),
    /// Which VMs it has. Said about once a second, and so also that it is well.
    Vms(Vec<VmStatus>),
}

/// What a job may ask for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Wanted {
    /// Another script of its tenant, by name.
    Script(String),
    /// An HTTP request in the name of a script.
    Http { tenant: String, script: String },
}

/// What is in force in a child, in words for operators.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Containment {
    pub(super) seccomp: String,
    pub(super) landlock: String,
    pub(super) limits: String,
}

/// An [`Outcome`] without its result.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ended {
    fault: Option<(Code, String, Vec<Diagnostic>)>,
    log: Vec<LogLine>,
    log_dropped: u32,
    others: Vec<Said>,
    wall_ns: u64,
    cpu_ns: u64,
}

impl Ended {
    /// For the way, with the body that goes along.
    pub(super) fn pack(outcome: Outcome) -> (Self, bytes::Bytes) {
        let (fault, body) = match outcome.result {
            Ok(body) => (None, body),
            Err(fault) => (Some((fault.code, fault.detail, fault.diagnostics)), bytes::Bytes::new()),
        };
        let (wall_ns, cpu_ns) = (nanos(outcome.wall), nanos(outcome.cpu));
        let Outcome { log, log_dropped, others, .. } = outcome;
        (Self { fault, log, log_dropped, others, wall_ns, cpu_ns }, body)
    }

    /// As it was.
    pub(super) fn unpack(self, body: bytes::Bytes) -> Outcome {
        Outcome {
            result: match self.fault {
                None => Ok(body),
                Some((code, detail, diagnostics)) => Err(Fault { code, detail, diagnostics }),
            },
            log: self.log,
            log_dropped: self.log_dropped,
            others: self.others,
            wall: Duration::from_nanos(self.wall_ns),
            cpu: Duration::from_nanos(self.cpu_ns),
            // Rates are counted before a job comes here.
            retry_after: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use sandbox::Level;

    use super::*;

    #[test]
    fn an_outcome_arrives_as_it_was() {
        let outcome = Outcome {
            log: vec![LogLine { level: Level::Warn, message: "low".into() }],
            log_dropped: 3,
            wall: Duration::from_micros(7),
            cpu: Duration::from_micros(5),
            ..Outcome::bare(Ok("{}".into()))
        };
        let told = format!("{outcome:?}");

        let (ended, body) = Ended::pack(outcome);

        assert_eq!(format!("{:?}", ended.unpack(body)), told);
    }
}
