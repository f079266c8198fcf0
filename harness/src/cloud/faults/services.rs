//! Faults of the services that answer by JSON only, and of Compute Engine's operations.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::FailWhen;
use crate::cloud::compute::OperationError;

/// Calls over HTTP that are to fail: of Compute Engine, IAM, Resource Manager, Secret Manager, the metadata server.
/// (Storage and Pub/Sub have faults of their own kind.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFault {
    /// HTTP status: 403, 429, 500, 503, …
    pub status: u16,
    /// Only this method.
    pub method: Option<String>,
    /// Only paths that contain this text, for example `/instances/`.
    pub path: String,
    /// How often it strikes.
    pub times: u64,
    /// Before the call does anything, or after it did all of it.
    pub when: FailWhen,
}

/// What is to become of operations of Compute Engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationFault {
    /// Only of this type: `insert`, `delete`, `start`, …
    pub kind: Option<String>,
    /// Only on targets whose full name contains this text.
    pub target: String,
    /// How often it strikes.
    pub times: u64,
    /// They fail with this error.
    pub error: OperationError,
}

/// How one operation goes.
#[derive(Debug, Clone, Default)]
pub(in crate::cloud) struct OperationDecision {
    pub(in crate::cloud) lasts: Duration,
    pub(in crate::cloud) held: bool,
    pub(in crate::cloud) fails: Option<OperationError>,
}

#[derive(Debug)]
pub(super) struct ServiceFaults {
    plan: Mutex<ServicePlan>,
    held: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct ServicePlan {
    calls: Vec<CallFault>,
    operations: Vec<OperationFault>,
    lasts: Duration,
    calls_failed: u64,
    operations_failed: u64,
}

impl ServiceFaults {
    pub(super) fn new() -> Self {
        Self { plan: Mutex::default(), held: watch::Sender::new(false) }
    }

    fn plan(&self) -> MutexGuard<'_, ServicePlan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_call(&self, fault: CallFault) {
        if fault.times > 0 {
            self.plan().calls.push(fault);
        }
    }

    pub(super) fn add_operation(&self, fault: OperationFault) {
        if fault.times > 0 {
            self.plan().operations.push(fault);
        }
    }

    pub(super) fn set_lasts(&self, lasts: Duration) {
        self.plan().lasts = lasts;
    }

    pub(super) fn hold(&self, on: bool) {
        self.held.send_replace(on);
    }

    pub(super) async fn released(&self) {
        // The sender lives as long as this does.
        let _ = self.held.subscribe().wait_for(|held| !held).await;
    }

    pub(super) fn clear(&self) {
        let mut plan = self.plan();
        let (calls_failed, operations_failed) = (plan.calls_failed, plan.operations_failed);
        *plan = ServicePlan { calls_failed, operations_failed, ..ServicePlan::default() };
        drop(plan);
        self.hold(false);
    }

    /// How often faults struck calls and operations.
    pub(super) fn counts(&self) -> (u64, u64) {
        let plan = self.plan();
        (plan.calls_failed, plan.operations_failed)
    }

    pub(super) fn reset_counts(&self) {
        let mut plan = self.plan();
        (plan.calls_failed, plan.operations_failed) = (0, 0);
    }

    pub(super) fn decide_call(&self, method: &str, path: &str) -> Option<(u16, FailWhen)> {
        let mut plan = self.plan();
        let hits = |fault: &CallFault| {
            fault.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
                && path.contains(&fault.path)
        };
        let index = plan.calls.iter().position(hits)?;
        plan.calls_failed += 1;
        let fault = &mut plan.calls[index];
        fault.times -= 1;
        let decision = (fault.status, fault.when);
        if fault.times == 0 {
            plan.calls.remove(index);
        }
        Some(decision)
    }

    pub(super) fn decide_operation(&self, kind: &str, target: &str) -> OperationDecision {
        let mut plan = self.plan();
        let mut decision = OperationDecision { lasts: plan.lasts, held: *self.held.borrow(), fails: None };
        let hits = |fault: &OperationFault| {
            fault.kind.as_deref().is_none_or(|wanted| wanted == kind) && target.contains(&fault.target)
        };
        let Some(index) = plan.operations.iter().position(hits) else { return decision };
        plan.operations_failed += 1;
        let fault = &mut plan.operations[index];
        fault.times -= 1;
        decision.fails = Some(fault.error.clone());
        if fault.times == 0 {
            plan.operations.remove(index);
        }
        decision
    }
}
