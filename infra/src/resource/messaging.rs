//! Buckets, and the way by which a change of a bucket is told.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Id, Kind, Name};

/// A bucket. Always with uniform access and closed to the public: `closed = false` is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// A region, as in `EUROPE-WEST3`.
    pub location: String,
    /// Keeps what was overwritten.
    pub versioning: bool,
    /// What is thrown away by itself.
    #[serde(default)]
    pub lifecycle: Vec<Lifecycle>,
    /// Nobody but those with a role. Only what is found can be `false`.
    #[serde(default = "closed", deserialize_with = "only_closed")]
    pub closed: bool,
}

fn closed() -> bool {
    true
}

fn only_closed<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    match bool::deserialize(from)? {
        true => Ok(true),
        false => Err(D::Error::custom("a bucket can't be open to the public, expected `closed = true` or nothing")),
    }
}

/// Deletes old contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lifecycle {
    /// Days since it was overwritten.
    pub overwritten_days: i32,
    /// Unless it is one of so many newest.
    pub keep_newest: i32,
}

impl Bucket {
    pub(super) fn references(&self) -> Vec<Id> {
        Vec::new()
    }
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// Keeps messages so long, for those who subscribe late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
}

impl Topic {
    pub(super) fn references(&self) -> Vec<Id> {
        Vec::new()
    }
}

/// A subscription, pulled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// Of which topic.
    pub topic: Name,
    /// How long a message may be worked on before it is given out again.
    pub ack_deadline_s: u32,
    /// How long messages wait.
    pub retention_days: u32,
    /// Where messages go that nobody can deal with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetter>,
}

/// Where messages go after so many attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetter {
    /// To this topic.
    pub topic: Name,
    /// After so many attempts, 5 to 100.
    pub attempts: u32,
}

impl Subscription {
    pub(super) fn references(&self) -> Vec<Id> {
        let topics = std::iter::once(&self.topic).chain(self.dead_letter.as_ref().map(|dead| &dead.topic));
        topics.map(|name| Id::new(Kind::Topic, name)).collect()
    }
}

/// Changes of a bucket as messages of a topic. A bucket has at most one for a topic here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notification {
    /// Of which bucket.
    pub bucket: Name,
    /// To which topic.
    pub topic: Name,
    /// Which changes.
    pub events: Vec<Event>,
}

/// A change of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Event {
    /// Written.
    ObjectFinalize,
    /// Gone for good.
    ObjectDelete,
    /// Overwritten or deleted, and kept.
    ObjectArchive,
    /// Only its metadata.
    ObjectMetadataUpdate,
}

impl Notification {
    pub(super) fn references(&self) -> Vec<Id> {
        vec![Id::new(Kind::Bucket, &self.bucket), Id::new(Kind::Topic, &self.topic)]
    }
}
