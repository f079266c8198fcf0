//! What executions ask for beyond their VM, and what a *root* execution may take of that, with all that it leads to.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::TenantName;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::job::Outcome;
use super::process::Asker;
use super::said::Said;
use crate::outbound::{HttpBudget, Outbound};
use crate::release::{Script, Tenant};

/// How deep scripts may run each other.
pub(super) const DEPTH_MAX: u8 = 4;

/// Executions that one execution may lead to, at any depth.
const RUNS_MAX: u32 = 64;

/// Bytes of log lines that are kept of all others that one execution leads to; what is more is dropped and counted.
const OTHERS_LOG_BYTES_MAX: usize = 256 << 10;

/// Who answers what scripts ask for beyond their VMs.
#[derive(Debug, Clone)]
pub(crate) enum Services {
    /// This process, which has the way out.
    Own(Arc<Outbound>),
    /// The executor, of which this process is a child.
    Executor(Asker),
}

/// The payload of `ctx.run`, see [`sandbox::Ask`].
#[derive(Debug, Deserialize)]
pub(super) struct RunAsk {
    pub(super) script: String,
    #[serde(default)]
    pub(super) input: Option<Box<RawValue>>,
}

impl RunAsk {
    /// JSON text.
    pub(super) fn into_input(self) -> bytes::Bytes {
        self.input.map(|input| String::from(Box::<str>::from(input))).unwrap_or_default().into()
    }
}

/// The script of that name among those of `tenant`.
///
/// # Errors
/// A sentence for the script that wants it.
pub(super) fn sibling<'s>(tenant: &TenantName, scripts: &'s Tenant, name: &str) -> Result<&'s Arc<Script>, String> {
    scripts.script(name).ok_or_else(|| format!("tenant `{tenant}` has no script `{name}`"))
}

/// What all executions share that one execution leads to, itself included.
#[derive(Debug)]
pub(super) struct Family {
    runs_left: Cell<u32>,
    requests: HttpBudget,
    /// When the root must have ended, and so all others.
    ends: Instant,
    /// CPU time that is left to the root's call, with its middleware; `None` if there is none.
    cpu_left: Cell<Option<Duration>>,
    /// CPU time of all but the root.
    cpu: Cell<Duration>,
    others: RefCell<Vec<Said>>,
    others_bytes: Cell<usize>,
}

impl Family {
    pub(super) fn new(tenant: &str, ends: Instant) -> Self {
        Self {
            runs_left: Cell::new(RUNS_MAX),
            requests: HttpBudget::new(tenant, ends),
            ends,
            cpu_left: Cell::default(),
            cpu: Cell::default(),
            others: RefCell::default(),
            others_bytes: Cell::default(),
        }
    }

    pub(super) fn ends(&self) -> Instant {
        self.ends
    }

    pub(super) fn requests(&self) -> &HttpBudget {
        &self.requests
    }

    /// Bounds the CPU time of the executions at depth 0 together, from now on.
    pub(super) fn bound_cpu(&self, left: Duration) {
        self.cpu_left.set(Some(left));
    }

    /// What is left of that.
    pub(super) fn cpu_left(&self) -> Option<Duration> {
        self.cpu_left.get()
    }

    /// Counts one more execution at `depth`, which is 1 for those that the root runs.
    ///
    /// # Errors
    /// A sentence for the script that wants it.
    pub(super) fn count_run(&self, depth: u8) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("scripts may run each other {DEPTH_MAX} deep, this is one more"));
        }
        let left = self.runs_left.get().checked_sub(1);
        let left = left.ok_or_else(|| format!("an execution may lead to {RUNS_MAX} others, this is one more"))?;
        self.runs_left.set(left);
        Ok(())
    }

    /// Counts the CPU time of another than the root.
    pub(super) fn charge(&self, cpu: Duration) {
        self.cpu.set(self.cpu.get() + cpu);
    }

    /// Keeps what another than the root said.
    pub(super) fn keep(&self, mut said: Said) {
        if said.is_empty() {
            return;
        }
        let bytes = self.others_bytes.get() + said.bytes();
        if bytes > OTHERS_LOG_BYTES_MAX {
            said.shut_up();
        } else {
            self.others_bytes.set(bytes);
        }
        self.others.borrow_mut().push(said);
    }

    /// Adds what others used and said to what came of the root.
    pub(super) fn complete<T>(self, mut outcome: Outcome<T>) -> Outcome<T> {
        outcome.cpu += self.cpu.get();
        let mut others = self.others.into_inner();
        others.append(&mut outcome.others);
        Outcome { others, ..outcome }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_bounded_in_depth_and_number() {
        let family = Family::new("acme", Instant::now());
        assert!(family.count_run(DEPTH_MAX).is_ok());
        assert!(family.count_run(DEPTH_MAX + 1).unwrap_err().contains("4 deep"));
        for _ in 1..RUNS_MAX {
            family.count_run(1).unwrap();
        }
        assert!(family.count_run(1).unwrap_err().contains("64 others"));
    }

    #[test]
    fn the_input_of_a_run_is_passed_on_as_it_was_written() {
        let ask: RunAsk = serde_json::from_str(r#"{"script":"rate","input":{"a":[1,2.50]}}"#).unwrap();
        assert_eq!((ask.script.clone().as_str(), ask.into_input()), ("rate", r#"{"a":[1,2.50]}"#.into()));
        let ask: RunAsk = serde_json::from_str(r#"{"script":"rate"}"#).unwrap();
        assert_eq!(ask.into_input(), "");
    }
}
