//! What topics and subscriptions promise to each other.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use super::PubSub;
use super::backlog::Limits;
use super::error::PubSubError;
use super::state::{Now, State};
use crate::cloud::faults::FaultPlan;
use crate::cloud::generated::pubsub as pb;
use crate::cloud::iam::Iam;

const TOPIC: &str = "projects/p/topics/bucket";
const DEAD: &str = "projects/p/topics/dead";
const MANAGER: &str = "projects/p/subscriptions/manager";
const MORGUE: &str = "projects/p/subscriptions/morgue";

fn now() -> Now {
    Now { instant: Instant::now(), system: SystemTime::UNIX_EPOCH }
}

fn message(data: &str) -> pb::PubsubMessage {
    pb::PubsubMessage { data: data.as_bytes().to_vec(), ..Default::default() }
}

/// Two topics; `manager` sends to `dead` after five deliveries, `morgue` reads that.
fn state() -> State {
    let mut state = State::default();
    for name in [TOPIC, DEAD] {
        state.create_topic(pb::Topic { name: name.into(), ..Default::default() }).unwrap();
    }
    let dead = pb::DeadLetterPolicy { dead_letter_topic: DEAD.into(), max_delivery_attempts: 5 };
    let subscription = |name: &str, topic: &str, dead_letter_policy| pb::Subscription {
        name: name.into(),
        topic: topic.into(),
        dead_letter_policy,
        ..Default::default()
    };
    state.create_subscription(subscription(MANAGER, TOPIC, Some(dead))).unwrap();
    state.create_subscription(subscription(MORGUE, DEAD, None)).unwrap();
    state
}

fn take(state: &mut State, subscription: &str, now: Now) -> Vec<(u64, pb::PubsubMessage)> {
    let lease = Duration::from_secs(10);
    let limits = Limits { messages: 10, bytes: usize::MAX, batch: 10, lease };
    let (taken, _) = state.take(subscription, 1, limits, now).unwrap();
    taken.into_iter().map(|delivery| (delivery.lease, pb::PubsubMessage::clone(&delivery.message))).collect()
}

#[test]
fn every_subscription_of_a_topic_gets_a_message_published_after_it_was_made() {
    let mut state = state();
    state.publish(TOPIC, vec![message("1")], now()).unwrap();
    let late =
        pb::Subscription { name: "projects/p/subscriptions/late".into(), topic: TOPIC.into(), ..Default::default() };
    state.create_subscription(late).unwrap();

    let ids = state.publish(TOPIC, vec![message("2"), message("3")], now()).unwrap();

    assert_eq!(ids, ["2", "3"]);
    assert_eq!(take(&mut state, MANAGER, now()).len(), 3);
    assert_eq!(take(&mut state, "projects/p/subscriptions/late", now()).len(), 2);
    assert_eq!(take(&mut state, MORGUE, now()).len(), 0);
}

#[test]
fn a_message_that_nobody_can_handle_ends_in_the_dead_letter_topic() {
    let mut state = state();
    state.publish(TOPIC, vec![message("poison")], now()).unwrap();

    for _ in 0..5 {
        let lease = take(&mut state, MANAGER, now()).remove(0).0;
        state.modify(MANAGER, &[lease], Duration::ZERO, now()).unwrap();
    }

    assert_eq!(take(&mut state, MANAGER, now()).len(), 0);
    let (_, dead) = take(&mut state, MORGUE, now()).remove(0);
    assert_eq!(dead.data, b"poison");
    let mut attributes: Vec<_> = dead.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    attributes.sort();
    insta::assert_snapshot!(attributes.join("\n"), @r"
    CloudPubSubDeadLetterSourceDeliveryCount=5
    CloudPubSubDeadLetterSourceSubscription=manager
    CloudPubSubDeadLetterSourceSubscriptionProject=p
    CloudPubSubDeadLetterSourceTopicPublishTime=1970-01-01T00:00:00Z
    ");
}

#[test]
fn a_subscription_outlives_its_topic_and_gets_nothing_more() {
    let mut state = state();
    state.publish(TOPIC, vec![message("1")], now()).unwrap();

    state.delete_topic(TOPIC).unwrap();

    assert_eq!(state.subscription(MANAGER).unwrap().topic, "_deleted-topic_");
    assert_eq!(take(&mut state, MANAGER, now()).len(), 1);
    let refused = state.publish(TOPIC, vec![message("2")], now()).unwrap_err();
    assert_eq!(refused, PubSubError::NotFound { resource: TOPIC.into() });
}

#[test]
fn names_are_unique_and_topics_must_exist() {
    let mut state = state();
    let topic = pb::Topic { name: TOPIC.into(), ..Default::default() };
    let orphan = pb::Subscription {
        name: "projects/p/subscriptions/orphan".into(),
        topic: "projects/p/topics/none".into(),
        ..Default::default()
    };

    assert_eq!(state.create_topic(topic).unwrap_err().http().0, 409);
    assert_eq!(state.create_subscription(orphan).unwrap_err().http().0, 404);
}

#[test]
fn empty_messages_are_refused() {
    let mut state = state();

    assert_eq!(state.publish(TOPIC, vec![message("")], now()).unwrap_err().http().0, 400);
    assert_eq!(state.publish(TOPIC, vec![], now()).unwrap_err().http().0, 400);
}

#[test]
fn a_policy_is_replaced_only_by_who_read_the_newest() {
    let pubsub = PubSub::new(Iam::default(), Arc::new(FaultPlan::new()));
    pubsub.create_topic(TOPIC).unwrap();
    let read = pubsub.policy(TOPIC).unwrap();
    let bindings = json!([{ "role": "roles/pubsub.publisher", "members": ["user:ada@example.com"] }]);
    let new = json!({ "bindings": bindings, "etag": read["etag"] });

    let written = pubsub.set_policy(TOPIC, &new).unwrap();
    let stale = pubsub.set_policy(TOPIC, &new).unwrap_err();

    assert_eq!(written["bindings"], bindings);
    assert_ne!(written["etag"], read["etag"]);
    assert_eq!(stale, PubSubError::PolicyChanged { resource: TOPIC.into() });
    assert!(pubsub.policy("projects/p/topics/none").is_err());
}
