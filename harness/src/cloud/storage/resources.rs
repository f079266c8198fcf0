//! Buckets, objects and notification configurations as the JSON resources of Google's API.
//!
//! Fields: <https://cloud.google.com/storage/docs/json_api/v1>.

use data_encoding::BASE64;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::bucket::{BucketInfo, NotificationConfig};
use super::lifecycle;
use super::object::Object;
use crate::cloud::{PROJECT_NUMBER, time_text};

/// The text that changes whenever a generation or its metadata do.
pub(super) fn object_etag(object: &Object) -> String {
    BASE64.encode(format!("{}/{}", object.generation, object.metageneration).as_bytes())
}

/// `storage#object`.
pub(super) fn object_resource(object: &Object, base_url: &str) -> Value {
    let (bucket, name) = (&object.bucket, encode(&object.name));
    let generation = object.generation;
    let fields = &object.fields;
    let mut resource = json!({
        "kind": "storage#object",
        "id": format!("{bucket}/{}/{generation}", object.name),
        "selfLink": format!("{base_url}/storage/v1/b/{bucket}/o/{name}"),
        "mediaLink": format!("{base_url}/download/storage/v1/b/{bucket}/o/{name}?generation={generation}&alt=media"),
        "name": object.name,
        "bucket": bucket,
        "generation": generation.to_string(),
        "metageneration": object.metageneration.to_string(),
        "storageClass": fields.storage_class.as_deref().unwrap_or("STANDARD"),
        "size": object.data.len().to_string(),
        "crc32c": BASE64.encode(&object.crc32c.to_be_bytes()),
        "etag": object_etag(object),
        "timeCreated": time_text(object.created),
        "timeFinalized": time_text(object.created),
        "timeStorageClassUpdated": time_text(object.created),
        "updated": time_text(object.updated),
    });
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            resource[name] = value;
        }
    };
    set("md5Hash", object.md5.map(|md5| BASE64.encode(&md5).into()));
    set("componentCount", object.component_count.map(Value::from));
    set("timeDeleted", object.deleted.map(|time| time_text(time).into()));
    set("contentType", fields.content_type.clone().map(Value::from));
    set("contentEncoding", fields.content_encoding.clone().map(Value::from));
    set("contentDisposition", fields.content_disposition.clone().map(Value::from));
    set("contentLanguage", fields.content_language.clone().map(Value::from));
    set("cacheControl", fields.cache_control.clone().map(Value::from));
    set("customTime", fields.custom_time.map(|time| time_text(time).into()));
    set("metadata", (!fields.metadata.is_empty()).then(|| json!(fields.metadata)));
    resource
}

/// `storage#bucket`.
pub(super) fn bucket_resource(bucket: &BucketInfo, base_url: &str) -> Value {
    let fields = &bucket.fields;
    let mut resource = json!({
        "kind": "storage#bucket",
        "id": bucket.name,
        "selfLink": format!("{base_url}/storage/v1/b/{}", bucket.name),
        "name": bucket.name,
        "projectNumber": PROJECT_NUMBER,
        "metageneration": bucket.metageneration.to_string(),
        "etag": BASE64.encode(bucket.metageneration.to_string().as_bytes()),
        "location": fields.location,
        "locationType": location_type(&fields.location),
        "storageClass": fields.storage_class,
        "timeCreated": time_text(bucket.created),
        "updated": time_text(bucket.updated),
        "versioning": { "enabled": fields.versioning },
        "iamConfiguration": {
            "uniformBucketLevelAccess": { "enabled": fields.uniform_access },
            "publicAccessPrevention": fields.public_access_prevention,
        },
        "softDeletePolicy": { "retentionDurationSeconds": fields.soft_delete.as_secs().to_string() },
    });
    if !fields.lifecycle.is_empty() {
        resource["lifecycle"] = lifecycle::told(&fields.lifecycle);
    }
    if !fields.labels.is_empty() {
        resource["labels"] = json!(fields.labels);
    }
    resource
}

/// `multi-region`, `dual-region` or `region`, from the location's name.
pub(super) fn location_type(location: &str) -> &'static str {
    match location {
        "US" | "EU" | "ASIA" => "multi-region",
        "NAM4" | "EUR4" | "ASIA1" => "dual-region",
        _ => "region",
    }
}

/// `storage#notification`.
pub(super) fn notification_resource(bucket: &str, config: &NotificationConfig, base_url: &str) -> Value {
    let mut resource = Map::new();
    let mut set = |name: &str, value: Value| resource.insert(name.to_owned(), value);
    set("kind", "storage#notification".into());
    set("id", config.id.to_string().into());
    set("selfLink", format!("{base_url}/storage/v1/b/{bucket}/notificationConfigs/{}", config.id).into());
    set("topic", format!("//pubsub.googleapis.com/{}", config.topic).into());
    set("payload_format", config.payload.as_str().into());
    set("etag", config.id.to_string().into());
    if !config.event_types.is_empty() {
        let names: Vec<&str> = config.event_types.iter().map(|event| event.as_str()).collect();
        set("event_types", json!(names));
    }
    if !config.object_name_prefix.is_empty() {
        set("object_name_prefix", config.object_name_prefix.clone().into());
    }
    if !config.custom_attributes.is_empty() {
        set("custom_attributes", json!(config.custom_attributes));
    }
    Value::Object(resource)
}

fn encode(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}
