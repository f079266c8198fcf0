//! The way from a bucket's change to its topic, past the notification faults.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::events::Notification;
use crate::cloud::faults::{FaultPlan, Route};
use crate::cloud::iam::Iam;
use crate::cloud::pubsub::PubSub;

/// Notifications that wait for their delay at most; one more is published at once.
const DELAYED_MAX: usize = 10_000;

#[derive(Debug)]
pub(super) struct Notifier {
    pubsub: PubSub,
    iam: Iam,
    faults: Arc<FaultPlan>,
    delayed: Arc<AtomicUsize>,
    /// Delays run on the runtime that the cloud was started on, whoever makes the change.
    runtime: tokio::runtime::Handle,
}

impl Notifier {
    /// # Panics
    /// Outside of a tokio runtime.
    pub(super) fn new(pubsub: PubSub, iam: Iam, faults: Arc<FaultPlan>) -> Self {
        let runtime = tokio::runtime::Handle::current();
        Self { pubsub, iam, faults, delayed: Arc::default(), runtime }
    }

    pub(super) fn send(&self, notification: Notification) {
        if !self.iam.storage_may_publish(&notification.topic) {
            tracing::warn!(topic = notification.topic, "a notification was lost: the service agent may not publish");
            return;
        }
        let Route::Publish { notification, copies, delay } = self.faults.route(notification) else { return };
        let publish = {
            let pubsub = self.pubsub.clone();
            move || (0..copies).for_each(|_| pubsub.publish_notification(notification.clone()))
        };
        if delay.is_zero() || self.delayed.load(Ordering::Relaxed) >= DELAYED_MAX {
            return publish();
        }
        self.delayed.fetch_add(1, Ordering::Relaxed);
        let delayed = Arc::clone(&self.delayed);
        self.runtime.spawn(async move {
            tokio::time::sleep(delay).await;
            publish();
            delayed.fetch_sub(1, Ordering::Relaxed);
        });
    }
}
