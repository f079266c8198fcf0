//! A bucket's settings, its notification configurations, and the versions it holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::error::StorageError;
use super::object::Object;
use crate::cloud::generated::storage::bucket::lifecycle::Rule as LifecycleRule;

/// Settings of a bucket that the local cloud keeps. A request that names others is refused, not half obeyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BucketFields {
    pub(super) location: String,
    pub(super) storage_class: String,
    pub(super) labels: BTreeMap<String, String>,
    /// Overwritten and deleted objects stay as noncurrent generations.
    pub(super) versioning: bool,
    pub(super) uniform_access: bool,
    /// `inherited` or `enforced`.
    pub(super) public_access_prevention: String,
    /// Kept and shown; the local cloud deletes at once. Zero = off.
    pub(super) soft_delete: Duration,
    /// Kept and shown, never acted on.
    pub(super) lifecycle: Vec<LifecycleRule>,
}

impl Default for BucketFields {
    fn default() -> Self {
        Self {
            location: "US".into(),
            storage_class: "STANDARD".into(),
            labels: BTreeMap::new(),
            versioning: false,
            uniform_access: false,
            public_access_prevention: "inherited".into(),
            soft_delete: Duration::from_secs(7 * 24 * 3600),
            lifecycle: Vec::new(),
        }
    }
}

/// A bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) info: BucketInfo,
    pub(super) objects: BTreeMap<String, Versions>,
    pub(super) notifications: BTreeMap<u64, NotificationConfig>,
    /// Ids of notification configurations are not used twice.
    pub(super) notification_id_last: u64,
}

/// What is said about a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BucketInfo {
    pub(super) name: String,
    /// The project's id.
    pub(super) project: String,
    pub(super) metageneration: i64,
    pub(super) fields: BucketFields,
    pub(super) created: SystemTime,
    pub(super) updated: SystemTime,
}

/// The generations of one name.
#[derive(Debug, Default)]
pub(super) struct Versions {
    pub(super) live: Option<Arc<Object>>,
    /// Oldest first.
    pub(super) noncurrent: Vec<Arc<Object>>,
}

impl Versions {
    /// All generations, oldest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.noncurrent.iter().chain(&self.live)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.live.is_none() && self.noncurrent.is_empty()
    }
}

/// `ifMetagenerationMatch` and `ifMetagenerationNotMatch` on a bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct BucketPreconditions {
    pub(super) metageneration_match: Option<i64>,
    pub(super) metageneration_not_match: Option<i64>,
}

impl BucketPreconditions {
    pub(super) fn check(&self, bucket: &BucketInfo) -> Result<(), StorageError> {
        let found = bucket.metageneration;
        let holds = self.metageneration_match.is_none_or(|wanted| wanted == found)
            && self.metageneration_not_match != Some(found);
        if holds { Ok(()) } else { Err(StorageError::PreconditionFailed) }
    }
}

/// What happened to an object, by the names Google gives it.
/// <https://cloud.google.com/storage/docs/pubsub-notifications#events>
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventType {
    /// A new generation is live.
    Finalize,
    /// A generation is gone for good.
    Delete,
    /// The live generation became noncurrent.
    Archive,
    /// Metadata of a generation changed.
    MetadataUpdate,
}

impl EventType {
    const ALL: [Self; 4] = [Self::Finalize, Self::Delete, Self::Archive, Self::MetadataUpdate];

    /// The name on the wire, for example `OBJECT_FINALIZE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finalize => "OBJECT_FINALIZE",
            Self::Delete => "OBJECT_DELETE",
            Self::Archive => "OBJECT_ARCHIVE",
            Self::MetadataUpdate => "OBJECT_METADATA_UPDATE",
        }
    }

    pub(super) fn parse(name: &str) -> Result<Self, StorageError> {
        let found = Self::ALL.into_iter().find(|event| event.as_str() == name);
        found.ok_or_else(|| StorageError::invalid(format!("Invalid event type: {name}")))
    }
}

/// Which events of a bucket go to which topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotificationConfig {
    pub(super) id: u64,
    /// `projects/P/topics/T`.
    pub(super) topic: String,
    /// `JSON_API_V1` (the object's resource) or `NONE`.
    pub(super) payload: Payload,
    /// Empty = all.
    pub(super) event_types: Vec<EventType>,
    pub(super) object_name_prefix: String,
    pub(super) custom_attributes: BTreeMap<String, String>,
}

/// What a notification's data holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    /// The object's resource as JSON.
    Json,
    /// Nothing.
    None,
}

impl Payload {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Json => "JSON_API_V1",
            Self::None => "NONE",
        }
    }
}

impl NotificationConfig {
    pub(super) fn wants(&self, event: EventType, object: &str) -> bool {
        object.starts_with(&self.object_name_prefix)
            && (self.event_types.is_empty() || self.event_types.contains(&event))
    }
}
