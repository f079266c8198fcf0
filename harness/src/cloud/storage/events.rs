//! From a change of an object to the messages that Google publishes about it.
//!
//! Attributes: <https://cloud.google.com/storage/docs/pubsub-notifications#attributes>.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::bucket::{EventType, NotificationConfig, Payload};
use super::object::Object;
use super::resources::object_resource;
use crate::cloud::time_text;

/// A message that is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notification {
    /// `projects/P/topics/T`.
    pub(crate) topic: String,
    pub(crate) attributes: HashMap<String, String>,
    pub(crate) data: Vec<u8>,
}

/// What happened to one generation of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) event: EventType,
    pub(super) object: &'a Arc<Object>,
    /// The generation that was live before (of a new one).
    pub(super) overwrote: Option<i64>,
    /// The generation that is live now (of an old one).
    pub(super) overwritten_by: Option<i64>,
    pub(super) time: SystemTime,
}

impl<'a> Change<'a> {
    pub(super) fn new(event: EventType, object: &'a Arc<Object>, time: SystemTime) -> Self {
        Self { event, object, overwrote: None, overwritten_by: None, time }
    }
}

/// One message for every configuration that wants the change.
pub(super) fn notifications_of<'a>(
    change: &Change<'_>,
    configs: impl Iterator<Item = &'a NotificationConfig>,
    base_url: &str,
) -> Vec<Notification> {
    let object = change.object;
    let wanted = configs.filter(|config| config.wants(change.event, &object.name));
    wanted
        .map(|config| {
            let mut attributes: HashMap<String, String> =
                config.custom_attributes.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            let mut set = |name: &str, value: String| attributes.insert(name.to_owned(), value);
            set("bucketId", object.bucket.clone());
            set("objectId", object.name.clone());
            set("objectGeneration", object.generation.to_string());
            set("eventType", change.event.as_str().to_owned());
            set("eventTime", time_text(change.time));
            set("payloadFormat", config.payload.as_str().to_owned());
            let config_name = format!("projects/_/buckets/{}/notificationConfigs/{}", object.bucket, config.id);
            set("notificationConfig", config_name);
            if let Some(generation) = change.overwrote {
                set("overwroteGeneration", generation.to_string());
            }
            if let Some(generation) = change.overwritten_by {
                set("overwrittenByGeneration", generation.to_string());
            }
            let data = match config.payload {
                Payload::Json => object_resource(object, base_url).to_string().into_bytes(),
                Payload::None => Vec::new(),
            };
            Notification { topic: config.topic.clone(), attributes, data }
        })
        .collect()
}
