//! The bucket as the manager needs it: read by generation, write and delete under a precondition, list.
//!
//! [`google`] carries it to Cloud Storage; tests keep theirs in memory. Nobody else names the storage client.

use std::collections::BTreeMap;

use bytes::Bytes;

pub mod google;

/// Metadata key: the [`contract::Version`] that the writer computed.
pub const META_VERSION: &str = "version";
/// Metadata key: who pushed.
pub const META_AUTHOR: &str = "author";
/// Metadata key: id of one write, by which a writer finds out whether a write that was answered badly is its own.
pub const META_WRITE: &str = "write";
/// Metadata key of the release pointer: number of the release.
pub const META_RELEASE: &str = "release";
/// Metadata key of the release pointer: digest of the release.
pub const META_DIGEST: &str = "digest";
/// Metadata key of the release pointer: why it was made.
pub const META_REASON: &str = "reason";
/// Metadata key of the release pointer: how many scripts it has.
pub const META_SCRIPTS: &str = "scripts";
/// Metadata key of the release pointer: when it was made, milliseconds since the Unix epoch.
pub const META_CREATED_AT: &str = "created_at_ms";

/// The most objects that one listing returns; a bucket with more is an error, not a slow manager.
pub const LIST_MAX: usize = 200_000;

/// Custom metadata of an object.
pub type Metadata = BTreeMap<String, String>;

/// One generation of an object, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedObject {
    /// Its name.
    pub name: String,
    /// Which content; a later write has a larger one.
    pub generation: i64,
    /// Bytes.
    pub size: u64,
    /// When it was written, milliseconds since the Unix epoch; 0 where the service did not say.
    pub written_at_ms: i64,
    /// Custom metadata.
    pub metadata: Metadata,
}

impl ObservedObject {
    /// Who wrote it, for people.
    pub fn author(&self) -> String {
        self.metadata.get(META_AUTHOR).cloned().unwrap_or_else(|| "bucket upload".to_owned())
    }
}

/// Content of one generation of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Which one it is.
    pub generation: i64,
    /// The bytes.
    pub bytes: Bytes,
}

/// Why the bucket did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BucketError {
    /// No such object, or no such generation of it.
    #[error("`{object}` is not in bucket `{bucket}`")]
    NotFound {
        /// The bucket.
        bucket: String,
        /// The object, with `#generation` where one was asked for.
        object: String,
    },
    /// The precondition did not hold: somebody else wrote or deleted the object first.
    #[error("`{object}` in bucket `{bucket}` was changed by somebody else")]
    Conflict {
        /// The bucket.
        bucket: String,
        /// The object.
        object: String,
    },
    /// The content is longer than the reader takes.
    #[error("`{object}` in bucket `{bucket}` is longer than {bytes_max} bytes")]
    TooLarge {
        /// The bucket.
        bucket: String,
        /// The object.
        object: String,
        /// The limit.
        bytes_max: usize,
    },
    /// The bucket did not answer, asked to come back later, or is not there at all.
    #[error("bucket `{bucket}` does not answer ({operation} `{object}`): {reason}")]
    Unavailable {
        /// The bucket.
        bucket: String,
        /// What was being done.
        operation: &'static str,
        /// To which object or prefix.
        object: String,
        /// The client's words; they already have its causes in them.
        reason: String,
    },
    /// The bucket refused for good, for example for lack of permission.
    #[error("bucket `{bucket}` refused ({operation} `{object}`): {reason}")]
    Refused {
        /// The bucket.
        bucket: String,
        /// What was being done.
        operation: &'static str,
        /// To which object or prefix.
        object: String,
        /// The client's words; they already have its causes in them.
        reason: String,
    },
}

impl BucketError {
    /// Whether the same call may succeed a little later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// A versioned bucket of objects.
#[tonic::async_trait]
pub trait Bucket: Send + Sync + 'static {
    /// Its name, for messages.
    fn name(&self) -> &str;

    /// Content of the live object, or of the generation asked for, live or not. At most `bytes_max` bytes.
    async fn read(&self, object: &str, generation: Option<i64>, bytes_max: usize) -> Result<Content, BucketError>;

    /// The live object, if there is one.
    async fn head(&self, object: &str) -> Result<Option<ObservedObject>, BucketError>;

    /// Writes the object if its live generation is `generation_match` (0: if there is none).
    ///
    /// A write that was carried out is reported as such, also if its answer was lost and a retry met its own traces.
    async fn write(
        &self,
        object: &str,
        bytes: Bytes,
        generation_match: i64,
        metadata: Metadata,
    ) -> Result<ObservedObject, BucketError>;

    /// Deletes the live object if it is this generation. [`BucketError::NotFound`] if there is none.
    async fn delete(&self, object: &str, generation_match: i64) -> Result<(), BucketError>;

    /// Every live object whose name begins with `prefix`.
    async fn list(&self, prefix: &str) -> Result<Vec<ObservedObject>, BucketError>;

    /// Every generation that is kept of the objects whose name begins with `prefix`, live or not.
    async fn versions(&self, prefix: &str) -> Result<Vec<ObservedObject>, BucketError>;
}
