//! Pub/Sub on one machine: a pure state machine, and the two protocols that reach it.
//!
//! [`PubSub`] is the handle that both protocols, notifications and tests share. Pullers wait for facts: they are woken
//! by what others do and by the next moment at which a lease or backoff ends, never by polling.

mod backlog;
#[cfg(test)]
mod backlog_tests;
mod config;
mod error;
pub(super) mod grpc;
mod json;
mod messages;
mod pull;
pub(super) mod rest;
mod state;
#[cfg(test)]
mod state_tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use serde_json::Value;
use tokio::sync::Notify;

use self::backlog::Puller;
use self::state::{Now, State};
use super::faults::FaultPlan;
use super::generated::pubsub as pb;
use super::iam::{Iam, PolicyError};
use super::storage::Notification;

pub use self::backlog::SubscriptionStats;
pub use self::error::PubSubError;

/// Handle of the local Pub/Sub. Cheap to clone.
///
/// Its public methods are the test's own hand: no network, no faults.
#[derive(Debug, Clone)]
pub struct PubSub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Wakes every puller; there are few, and each looks for itself.
    woken: Notify,
    puller_last: AtomicU64,
    faults: Arc<FaultPlan>,
    iam: Iam,
}

impl PubSub {
    pub(super) fn new(iam: Iam, faults: Arc<FaultPlan>) -> Self {
        let shared =
            Shared { state: Mutex::default(), woken: Notify::new(), puller_last: AtomicU64::new(0), faults, iam };
        Self { shared: Arc::new(shared) }
    }

    /// Publishes one message to `projects/P/topics/T`. Returns its id.
    ///
    /// # Errors
    /// The topic is missing, or the message is empty or out of Google's bounds.
    pub fn publish(
        &self,
        topic: &str,
        attributes: HashMap<String, String>,
        data: impl Into<Vec<u8>>,
    ) -> Result<String, PubSubError> {
        let message = pb::PubsubMessage { attributes, data: data.into(), ..Default::default() };
        let ids = self.step(|state, now| state.publish(topic, vec![message], now))?;
        Ok(ids.into_iter().next().unwrap_or_default())
    }

    /// Makes `projects/P/topics/T`.
    ///
    /// # Errors
    /// It exists, or the name is against the rules.
    pub fn create_topic(&self, topic: &str) -> Result<(), PubSubError> {
        let topic = pb::Topic { name: topic.to_owned(), ..Default::default() };
        self.step(|state, _| state.create_topic(topic)).map(|_| ())
    }

    /// Makes `projects/P/subscriptions/S` with this lease, in seconds (10 to 600).
    ///
    /// # Errors
    /// It exists, its topic is missing, or a name or the lease is against the rules.
    pub fn create_subscription(
        &self,
        subscription: &str,
        topic: &str,
        ack_deadline_seconds: i32,
    ) -> Result<(), PubSubError> {
        let config = pb::Subscription {
            name: subscription.to_owned(),
            topic: topic.to_owned(),
            ack_deadline_seconds,
            ..Default::default()
        };
        self.step(|state, _| state.create_subscription(config)).map(|_| ())
    }

    /// Removes a subscription with all it holds; its streams end with NOT_FOUND.
    ///
    /// # Errors
    /// It is missing.
    pub fn delete_subscription(&self, subscription: &str) -> Result<(), PubSubError> {
        self.step(|state, _| state.delete_subscription(subscription))
    }

    /// Counts of a subscription.
    ///
    /// # Errors
    /// It is missing.
    pub fn stats(&self, subscription: &str) -> Result<SubscriptionStats, PubSubError> {
        self.step(|state, now| state.stats(subscription, now))
    }

    /// The policy of a topic or subscription.
    fn policy(&self, resource: &str) -> Result<Value, PubSubError> {
        self.call(|state, _| state.check_exists(resource))?;
        Ok(self.shared.iam.policy(resource))
    }

    /// Replaces that policy.
    fn set_policy(&self, resource: &str, policy: &Value) -> Result<Value, PubSubError> {
        self.call(|state, _| state.check_exists(resource))?;
        self.shared.iam.set_policy(resource, policy).map_err(|error| match error {
            PolicyError::Stale => PubSubError::PolicyChanged { resource: resource.to_owned() },
            PolicyError::Invalid(message) => PubSubError::invalid(message),
        })
    }

    /// A topic goes, and its policy with it.
    fn remove_topic(&self, topic: &str) -> Result<(), PubSubError> {
        self.call(|state, _| state.delete_topic(topic))?;
        self.shared.iam.forget_policy(topic);
        Ok(())
    }

    /// A subscription goes, and its policy with it.
    fn remove_subscription(&self, subscription: &str) -> Result<(), PubSubError> {
        self.call(|state, _| state.delete_subscription(subscription))?;
        self.shared.iam.forget_policy(subscription);
        Ok(())
    }

    pub(super) fn has_topic(&self, topic: &str) -> bool {
        self.step(|state, _| state.topic(topic).is_ok())
    }

    /// A bucket's notification. One whose topic is gone is lost, as at Google.
    pub(super) fn publish_notification(&self, notification: Notification) {
        let Notification { topic, attributes, data } = notification;
        if let Err(error) = self.publish(&topic, attributes, data) {
            tracing::warn!(topic, error = %error, "a notification was lost");
        }
    }

    /// One call that came over the wire: meets the faults in force.
    fn call<T>(&self, step: impl FnOnce(&mut State, Now) -> Result<T, PubSubError>) -> Result<T, PubSubError> {
        if self.shared.faults.refuses_pubsub() {
            return Err(PubSubError::Unavailable);
        }
        self.step(step)
    }

    fn step<T>(&self, step: impl FnOnce(&mut State, Now) -> T) -> T {
        let now = Now { instant: Instant::now(), system: SystemTime::now() };
        let (result, changed) = {
            let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            let result = step(&mut state, now);
            (result, state.take_changed())
        };
        if changed {
            self.shared.woken.notify_waiters();
        }
        result
    }

    fn next_puller(&self) -> Puller {
        self.shared.puller_last.fetch_add(1, Ordering::Relaxed)
    }
}
