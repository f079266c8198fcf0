//! Between the messages of `google.storage.v2` and the state's own types.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;

use crate::cloud::generated::storage as pb;
use crate::cloud::storage::bucket::{BucketFields, BucketInfo};
use crate::cloud::storage::error::StorageError;
use crate::cloud::storage::object::{Object, ObjectFields};
use crate::cloud::storage::resources::{location_type, object_etag};

/// The conditions of a request on an object, or (with `bucket`) on a bucket: many request types have the same fields.
macro_rules! preconditions {
    (bucket $request:ident) => {
        $crate::cloud::storage::bucket::BucketPreconditions {
            metageneration_match: $request.if_metageneration_match,
            metageneration_not_match: $request.if_metageneration_not_match,
        }
    };
    ($request:ident) => {
        $crate::cloud::storage::object::Preconditions {
            generation_match: $request.if_generation_match,
            generation_not_match: $request.if_generation_not_match,
            metageneration_match: $request.if_metageneration_match,
            metageneration_not_match: $request.if_metageneration_not_match,
        }
    };
}
pub(super) use preconditions;

/// The conditions on a copy's source.
macro_rules! source_preconditions {
    ($request:ident) => {
        $crate::cloud::storage::object::Preconditions {
            generation_match: $request.if_source_generation_match,
            generation_not_match: $request.if_source_generation_not_match,
            metageneration_match: $request.if_source_metageneration_match,
            metageneration_not_match: $request.if_source_metageneration_not_match,
        }
    };
}
pub(super) use source_preconditions;

pub(super) fn object_message(object: &Object) -> pb::Object {
    let fields = &object.fields;
    pb::Object {
        name: object.name.clone(),
        bucket: format!("projects/_/buckets/{}", object.bucket),
        etag: object_etag(object),
        generation: object.generation,
        metageneration: object.metageneration,
        storage_class: fields.storage_class.clone().unwrap_or_else(|| "STANDARD".into()),
        size: object.data.len() as i64,
        content_type: fields.content_type.clone().unwrap_or_default(),
        content_encoding: fields.content_encoding.clone().unwrap_or_default(),
        content_disposition: fields.content_disposition.clone().unwrap_or_default(),
        content_language: fields.content_language.clone().unwrap_or_default(),
        cache_control: fields.cache_control.clone().unwrap_or_default(),
        custom_time: fields.custom_time.map(Timestamp::from),
        metadata: fields.metadata.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        component_count: object.component_count.unwrap_or(0),
        checksums: Some(pb::ObjectChecksums {
            crc32c: Some(object.crc32c),
            md5_hash: object.md5.map(Vec::from).unwrap_or_default(),
        }),
        create_time: Some(object.created.into()),
        finalize_time: Some(object.created.into()),
        update_storage_class_time: Some(object.created.into()),
        update_time: Some(object.updated.into()),
        delete_time: object.deleted.map(Timestamp::from),
        ..Default::default()
    }
}

/// What a message says about an object that is to be written.
pub(super) fn object_fields(message: pb::Object) -> Result<ObjectFields, StorageError> {
    if message.temporary_hold || message.event_based_hold() || message.retention.is_some() || !message.acl.is_empty() {
        return Err(StorageError::not_implemented("objects with holds, retention or access lists"));
    }
    Ok(ObjectFields {
        content_type: text(message.content_type),
        content_encoding: text(message.content_encoding),
        content_disposition: text(message.content_disposition),
        content_language: text(message.content_language),
        cache_control: text(message.cache_control),
        storage_class: text(message.storage_class),
        custom_time: message.custom_time.map(time).transpose()?,
        metadata: message.metadata.into_iter().collect(),
    })
}

/// Takes over the fields that an update mask names.
pub(super) fn update_object(
    fields: &mut ObjectFields,
    message: &pb::Object,
    paths: &[String],
) -> Result<(), StorageError> {
    let new = object_fields(message.clone())?;
    for path in paths {
        match path.as_str() {
            "content_type" => fields.content_type.clone_from(&new.content_type),
            "content_encoding" => fields.content_encoding.clone_from(&new.content_encoding),
            "content_disposition" => fields.content_disposition.clone_from(&new.content_disposition),
            "content_language" => fields.content_language.clone_from(&new.content_language),
            "cache_control" => fields.cache_control.clone_from(&new.cache_control),
            "storage_class" => fields.storage_class.clone_from(&new.storage_class),
            "custom_time" => fields.custom_time = new.custom_time,
            "metadata" => fields.metadata.clone_from(&new.metadata),
            "*" => fields.clone_from(&new),
            path => {
                let unknown = || StorageError::not_implemented(format!("the update mask path `{path}`"));
                let key = path.strip_prefix("metadata.").ok_or_else(unknown)?;
                match new.metadata.get(key) {
                    Some(value) => fields.metadata.insert(key.to_owned(), value.clone()),
                    None => fields.metadata.remove(key),
                };
            }
        }
    }
    Ok(())
}

pub(super) fn bucket_message(bucket: &BucketInfo) -> pb::Bucket {
    let fields = &bucket.fields;
    pb::Bucket {
        name: format!("projects/_/buckets/{}", bucket.name),
        bucket_id: bucket.name.clone(),
        etag: bucket.metageneration.to_string(),
        project: format!("projects/{}", bucket.project),
        metageneration: bucket.metageneration,
        location: fields.location.clone(),
        location_type: location_type(&fields.location).to_owned(),
        storage_class: fields.storage_class.clone(),
        labels: fields.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        versioning: Some(pb::bucket::Versioning { enabled: fields.versioning }),
        iam_config: Some(pb::bucket::IamConfig {
            uniform_bucket_level_access: Some(pb::bucket::iam_config::UniformBucketLevelAccess {
                enabled: fields.uniform_access,
                lock_time: None,
            }),
            public_access_prevention: fields.public_access_prevention.clone(),
        }),
        soft_delete_policy: Some(pb::bucket::SoftDeletePolicy {
            retention_duration: prost_types::Duration::try_from(fields.soft_delete).ok(),
            effective_time: None,
        }),
        lifecycle: (!fields.lifecycle.is_empty()).then(|| pb::bucket::Lifecycle { rule: fields.lifecycle.clone() }),
        create_time: Some(bucket.created.into()),
        update_time: Some(bucket.updated.into()),
        ..Default::default()
    }
}

/// What a message says about a bucket that is to be made.
pub(super) fn bucket_fields(message: pb::Bucket) -> Result<BucketFields, StorageError> {
    let unkept = pb::Bucket {
        name: String::new(),
        bucket_id: String::new(),
        etag: String::new(),
        project: String::new(),
        metageneration: 0,
        location: String::new(),
        location_type: String::new(),
        storage_class: String::new(),
        labels: Default::default(),
        versioning: None,
        iam_config: None,
        soft_delete_policy: None,
        lifecycle: None,
        create_time: None,
        update_time: None,
        ..message.clone()
    };
    if unkept != pb::Bucket::default() {
        let kept = "location, storage class, labels, versioning, access, lifecycle and soft delete";
        return Err(StorageError::not_implemented(format!("bucket settings other than {kept}")));
    }
    let default = BucketFields::default();
    let access = message.iam_config.unwrap_or_default();
    Ok(BucketFields {
        location: text(message.location).map_or(default.location, |location| location.to_uppercase()),
        storage_class: text(message.storage_class).unwrap_or(default.storage_class),
        labels: message.labels.into_iter().collect(),
        versioning: message.versioning.is_some_and(|versioning| versioning.enabled),
        uniform_access: access.uniform_bucket_level_access.is_some_and(|access| access.enabled),
        public_access_prevention: text(access.public_access_prevention).unwrap_or(default.public_access_prevention),
        soft_delete: match message.soft_delete_policy {
            Some(policy) => duration(policy.retention_duration)?,
            None => default.soft_delete,
        },
        lifecycle: message.lifecycle.map(|lifecycle| lifecycle.rule).unwrap_or_default(),
    })
}

/// Takes over the fields that an update mask names.
pub(super) fn update_bucket(
    fields: &mut BucketFields,
    message: &pb::Bucket,
    paths: &[String],
) -> Result<(), StorageError> {
    let new = bucket_fields(message.clone())?;
    for path in paths {
        match path.as_str() {
            "storage_class" => fields.storage_class.clone_from(&new.storage_class),
            "labels" => fields.labels.clone_from(&new.labels),
            "versioning" | "versioning.enabled" => fields.versioning = new.versioning,
            "iam_config" => {
                fields.uniform_access = new.uniform_access;
                fields.public_access_prevention.clone_from(&new.public_access_prevention);
            }
            "iam_config.public_access_prevention" => {
                fields.public_access_prevention.clone_from(&new.public_access_prevention);
            }
            "iam_config.uniform_bucket_level_access" | "iam_config.uniform_bucket_level_access.enabled" => {
                fields.uniform_access = new.uniform_access;
            }
            "lifecycle" => fields.lifecycle.clone_from(&new.lifecycle),
            "soft_delete_policy" | "soft_delete_policy.retention_duration" => fields.soft_delete = new.soft_delete,
            path => {
                let unknown = || StorageError::not_implemented(format!("the update mask path `{path}`"));
                let label = path.strip_prefix("labels.").ok_or_else(unknown)?;
                match new.labels.get(label) {
                    Some(value) => fields.labels.insert(label.to_owned(), value.clone()),
                    None => fields.labels.remove(label),
                };
            }
        }
    }
    Ok(())
}

fn text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn time(timestamp: Timestamp) -> Result<SystemTime, StorageError> {
    SystemTime::try_from(timestamp).map_err(|error| StorageError::invalid(format!("Invalid time: {error}")))
}

fn duration(duration: Option<prost_types::Duration>) -> Result<Duration, StorageError> {
    let read = Duration::try_from(duration.unwrap_or_default());
    read.map_err(|error| StorageError::invalid(format!("Invalid duration: {error}")))
}
