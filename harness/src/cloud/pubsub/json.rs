//! Topics, subscriptions and messages in the JSON form of Pub/Sub's REST API.
//!
//! Forms: <https://cloud.google.com/pubsub/docs/reference/rest>. An unknown field is refused, as Google does here.

use std::collections::HashMap;

use data_encoding::BASE64;
use prost_types::{Duration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::PubSubError;
use crate::cloud::generated::pubsub as pb;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TopicBody {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    labels: HashMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Value>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SubscriptionBody {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    topic: String,
    ack_deadline_seconds: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_retention_duration: Option<String>,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    labels: HashMap<String, String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    enable_message_ordering: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration_policy: Option<ExpirationBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter_policy: Option<DeadLetterBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_policy: Option<RetryBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Value>,
    // Read so that they can be refused by name; never told.
    #[serde(skip_serializing)]
    filter: String,
    #[serde(skip_serializing)]
    enable_exactly_once_delivery: bool,
    #[serde(skip_serializing)]
    retain_acked_messages: bool,
    #[serde(skip_serializing)]
    push_config: PushBody,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct ExpirationBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct DeadLetterBody {
    dead_letter_topic: String,
    max_delivery_attempts: i32,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct RetryBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum_backoff: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum_backoff: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PushBody {
    push_endpoint: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MessageBody {
    #[serde(skip_serializing_if = "String::is_empty")]
    data: String,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    attributes: HashMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    message_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    publish_time: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    ordering_key: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReceivedBody {
    ack_id: String,
    message: MessageBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_attempt: Option<i32>,
}

/// How enums are written: the official clients ask for numbers (`$alt=json;enum-encoding=int`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Enums {
    Names,
    Numbers,
}

impl Enums {
    /// Topics and subscriptions know but one state here; both enums give ACTIVE the number 1.
    fn active(self) -> Option<Value> {
        Some(match self {
            Self::Names => "ACTIVE".into(),
            Self::Numbers => 1.into(),
        })
    }
}

impl TopicBody {
    pub(super) fn tell(topic: pb::Topic, enums: Enums) -> Self {
        Self { name: topic.name, labels: topic.labels, state: enums.active() }
    }

    pub(super) fn read(self, name: String) -> pb::Topic {
        pb::Topic { name, labels: self.labels, ..Default::default() }
    }
}

impl SubscriptionBody {
    pub(super) fn tell(config: pb::Subscription, enums: Enums) -> Self {
        let text = |duration: Option<Duration>| duration.map(|duration| duration.to_string());
        Self {
            name: config.name,
            topic: config.topic,
            ack_deadline_seconds: config.ack_deadline_seconds,
            message_retention_duration: text(config.message_retention_duration),
            labels: config.labels,
            enable_message_ordering: config.enable_message_ordering,
            expiration_policy: config.expiration_policy.map(|policy| ExpirationBody { ttl: text(policy.ttl) }),
            dead_letter_policy: config.dead_letter_policy.map(|policy| DeadLetterBody {
                dead_letter_topic: policy.dead_letter_topic,
                max_delivery_attempts: policy.max_delivery_attempts,
            }),
            retry_policy: config.retry_policy.map(|policy| RetryBody {
                minimum_backoff: text(policy.minimum_backoff),
                maximum_backoff: text(policy.maximum_backoff),
            }),
            state: enums.active(),
            ..Self::default()
        }
    }

    pub(super) fn read(self, name: String) -> Result<pb::Subscription, PubSubError> {
        let expiration_policy = match self.expiration_policy {
            Some(policy) => Some(pb::ExpirationPolicy { ttl: duration(policy.ttl)? }),
            None => None,
        };
        let retry_policy = match self.retry_policy {
            Some(policy) => Some(pb::RetryPolicy {
                minimum_backoff: duration(policy.minimum_backoff)?,
                maximum_backoff: duration(policy.maximum_backoff)?,
            }),
            None => None,
        };
        let push = pb::PushConfig { push_endpoint: self.push_config.push_endpoint, ..Default::default() };
        Ok(pb::Subscription {
            name,
            topic: self.topic,
            ack_deadline_seconds: self.ack_deadline_seconds,
            message_retention_duration: duration(self.message_retention_duration)?,
            labels: self.labels,
            enable_message_ordering: self.enable_message_ordering,
            expiration_policy,
            dead_letter_policy: self.dead_letter_policy.map(|policy| pb::DeadLetterPolicy {
                dead_letter_topic: policy.dead_letter_topic,
                max_delivery_attempts: policy.max_delivery_attempts,
            }),
            retry_policy,
            filter: self.filter,
            enable_exactly_once_delivery: self.enable_exactly_once_delivery,
            retain_acked_messages: self.retain_acked_messages,
            push_config: Some(push),
            ..Default::default()
        })
    }
}

impl MessageBody {
    pub(super) fn read(self) -> Result<pb::PubsubMessage, PubSubError> {
        let data = BASE64.decode(self.data.as_bytes());
        let data = data.map_err(|error| PubSubError::invalid(format!("Invalid base64 in `data`: {error}")))?;
        let (attributes, ordering_key) = (self.attributes, self.ordering_key);
        Ok(pb::PubsubMessage { data, attributes, ordering_key, ..Default::default() })
    }
}

impl From<pb::ReceivedMessage> for ReceivedBody {
    fn from(received: pb::ReceivedMessage) -> Self {
        let message = received.message.unwrap_or_default();
        Self {
            ack_id: received.ack_id,
            message: MessageBody {
                data: BASE64.encode(&message.data),
                attributes: message.attributes,
                message_id: message.message_id,
                publish_time: message.publish_time.as_ref().map(Timestamp::to_string),
                ordering_key: message.ordering_key,
            },
            delivery_attempt: (received.delivery_attempt > 0).then_some(received.delivery_attempt),
        }
    }
}

/// `ackDeadlineSeconds,labels` → `ack_deadline_seconds`, `labels`.
pub(super) fn mask_paths(mask: &str) -> Vec<String> {
    let snake = |path: &str| {
        path.trim().chars().fold(String::new(), |mut snake, letter| {
            if letter.is_ascii_uppercase() {
                snake.push('_');
            }
            snake.push(letter.to_ascii_lowercase());
            snake
        })
    };
    mask.split(',').filter(|path| !path.is_empty()).map(snake).collect()
}

fn duration(text: Option<String>) -> Result<Option<Duration>, PubSubError> {
    let Some(text) = text else { return Ok(None) };
    text.parse().map(Some).map_err(|_| PubSubError::invalid(format!("Invalid duration: {text}")))
}
