//! Faults on demand: what a network, a provider or bad luck would do, done when a test asks for it and counted.
//!
//! [`FaultPlan`] decides; [`Faults`] is the handle for tests. Faults hit what comes over the wire; [`super::Storage`]'s and
//! [`super::PubSub`]'s own methods are the test's hand and are never hit, except that notifications they cause meet the
//! notification faults.

mod plan;
mod services;

use std::sync::Arc;
use std::time::Duration;

use self::plan::Plan;
use super::pubsub::PubSub;
use super::storage::Notification;

pub(super) use self::plan::{FaultPlan, Route, StorageDecision};
pub(super) use self::services::OperationDecision;
pub use self::services::{CallFault, OperationFault};

/// Calls of Cloud Storage, as faults tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StorageVerb {
    /// Writing an object, every request of an upload.
    Insert,
    /// Metadata of an object.
    Get,
    /// Bytes of an object.
    Download,
    /// Listing objects.
    List,
    /// Changing an object's metadata.
    Update,
    /// Deleting an object.
    Delete,
    /// Rewriting or copying an object.
    Rewrite,
    /// Composing objects.
    Compose,
    /// Moving an object.
    Move,
    /// Everything with buckets themselves.
    Bucket,
    /// Everything with notification configurations.
    Notification,
}

/// When a storage fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailWhen {
    /// Nothing is done.
    Before,
    /// It is done, but the caller is told that it failed: an answer lost on its way.
    After,
}

/// Storage calls that are to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageFault {
    /// HTTP status to answer, 400–599. Over gRPC the code that belongs to it.
    pub status: u16,
    /// Only calls of this verb; `None` = all.
    pub verb: Option<StorageVerb>,
    /// How many calls fail.
    pub times: u64,
    /// Before or after the call did its work.
    pub when: FailWhen,
}

/// How often faults struck since the start (or the last [`Faults::reset_counts`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultCounts {
    /// Notifications never published.
    pub notifications_lost: u64,
    /// Notifications published twice.
    pub notifications_doubled: u64,
    /// Notifications held back (published or lost since, or still held).
    pub notifications_held: u64,
    /// Notifications published late.
    pub notifications_delayed: u64,
    /// Storage calls failed.
    pub storage_failed: u64,
    /// Pub/Sub calls refused.
    pub pubsub_refused: u64,
    /// Times that all streams were broken.
    pub streams_broken: u64,
    /// Calls of the other services failed.
    pub calls_failed: u64,
    /// Operations of Compute Engine failed.
    pub operations_failed: u64,
}

/// The handle by which tests make faults. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Faults {
    plan: Arc<FaultPlan>,
    pubsub: PubSub,
}

impl Faults {
    pub(super) fn new(plan: Arc<FaultPlan>, pubsub: PubSub) -> Self {
        Self { plan, pubsub }
    }

    /// Loses the next `times` notifications.
    pub fn lose_notifications(&self, times: u64) {
        self.plan.plan().lose = times;
    }

    /// Loses every notification while on.
    pub fn lose_all_notifications(&self, on: bool) {
        self.plan.plan().lose_all = on;
    }

    /// Publishes the next `times` notifications twice.
    pub fn double_notifications(&self, times: u64) {
        self.plan.plan().double = times;
    }

    /// Publishes every notification so much later; zero = at once.
    pub fn delay_notifications(&self, delay: Duration) {
        self.plan.plan().delay = delay;
    }

    /// Holds back every notification (at most 10,000) until [`Faults::release_notifications_reversed`].
    pub fn hold_notifications(&self) {
        self.plan.plan().hold = true;
    }

    /// Publishes what was held back, newest first, and holds back no more. Returns how many.
    pub fn release_notifications_reversed(&self) -> usize {
        let held: Vec<Notification> = {
            let mut plan = self.plan.plan();
            plan.hold = false;
            plan.held.drain(..).rev().collect()
        };
        let count = held.len();
        for notification in held {
            self.pubsub.publish_notification(notification);
        }
        count
    }

    /// Fails storage calls. Faults that are in force already strike first.
    pub fn fail_storage(&self, fault: StorageFault) {
        if fault.times > 0 {
            self.plan.plan().storage.push(fault);
        }
    }

    /// Fails the next `times` storage calls of every kind with this HTTP status, before they do anything.
    pub fn fail_next_storage(&self, times: u64, status: u16) {
        self.fail_storage(StorageFault { status, verb: None, times, when: FailWhen::Before });
    }

    /// While on, all storage calls (of one verb, if given) answer 503.
    pub fn storage_unavailable(&self, on: bool, verb: Option<StorageVerb>) {
        let mut plan = self.plan.plan();
        plan.storage_down.retain(|down| *down != verb);
        if on {
            plan.storage_down.push(verb);
        }
    }

    /// Ends all open streams with UNAVAILABLE. Messages that they leased come again when the lease is over.
    pub fn break_streams(&self) {
        self.plan.break_streams();
    }

    /// While on, all Pub/Sub calls answer UNAVAILABLE; going on breaks the streams that are open.
    pub fn pubsub_unavailable(&self, on: bool) {
        self.plan.plan().pubsub_down = on;
        if on {
            self.plan.break_streams();
        }
    }

    /// Fails calls of the services beside Storage and Pub/Sub. Faults that are in force already strike first.
    pub fn fail_calls(&self, fault: CallFault) {
        self.plan.services.add_call(fault);
    }

    /// Fails operations of Compute Engine: they are answered well, and end with an error.
    pub fn fail_operations(&self, fault: OperationFault) {
        self.plan.services.add_operation(fault);
    }

    /// Every operation lasts at least so long; zero = as long as its work takes.
    pub fn operations_last(&self, lasts: Duration) {
        self.plan.services.set_lasts(lasts);
    }

    /// While on, operations begin and do not go on.
    pub fn hold_operations(&self, on: bool) {
        self.plan.services.hold(on);
    }

    /// Ends every fault. What is held back is published first, oldest first.
    pub fn clear(&self) {
        let held: Vec<Notification> = {
            let mut plan = self.plan.plan();
            let held = plan.held.drain(..).collect();
            *plan = Plan { counts: plan.counts, ..Plan::default() };
            held
        };
        for notification in held {
            self.pubsub.publish_notification(notification);
        }
        self.plan.services.clear();
    }

    /// How often faults struck.
    pub fn counts(&self) -> FaultCounts {
        let (calls_failed, operations_failed) = self.plan.services.counts();
        FaultCounts { calls_failed, operations_failed, ..self.plan.plan().counts }
    }

    /// Starts counting from nothing.
    pub fn reset_counts(&self) {
        self.plan.plan().counts = FaultCounts::default();
        self.plan.services.reset_counts();
    }
}
