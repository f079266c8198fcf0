//! One generation of an object, and the conditions a request can set on it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;

use super::error::StorageError;

/// What a writer may say about an object beside its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ObjectFields {
    pub(super) content_type: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) content_disposition: Option<String>,
    pub(super) content_language: Option<String>,
    pub(super) cache_control: Option<String>,
    pub(super) storage_class: Option<String>,
    pub(super) custom_time: Option<SystemTime>,
    /// Custom metadata (`x-goog-meta-*`).
    pub(super) metadata: BTreeMap<String, String>,
}

impl ObjectFields {
    /// Google's bound: 8 KiB of custom metadata, names and values together.
    const METADATA_BYTES_MAX: usize = 8192;

    pub(super) fn check(&self) -> Result<(), StorageError> {
        const CLASSES: [&str; 6] = ["STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE", "MULTI_REGIONAL", "REGIONAL"];
        let bytes: usize = self.metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > Self::METADATA_BYTES_MAX {
            let max = Self::METADATA_BYTES_MAX;
            return Err(StorageError::invalid(format!("The custom metadata has {bytes} bytes, the bound is {max}")));
        }
        match &self.storage_class {
            Some(class) if !CLASSES.contains(&class.as_str()) => {
                Err(StorageError::invalid(format!("Invalid storage class: {class}")))
            }
            _ => Ok(()),
        }
    }
}

/// One generation of an object. Its bytes never change; its fields do, and then the metageneration grows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) bucket: String,
    pub(super) name: String,
    pub(super) generation: i64,
    pub(super) metageneration: i64,
    pub(super) fields: ObjectFields,
    pub(super) data: Bytes,
    pub(super) crc32c: u32,
    /// Composed objects have none, as at Google.
    pub(super) md5: Option<[u8; 16]>,
    /// How many objects it was composed from.
    pub(super) component_count: Option<i32>,
    pub(super) created: SystemTime,
    pub(super) updated: SystemTime,
    /// When it became noncurrent.
    pub(super) deleted: Option<SystemTime>,
}

/// Checksums that the writer says the bytes have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Checksums {
    pub(super) crc32c: Option<u32>,
    pub(super) md5: Option<[u8; 16]>,
}

impl Checksums {
    /// Those of `self`, where it has none those of `other`.
    pub(super) fn or(self, other: Self) -> Self {
        Self { crc32c: self.crc32c.or(other.crc32c), md5: self.md5.or(other.md5) }
    }

    pub(super) fn check(&self, data: &[u8]) -> Result<(), StorageError> {
        let base64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
        if let Some(said) = self.crc32c {
            let found = crc32c::crc32c(data);
            if found != said {
                let (said, found) = (base64(&said.to_be_bytes()), base64(&found.to_be_bytes()));
                let message = format!("Provided CRC32C \"{said}\" doesn't match calculated CRC32C \"{found}\".");
                return Err(StorageError::invalid(message));
            }
        }
        if let Some(said) = self.md5 {
            let found = md5::compute(data).0;
            if found != said {
                let (said, found) = (base64(&said), base64(&found));
                let message = format!("Provided MD5 hash \"{said}\" doesn't match calculated MD5 hash \"{found}\".");
                return Err(StorageError::invalid(message));
            }
        }
        Ok(())
    }
}

/// Which object, and of it which generation; without one the live version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ObjectReference {
    pub(super) bucket: String,
    pub(super) name: String,
    pub(super) generation: Option<i64>,
}

impl ObjectReference {
    pub(super) fn missing(&self) -> StorageError {
        let object = match self.generation {
            Some(generation) => format!("{}#{generation}", self.name),
            None => self.name.clone(),
        };
        StorageError::NoSuchObject { bucket: self.bucket.clone(), object }
    }
}

/// `ifGenerationMatch` and its three siblings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Preconditions {
    pub(super) generation_match: Option<i64>,
    pub(super) generation_not_match: Option<i64>,
    pub(super) metageneration_match: Option<i64>,
    pub(super) metageneration_not_match: Option<i64>,
}

impl Preconditions {
    /// For reads: a `…NotMatch` that does not hold means "you have it already".
    pub(super) fn check_read(&self, object: &Object) -> Result<(), StorageError> {
        self.check_match(object.generation, object.metageneration)?;
        if self.not_match_fails(object.generation, object.metageneration) {
            return Err(StorageError::NotModified);
        }
        Ok(())
    }

    /// For writes: no live object counts as generation 0.
    pub(super) fn check_write(&self, live: Option<&Object>) -> Result<(), StorageError> {
        let (generation, metageneration) = live.map_or((0, 0), |live| (live.generation, live.metageneration));
        self.check_match(generation, metageneration)?;
        if self.not_match_fails(generation, metageneration) {
            return Err(StorageError::PreconditionFailed);
        }
        Ok(())
    }

    fn check_match(&self, generation: i64, metageneration: i64) -> Result<(), StorageError> {
        let differs = |wanted: Option<i64>, found: i64| wanted.is_some_and(|wanted| wanted != found);
        if differs(self.generation_match, generation) || differs(self.metageneration_match, metageneration) {
            return Err(StorageError::PreconditionFailed);
        }
        Ok(())
    }

    fn not_match_fails(&self, generation: i64, metageneration: i64) -> bool {
        self.generation_not_match == Some(generation) || self.metageneration_not_match == Some(metageneration)
    }
}
