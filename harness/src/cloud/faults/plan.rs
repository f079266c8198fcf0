//! Which faults are in force, and what they make of each call and notification. One lock, no waiting.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::services::ServiceFaults;
use super::{FailWhen, FaultCounts, OperationDecision, StorageFault, StorageVerb};
use crate::cloud::storage::Notification;

/// Notifications that are held back at most; one more is lost, and counted.
const HELD_MAX: usize = 10_000;

/// What is to become of a storage call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cloud) enum StorageDecision {
    Pass,
    Fail { status: u16, when: FailWhen },
}

/// What is to become of a notification.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cloud) enum Route {
    /// Lost or held back.
    Nowhere,
    Publish {
        notification: Notification,
        copies: usize,
        delay: Duration,
    },
}

/// The faults in force.
#[derive(Debug)]
pub(in crate::cloud) struct FaultPlan {
    plan: Mutex<Plan>,
    /// Counts up when all streams are to break.
    streams: watch::Sender<u64>,
    pub(super) services: ServiceFaults,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) lose_all: bool,
    pub(super) lose: u64,
    pub(super) double: u64,
    pub(super) hold: bool,
    pub(super) held: VecDeque<Notification>,
    pub(super) delay: Duration,
    pub(super) storage: Vec<StorageFault>,
    pub(super) storage_down: Vec<Option<StorageVerb>>,
    pub(super) pubsub_down: bool,
    pub(super) counts: FaultCounts,
}

impl FaultPlan {
    pub(in crate::cloud) fn new() -> Self {
        Self { plan: Mutex::default(), streams: watch::Sender::new(0), services: ServiceFaults::new() }
    }

    pub(super) fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::cloud) fn decide_storage(&self, verb: StorageVerb) -> StorageDecision {
        let mut plan = self.plan();
        let hits = |wanted: Option<StorageVerb>| wanted.is_none_or(|wanted| wanted == verb);
        if plan.storage_down.iter().any(|wanted| hits(*wanted)) {
            plan.counts.storage_failed += 1;
            return StorageDecision::Fail { status: 503, when: FailWhen::Before };
        }
        let Some(index) = plan.storage.iter().position(|fault| hits(fault.verb)) else {
            return StorageDecision::Pass;
        };
        let fault = &mut plan.storage[index];
        fault.times -= 1;
        let StorageFault { status, when, times, .. } = *fault;
        if times == 0 {
            plan.storage.remove(index);
        }
        plan.counts.storage_failed += 1;
        StorageDecision::Fail { status, when }
    }

    pub(in crate::cloud) fn route(&self, notification: Notification) -> Route {
        let mut plan = self.plan();
        if plan.lose_all || plan.lose > 0 {
            plan.lose = plan.lose.saturating_sub(1);
            plan.counts.notifications_lost += 1;
            return Route::Nowhere;
        }
        if plan.hold {
            if plan.held.len() < HELD_MAX {
                plan.held.push_back(notification);
                plan.counts.notifications_held += 1;
            } else {
                plan.counts.notifications_lost += 1;
            }
            return Route::Nowhere;
        }
        let copies = if plan.double > 0 { 2 } else { 1 };
        if copies == 2 {
            plan.double -= 1;
            plan.counts.notifications_doubled += 1;
        }
        if !plan.delay.is_zero() {
            plan.counts.notifications_delayed += 1;
        }
        Route::Publish { notification, copies, delay: plan.delay }
    }

    /// Whether a call over HTTP is to fail, with which status and when.
    pub(in crate::cloud) fn decide_call(&self, method: &str, path: &str) -> Option<(u16, FailWhen)> {
        self.services.decide_call(method, path)
    }

    pub(in crate::cloud) fn decide_operation(&self, kind: &str, target: &str) -> OperationDecision {
        self.services.decide_operation(kind, target)
    }

    /// Returns when operations are not held back.
    pub(in crate::cloud) async fn operations_released(&self) {
        self.services.released().await;
    }

    /// `true`: the Pub/Sub call is to be answered UNAVAILABLE.
    pub(in crate::cloud) fn refuses_pubsub(&self) -> bool {
        let mut plan = self.plan();
        if plan.pubsub_down {
            plan.counts.pubsub_refused += 1;
        }
        plan.pubsub_down
    }

    /// Changes when the streams that are open now are to break.
    pub(in crate::cloud) fn stream_breaks(&self) -> watch::Receiver<u64> {
        self.streams.subscribe()
    }

    pub(in crate::cloud) fn break_streams(&self) {
        self.plan().counts.streams_broken += 1;
        self.streams.send_modify(|times| *times += 1);
    }
}
