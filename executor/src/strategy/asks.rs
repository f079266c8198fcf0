//! What executions ask for beyond their VM, and what a *root* execution may take of that, with all that it leads to.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Instant;

use sandbox::LogLine;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::outbound::{HttpBudget, Outbound};

/// How deep scripts may run each other.
pub(super) const DEPTH_MAX: u8 = 4;

/// Executions that one execution may lead to, at any depth.
const RUNS_MAX: u32 = 64;

/// What a thread that runs scripts has for them beyond their VMs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Services {
    /// The way out; `None` where there is none, in worker processes.
    pub(crate) outbound: Option<Arc<Outbound>>,
    /// Whether scripts may run each other. In worker processes they don't know each other.
    pub(crate) runs: bool,
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

/// What all executions share that one execution leads to, itself included.
#[derive(Debug)]
pub(super) struct Family {
    runs_left: Cell<u32>,
    requests: HttpBudget,
    /// When the root must have ended, and so all others.
    ends: Instant,
    log: RefCell<(Vec<LogLine>, u32)>,
}

impl Family {
    pub(super) fn new(tenant: &str, ends: Instant) -> Self {
        Self { runs_left: Cell::new(RUNS_MAX), requests: HttpBudget::new(tenant, ends), ends, log: RefCell::default() }
    }

    pub(super) fn ends(&self) -> Instant {
        self.ends
    }

    pub(super) fn requests(&self) -> &HttpBudget {
        &self.requests
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

    /// Keeps what an execution that was run by another logged.
    pub(super) fn keep_log(&self, lines: Vec<LogLine>, dropped: u32) {
        let mut log = self.log.borrow_mut();
        log.0.extend(lines);
        log.1 = log.1.saturating_add(dropped);
    }

    /// Lines, and how many were dropped.
    pub(super) fn into_log(self) -> (Vec<LogLine>, u32) {
        self.log.into_inner()
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
