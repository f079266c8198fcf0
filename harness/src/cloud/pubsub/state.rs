//! Topics, subscriptions and what is published: a pure state machine. Time is passed in; nothing here waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::backlog::{Backlog, DeadLetter, Delivery, Limits, Puller, SubscriptionStats};
use super::config::{Policy, check_topic, checked_subscription, updated_subscription};
use super::error::PubSubError;
use super::messages::check_messages;
use crate::cloud::generated::pubsub as pb;

/// The topic of a subscription whose topic was deleted, as Google calls it.
const DELETED_TOPIC: &str = "_deleted-topic_";

/// Both clocks at one moment: monotonic for leases, wall for what is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) instant: Instant,
    pub(super) system: SystemTime,
}

#[derive(Debug, Default)]
pub(super) struct State {
    topics: BTreeMap<String, Topic>,
    subscriptions: BTreeMap<String, Subscription>,
    message_last: u64,
    lease_last: u64,
    /// Something happened that pullers wait for.
    changed: bool,
}

#[derive(Debug)]
struct Topic {
    config: pb::Topic,
}

#[derive(Debug)]
struct Subscription {
    config: pb::Subscription,
    policy: Policy,
    backlog: Backlog,
}

impl State {
    /// Whether pullers must look again; asked once after each step.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub(super) fn create_topic(&mut self, topic: pb::Topic) -> Result<pb::Topic, PubSubError> {
        check_topic(&topic)?;
        if self.topics.contains_key(&topic.name) {
            return Err(PubSubError::Exists { resource: topic.name });
        }
        let config = pb::Topic { state: pb::topic::State::Active as i32, ..topic };
        self.topics.insert(config.name.clone(), Topic { config: config.clone() });
        Ok(config)
    }

    pub(super) fn topic(&self, name: &str) -> Result<&pb::Topic, PubSubError> {
        self.topics.get(name).map(|topic| &topic.config).ok_or_else(|| PubSubError::not_found(name))
    }

    /// Topics of `projects/P`, by name.
    pub(super) fn topics(&self, project: &str) -> Vec<pb::Topic> {
        let prefix = format!("{project}/topics/");
        let found = self.topics.values().filter(|topic| topic.config.name.starts_with(&prefix));
        found.map(|topic| topic.config.clone()).collect()
    }

    pub(super) fn update_topic(&mut self, topic: &pb::Topic, paths: &[String]) -> Result<pb::Topic, PubSubError> {
        let found = self.topics.get_mut(&topic.name).ok_or_else(|| PubSubError::not_found(&topic.name))?;
        match paths.iter().find(|path| *path != "labels") {
            None if !paths.is_empty() => found.config.labels.clone_from(&topic.labels),
            None => return Err(PubSubError::invalid("The update_mask in the request must be set.")),
            Some(path) => return Err(PubSubError::not_implemented(format!("changing the topic field `{path}`"))),
        }
        Ok(found.config.clone())
    }

    /// Its subscriptions stay with what they hold, and get nothing more.
    pub(super) fn delete_topic(&mut self, name: &str) -> Result<(), PubSubError> {
        self.topics.remove(name).ok_or_else(|| PubSubError::not_found(name))?;
        for subscription in self.subscriptions.values_mut().filter(|subscription| subscription.config.topic == name) {
            DELETED_TOPIC.clone_into(&mut subscription.config.topic);
        }
        Ok(())
    }

    pub(super) fn create_subscription(&mut self, config: pb::Subscription) -> Result<pb::Subscription, PubSubError> {
        let config = checked_subscription(config)?;
        self.topic(&config.topic)?;
        if self.subscriptions.contains_key(&config.name) {
            return Err(PubSubError::Exists { resource: config.name });
        }
        let subscription =
            Subscription { policy: Policy::of(&config)?, config: config.clone(), backlog: Backlog::default() };
        self.subscriptions.insert(config.name.clone(), subscription);
        Ok(config)
    }

    pub(super) fn subscription(&self, name: &str) -> Result<&pb::Subscription, PubSubError> {
        let found = self.subscriptions.get(name).map(|subscription| &subscription.config);
        found.ok_or_else(|| PubSubError::not_found(name))
    }

    /// Subscriptions of `projects/P` or of one topic, by name.
    pub(super) fn subscriptions(&self, of: &str) -> Vec<pb::Subscription> {
        let prefix = format!("{of}/subscriptions/");
        let configs = self.subscriptions.values().map(|subscription| &subscription.config);
        configs.filter(|config| config.name.starts_with(&prefix) || config.topic == of).cloned().collect()
    }

    pub(super) fn update_subscription(
        &mut self,
        new: &pb::Subscription,
        paths: &[String],
    ) -> Result<pb::Subscription, PubSubError> {
        let found = self.subscription_mut(&new.name)?;
        let config = updated_subscription(&found.config, new, paths)?;
        found.policy = Policy::of(&config)?;
        found.config = config.clone();
        Ok(config)
    }

    pub(super) fn delete_subscription(&mut self, name: &str) -> Result<(), PubSubError> {
        self.changed = true;
        self.subscriptions.remove(name).map(|_| ()).ok_or_else(|| PubSubError::not_found(name))
    }

    /// Gives every subscription of the topic its copy. Returns the messages' ids.
    pub(super) fn publish(
        &mut self,
        topic: &str,
        messages: Vec<pb::PubsubMessage>,
        now: Now,
    ) -> Result<Vec<String>, PubSubError> {
        self.topic(topic)?;
        check_messages(&messages)?;
        Ok(messages.into_iter().map(|message| self.deliver(topic, message, now)).collect())
    }

    fn deliver(&mut self, topic: &str, mut message: pb::PubsubMessage, now: Now) -> String {
        self.changed = true;
        self.message_last += 1;
        let id = self.message_last.to_string();
        message.message_id.clone_from(&id);
        message.publish_time = Some(now.system.into());
        let message = Arc::new(message);
        for subscription in self.subscriptions.values_mut().filter(|subscription| subscription.config.topic == topic) {
            subscription.backlog.add(self.message_last, Arc::clone(&message), now.instant);
        }
        id
    }

    /// Leases what is ready to a puller. Also tells whether the subscription reports attempts.
    pub(super) fn take(
        &mut self,
        name: &str,
        puller: Puller,
        limits: Limits,
        now: Now,
    ) -> Result<(Vec<Delivery>, bool), PubSubError> {
        self.settle(name, now)?;
        let State { subscriptions, lease_last, .. } = self;
        let found = subscriptions.get_mut(name).ok_or_else(|| PubSubError::not_found(name))?;
        let taken = found.backlog.take(puller, limits, &found.policy, lease_last, now.instant);
        Ok((taken, found.policy.max_attempts.is_some()))
    }

    /// The lease of a subscription's messages, where the puller names none.
    pub(super) fn ack_deadline(&self, name: &str) -> Result<Duration, PubSubError> {
        let found = self.subscriptions.get(name).ok_or_else(|| PubSubError::not_found(name))?;
        Ok(found.policy.ack_deadline)
    }

    pub(super) fn acknowledge(&mut self, name: &str, leases: &[u64], now: Now) -> Result<(), PubSubError> {
        self.settle(name, now)?;
        // Who acknowledges has room again, and its ordering keys are free.
        self.changed = true;
        let backlog = &mut self.subscription_mut(name)?.backlog;
        leases.iter().for_each(|lease| backlog.acknowledge(*lease));
        Ok(())
    }

    /// Lets leases end so much later than now; zero gives the messages back.
    pub(super) fn modify(
        &mut self,
        name: &str,
        leases: &[u64],
        extension: Duration,
        now: Now,
    ) -> Result<(), PubSubError> {
        self.settle(name, now)?;
        self.changed = true;
        let found = self.subscription_mut(name)?;
        let modified =
            leases.iter().filter_map(|lease| found.backlog.modify(*lease, extension, &found.policy, now.instant));
        let dead: Vec<DeadLetter> = modified.collect();
        self.forward(name, dead, now);
        Ok(())
    }

    /// When something of the subscription ends by itself.
    pub(super) fn next_event(&self, name: &str) -> Option<Instant> {
        self.subscriptions.get(name)?.backlog.next_event()
    }

    pub(super) fn forget(&mut self, name: &str, puller: Puller) {
        if let Some(found) = self.subscriptions.get_mut(name) {
            found.backlog.forget(puller);
        }
    }

    pub(super) fn stats(&mut self, name: &str, now: Now) -> Result<SubscriptionStats, PubSubError> {
        self.settle(name, now)?;
        Ok(self.subscription_mut(name)?.backlog.stats())
    }

    /// Leases are numbered over the whole cloud: a number above this was never given out.
    pub(super) fn lease_last(&self) -> u64 {
        self.lease_last
    }

    /// Whether there is a topic or subscription of this name.
    pub(super) fn check_exists(&self, resource: &str) -> Result<(), PubSubError> {
        let found = self.topics.contains_key(resource) || self.subscriptions.contains_key(resource);
        if found { Ok(()) } else { Err(PubSubError::not_found(resource)) }
    }

    fn subscription_mut(&mut self, name: &str) -> Result<&mut Subscription, PubSubError> {
        self.subscriptions.get_mut(name).ok_or_else(|| PubSubError::not_found(name))
    }

    fn settle(&mut self, name: &str, now: Now) -> Result<(), PubSubError> {
        let found = self.subscription_mut(name)?;
        let dead = found.backlog.settle(&found.policy, now.instant);
        self.forward(name, dead, now);
        Ok(())
    }

    /// Publishes dead letters to their topic, with the attributes that Google adds.
    /// <https://cloud.google.com/pubsub/docs/dead-letter-topics#track-delivery-attempts>
    fn forward(&mut self, from: &str, dead: Vec<DeadLetter>, now: Now) {
        let Ok(config) = self.subscription(from) else { return };
        let Some(policy) = config.dead_letter_policy.clone() else { return };
        let (project, id) = from.split_once("/subscriptions/").unwrap_or(("", from));
        let source = [
            ("CloudPubSubDeadLetterSourceSubscription", id.to_owned()),
            ("CloudPubSubDeadLetterSourceSubscriptionProject", project.trim_start_matches("projects/").to_owned()),
        ];
        for letter in dead {
            let mut message = pb::PubsubMessage::clone(&letter.message);
            let mut set = |name: &str, value: String| message.attributes.insert(name.to_owned(), value);
            source.iter().for_each(|(name, value)| {
                set(name, value.clone());
            });
            set("CloudPubSubDeadLetterSourceDeliveryCount", letter.attempts.to_string());
            if let Some(time) = letter.message.publish_time {
                set("CloudPubSubDeadLetterSourceTopicPublishTime", time.to_string());
            }
            self.deliver(&policy.dead_letter_topic, message, now);
        }
    }
}
