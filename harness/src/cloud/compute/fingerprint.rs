//! Fingerprints: short texts that change whenever the thing does, so that a writer who read an old one is refused.

use data_encoding::BASE64;
use serde_json::Value;

use super::state::Resource;

/// The fingerprint of metadata, tags or labels. Of equal content it is equal, as at Google.
pub(super) fn of(value: &Value) -> String {
    digest(&value.to_string())
}

/// The fingerprint of a whole resource, by which subnetworks are patched.
pub(super) fn of_body(resource: &Resource) -> String {
    digest(&format!("{}{}", resource.id, Value::Object(resource.body.clone())))
}

fn digest(text: &str) -> String {
    let bytes = md5::compute(text).0;
    BASE64.encode(&bytes[..8])
}
