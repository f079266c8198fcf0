//! From JSON bodies to the fields of objects, buckets and notification configurations.
//!
//! What Google only ever tells is ignored in a body, as Google does; what the local cloud does not keep is refused.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use prost_types::Timestamp;
use serde_json::{Map, Value};

use crate::cloud::storage::bucket::{BucketFields, EventType, NotificationConfig, Payload};
use crate::cloud::storage::error::StorageError;
use crate::cloud::storage::lifecycle;
use crate::cloud::storage::object::{Checksums, ObjectFields};

/// Fields of resources that are told, or said elsewhere in the request.
const TOLD: [&str; 22] = [
    "bucket",
    "componentCount",
    "crc32c",
    "etag",
    "generation",
    "id",
    "kind",
    "locationType",
    "md5Hash",
    "mediaLink",
    "metageneration",
    "name",
    "owner",
    "projectNumber",
    "selfLink",
    "size",
    "timeCreated",
    "timeDeleted",
    "timeFinalized",
    "timeStorageClassUpdated",
    "updated",
    "acl",
];

/// Changes an object's fields as a PATCH body says: `null` takes away, what is not named stays.
pub(super) fn patch_object(fields: &mut ObjectFields, body: &Map<String, Value>) -> Result<(), StorageError> {
    for (name, value) in body {
        match name.as_str() {
            "contentType" => fields.content_type = text(name, value)?,
            "contentEncoding" => fields.content_encoding = text(name, value)?,
            "contentDisposition" => fields.content_disposition = text(name, value)?,
            "contentLanguage" => fields.content_language = text(name, value)?,
            "cacheControl" => fields.cache_control = text(name, value)?,
            "storageClass" => fields.storage_class = text(name, value)?,
            "customTime" => fields.custom_time = time(name, value)?,
            "metadata" => patch_map(&mut fields.metadata, name, value)?,
            _ => check_unkept("object", name, value)?,
        }
    }
    Ok(())
}

/// Checksums that a body says the bytes have.
pub(super) fn checksums(body: &Map<String, Value>) -> Result<Checksums, StorageError> {
    Ok(Checksums { crc32c: base64(body, "crc32c")?.map(u32::from_be_bytes), md5: base64(body, "md5Hash")? })
}

/// Checksums from `x-goog-hash: crc32c=…,md5=…`.
pub(super) fn checksums_of_header(header: &str) -> Result<Checksums, StorageError> {
    let pairs = header.split(',').filter_map(|pair| pair.trim().split_once('='));
    let body = pairs.map(|(name, value)| (if name == "md5" { "md5Hash" } else { name }.to_owned(), value.into()));
    checksums(&body.collect())
}

/// Changes a bucket's fields as an insert or PATCH body says.
pub(super) fn patch_bucket(fields: &mut BucketFields, body: &Map<String, Value>) -> Result<(), StorageError> {
    for (name, value) in body {
        match name.as_str() {
            "storageClass" => fields.storage_class = text(name, value)?.unwrap_or_else(|| "STANDARD".into()),
            "location" => fields.location = text(name, value)?.unwrap_or_else(|| "US".into()).to_uppercase(),
            "labels" => patch_map(&mut fields.labels, name, value)?,
            "versioning" => fields.versioning = value["enabled"].as_bool().unwrap_or(false),
            "iamConfiguration" => {
                let access = &value["uniformBucketLevelAccess"]["enabled"];
                fields.uniform_access = access.as_bool().unwrap_or(fields.uniform_access);
                if let Some(prevention) = value["publicAccessPrevention"].as_str() {
                    fields.public_access_prevention = prevention.to_owned();
                }
            }
            "lifecycle" => fields.lifecycle = lifecycle::read(value)?,
            "softDeletePolicy" => {
                let seconds = &value["retentionDurationSeconds"];
                let seconds = seconds.as_u64().or_else(|| seconds.as_str().and_then(|text| text.parse().ok()));
                let seconds = seconds.ok_or_else(|| StorageError::invalid("Invalid softDeletePolicy"))?;
                fields.soft_delete = Duration::from_secs(seconds);
            }
            _ => check_unkept("bucket", name, value)?,
        }
    }
    Ok(())
}

/// A notification configuration from an insert body.
pub(super) fn notification(body: &Map<String, Value>) -> Result<NotificationConfig, StorageError> {
    let mut config = NotificationConfig {
        id: 0,
        topic: String::new(),
        payload: Payload::Json,
        event_types: Vec::new(),
        object_name_prefix: String::new(),
        custom_attributes: BTreeMap::new(),
    };
    for (name, value) in body {
        match name.as_str() {
            "topic" => {
                let topic = text(name, value)?.unwrap_or_default();
                config.topic = topic.trim_start_matches("//pubsub.googleapis.com/").to_owned();
            }
            "payload_format" => {
                config.payload = match value.as_str() {
                    Some("JSON_API_V1") => Payload::Json,
                    Some("NONE") => Payload::None,
                    _ => return Err(StorageError::invalid(format!("Invalid payload_format: {value}"))),
                }
            }
            "event_types" => {
                let names = value.as_array().into_iter().flatten();
                let types = names.map(|name| EventType::parse(name.as_str().unwrap_or_default()));
                config.event_types = types.collect::<Result<_, _>>()?;
            }
            "object_name_prefix" => config.object_name_prefix = text(name, value)?.unwrap_or_default(),
            "custom_attributes" => patch_map(&mut config.custom_attributes, name, value)?,
            _ => check_unkept("notification configuration", name, value)?,
        }
    }
    if config.topic.is_empty() {
        return Err(StorageError::Required { name: "topic" });
    }
    Ok(config)
}

fn check_unkept(what: &str, name: &str, value: &Value) -> Result<(), StorageError> {
    let says_nothing = match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        _ => false,
    };
    if says_nothing || (TOLD.contains(&name) && name != "acl") {
        return Ok(());
    }
    Err(StorageError::not_implemented(format!("the {what} field `{name}`")))
}

fn text(name: &str, value: &Value) -> Result<Option<String>, StorageError> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        other => Err(StorageError::invalid(format!("Invalid value for field '{name}': {other}"))),
    }
}

fn time(name: &str, value: &Value) -> Result<Option<SystemTime>, StorageError> {
    let Some(text) = text(name, value)? else { return Ok(None) };
    let read = text.parse::<Timestamp>().ok().and_then(|timestamp| timestamp.try_into().ok());
    read.map(Some).ok_or_else(|| StorageError::invalid(format!("Invalid value for field '{name}': {text}")))
}

/// `null` clears the map; an entry that is `null` goes; the others are set.
fn patch_map(map: &mut BTreeMap<String, String>, name: &str, value: &Value) -> Result<(), StorageError> {
    match value {
        Value::Null => map.clear(),
        Value::Object(entries) => {
            for (key, value) in entries {
                match text(key, value)? {
                    Some(text) => map.insert(key.clone(), text),
                    None => map.remove(key),
                };
            }
        }
        other => return Err(StorageError::invalid(format!("Invalid value for field '{name}': {other}"))),
    }
    Ok(())
}

fn base64<const N: usize>(body: &Map<String, Value>, name: &str) -> Result<Option<[u8; N]>, StorageError> {
    let Some(text) = body.get(name).and_then(Value::as_str) else { return Ok(None) };
    let bytes = BASE64.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map(Some).ok_or_else(|| StorageError::invalid(format!("Invalid value for field '{name}': {text}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(start: &ObjectFields, body: Value) -> Result<ObjectFields, StorageError> {
        let mut fields = start.clone();
        patch_object(&mut fields, body.as_object().unwrap())?;
        Ok(fields)
    }

    #[test]
    fn null_takes_away_and_the_rest_stays() {
        let body = json!({ "contentType": "text/x-lua", "metadata": { "author": "ada", "rev": "1" } });
        let start = patched(&ObjectFields::default(), body).unwrap();

        let fields = patched(&start, json!({ "contentType": null, "metadata": { "rev": null } })).unwrap();

        assert_eq!(fields.content_type, None);
        assert_eq!(fields.metadata, [("author".to_owned(), "ada".to_owned())].into());
    }

    #[test]
    fn a_field_that_is_not_kept_is_refused_and_a_told_one_ignored() {
        let start = ObjectFields::default();

        assert_eq!(patched(&start, json!({ "temporaryHold": true })).unwrap_err().http_status(), 501);
        assert_eq!(patched(&start, json!({ "acl": [{ "role": "OWNER" }] })).unwrap_err().http_status(), 501);
        assert_eq!(patched(&start, json!({ "generation": "7", "temporaryHold": false })), Ok(start));
    }

    #[test]
    fn checksums_come_from_body_and_header() {
        let body = json!({ "crc32c": "AAAABw==" });

        let from_body = checksums(body.as_object().unwrap()).unwrap();
        let from_header = checksums_of_header("crc32c=AAAABw==,md5=AAAAAAAAAAAAAAAAAAAAAA==").unwrap();

        assert_eq!(from_body, Checksums { crc32c: Some(7), md5: None });
        assert_eq!(from_header, Checksums { crc32c: Some(7), md5: Some([0; 16]) });
        assert!(checksums_of_header("crc32c=AAAA").is_err());
    }
}
