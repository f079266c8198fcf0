//! What executor and child process say to each other. Both are the same program, so there are no versions.

use std::time::Duration;

use contract::ids::EventName;
use contract::policy::Effective;
use contract::{Code, Diagnostic};
use sandbox::{Fault, Level, Limits, LogLine};
use serde::{Deserialize, Serialize};

use crate::strategy::board::VmStatus;
use crate::strategy::clock::nanos;
use crate::strategy::drill::Drill;
use crate::strategy::inbox::Ticket;
use crate::strategy::job::Outcome;

/// Number of a script that a child was given.
pub(super) type ScriptNumber = u64;

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
    /// Execute a script, for a call or an event; its input is the body.
    Run { ticket: Ticket, script: ScriptNumber, event: Option<EventName>, id: String, drill: Option<Drill> },
    /// These are not needed any more.
    Forget { scripts: Vec<ScriptNumber>, tenants: Vec<String> },
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
    /// Which VMs it has. Said about once a second, and so also that it is well.
    Vms(Vec<VmStatus>),
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
    log: Vec<(String, String)>,
    log_dropped: u32,
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
        let log = outcome.log.into_iter().map(|line| (line.level.as_str().to_owned(), line.message)).collect();
        let (wall_ns, cpu_ns) = (nanos(outcome.wall), nanos(outcome.cpu));
        (Self { fault, log, log_dropped: outcome.log_dropped, wall_ns, cpu_ns }, body)
    }

    /// As it was.
    pub(super) fn unpack(self, body: bytes::Bytes) -> Outcome {
        let log = self.log.into_iter().map(|(level, message)| LogLine { level: level_named(&level), message });
        Outcome {
            result: match self.fault {
                None => Ok(body),
                Some((code, detail, diagnostics)) => Err(Fault { code, detail, diagnostics }),
            },
            log: log.collect(),
            log_dropped: self.log_dropped,
            wall: Duration::from_nanos(self.wall_ns),
            cpu: Duration::from_nanos(self.cpu_ns),
            // Rates are counted before a job comes here.
            retry_after: None,
        }
    }
}

fn level_named(name: &str) -> Level {
    let all = [Level::Debug, Level::Info, Level::Warn, Level::Error];
    all.into_iter().find(|level| level.as_str() == name).unwrap_or(Level::Info)
}

#[cfg(test)]
mod tests {
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
