//! The release pointer in the bucket: reading it with all its sources, and replacing it.
//!
//! The conditional replacement is the only point of order in the system.

use std::sync::Arc;

use bytes::Bytes;
use contract::Version;
use contract::api::Activation;
use contract::release::{Entry, POINTER_OBJECT, PublicKeys, SignedRelease, VerifyError};
use futures_util::StreamExt;

use crate::bucket::{
    Bucket, BucketError, META_CREATED_AT, META_DIGEST, META_REASON, META_RELEASE, META_SCRIPTS, META_VERSION, Metadata,
};
use crate::releases::{Current, Release, Sources};

/// A pointer longer than this is none: it is about 300 bytes per script.
const POINTER_BYTES_MAX: usize = 64 << 20;
/// Sources read at the same time.
const READS_AT_ONCE: usize = 16;
/// Cloud Storage takes 8 KiB of custom metadata per object; a reason is for people and may be cut.
const REASON_BYTES_MAX: usize = 512;

/// Why the pointer in the bucket could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum PointerError {
    /// The bucket did not give it.
    #[error("read the release pointer")]
    Bucket(#[source] BucketError),
    /// It is no JSON of the expected form.
    #[error("the release pointer `{POINTER_OBJECT}` in bucket `{bucket}`, generation {generation}, is no release")]
    Malformed {
        /// The bucket.
        bucket: String,
        /// Generation of the pointer.
        generation: i64,
        /// What is wrong with it.
        #[source]
        err: serde_json::Error,
    },
    /// It was not signed with this manager's key for this stack.
    #[error(
        "the release pointer `{POINTER_OBJECT}` in bucket `{bucket}`, generation {generation}, is not to be trusted; start this manager with the key that signed it, or restore an older generation of the object"
    )]
    Untrusted {
        /// The bucket.
        bucket: String,
        /// Generation of the pointer.
        generation: i64,
        /// What is wrong with it.
        #[source]
        err: VerifyError,
    },
}

impl PointerError {
    /// Whether trying again may help without anybody doing something.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Bucket(err) if err.is_transient())
    }
}

/// Reads the pointer and the sources of its scripts; `known` are sources that need no reading.
///
/// A source that is in no generation of its object is logged and left out: executors may still have it.
///
/// # Errors
/// [`PointerError`]. A bucket without a pointer is no error but [`Release::none`].
pub async fn load(
    bucket: &dyn Bucket,
    stack: &str,
    keys: &PublicKeys,
    known: &Sources,
    source_bytes_max: usize,
) -> Result<Current, PointerError> {
    let content = match bucket.read(POINTER_OBJECT, None, POINTER_BYTES_MAX).await {
        Ok(content) => content,
        // Reading from a bucket that is gone fails in the same way as reading an object that is. A listing tells them
        // apart.
        Err(BucketError::NotFound { .. }) => {
            bucket.list(POINTER_OBJECT).await.map_err(PointerError::Bucket)?;
            return Ok(Current {
                release: Arc::new(Release::none(stack)),
                pointer_generation: 0,
                activation: Activation::Live,
            });
        }
        Err(err) => return Err(PointerError::Bucket(err)),
    };
    let (name, generation) = (bucket.name().to_owned(), content.generation);
    let signed: SignedRelease = serde_json::from_slice(&content.bytes).map_err(|err| PointerError::Malformed {
        bucket: name.clone(),
        generation,
        err,
    })?;
    let statement =
        signed.verify(stack, keys).map_err(|err| PointerError::Untrusted { bucket: name, generation, err })?;

    let entries: Vec<Entry> = signed.scripts.values().flat_map(|scripts| scripts.values().cloned()).collect();
    let mut reads = futures_util::stream::iter(entries)
        .map(|entry| async move {
            let source = match known.get(&entry.version) {
                Some(source) => Ok(Some(source.clone())),
                None => source_of(bucket, &entry, source_bytes_max).await,
            };
            (entry, source)
        })
        .buffer_unordered(READS_AT_ONCE);
    let mut sources = Sources::new();
    while let Some((entry, source)) = reads.next().await {
        match source.map_err(PointerError::Bucket)? {
            Some(source) => drop(sources.insert(entry.version, source)),
            None => tracing::error!(
                object = entry.object,
                generation = entry.generation,
                version = entry.version.short(),
                "the source of a running script is not in the bucket: executors that have it go on, new ones can't get it; push the script again"
            ),
        }
    }
    drop(reads);
    let release = Arc::new(Release { statement, signed, sources });
    Ok(Current { release, pointer_generation: generation, activation: Activation::Live })
}

/// The source that `entry` names: its generation, or another one with the same content.
async fn source_of(bucket: &dyn Bucket, entry: &Entry, bytes_max: usize) -> Result<Option<Bytes>, BucketError> {
    if let Some(source) = checked(bucket, entry, entry.generation, bytes_max).await? {
        return Ok(Some(source));
    }
    for version in bucket.versions(&entry.object).await? {
        let named = version.metadata.get(META_VERSION);
        let may_be_it = version.name == entry.object
            && version.generation != entry.generation
            && named.is_none_or(|named| named == entry.version.as_str());
        if may_be_it && let Some(source) = checked(bucket, entry, version.generation, bytes_max).await? {
            return Ok(Some(source));
        }
    }
    Ok(None)
}

async fn checked(
    bucket: &dyn Bucket,
    entry: &Entry,
    generation: i64,
    bytes_max: usize,
) -> Result<Option<Bytes>, BucketError> {
    match bucket.read(&entry.object, Some(generation), bytes_max).await {
        Ok(content) if Version::of(&content.bytes) == entry.version => Ok(Some(content.bytes)),
        Ok(_) | Err(BucketError::NotFound { .. } | BucketError::TooLarge { .. }) => Ok(None),
        Err(err) => Err(err),
    }
}

/// Replaces the pointer, if its generation is still `pointer_generation`. The new generation.
///
/// # Errors
/// [`BucketError::Conflict`]: another manager was first.
pub async fn replace(bucket: &dyn Bucket, release: &Release, pointer_generation: i64) -> Result<i64, BucketError> {
    let body = serde_json::to_vec(&release.signed).expect("structs of strings and numbers are always JSON");
    let statement = &release.statement;
    let metadata = Metadata::from([
        (META_RELEASE.to_owned(), statement.number.to_string()),
        (META_DIGEST.to_owned(), statement.digest.clone()),
        (META_REASON.to_owned(), cut(&statement.reason, REASON_BYTES_MAX).to_owned()),
        (META_SCRIPTS.to_owned(), contract::release::count(release.scripts()).to_string()),
        (META_CREATED_AT.to_owned(), statement.created_at_ms.to_string()),
    ]);
    let written = bucket.write(POINTER_OBJECT, body.into(), pointer_generation, metadata).await?;
    Ok(written.generation)
}

/// The longest beginning of `text` that has at most `bytes_max` bytes.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
