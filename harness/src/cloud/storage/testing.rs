//! Beginnings for the unit tests of the pure parts.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::bucket::{BucketFields, NotificationConfig, Payload};
use super::object::{Checksums, Object, ObjectFields, Preconditions};
use super::state::{NewObject, State};

/// A clock that stands still: generations must grow all the same.
pub(super) const NOW: SystemTime = SystemTime::UNIX_EPOCH;

/// A state with the bucket `scripts`, whose every event goes to `projects/p/topics/bucket`.
pub(super) fn state_with_bucket(versioning: bool) -> State {
    let mut state = State::new("http://local".into());
    let fields = BucketFields { versioning, ..BucketFields::default() };
    state.create_bucket("scripts", "p", fields, NOW).unwrap();
    let config = NotificationConfig {
        id: 0,
        topic: "projects/p/topics/bucket".into(),
        payload: Payload::None,
        event_types: Vec::new(),
        object_name_prefix: String::new(),
        custom_attributes: [("stack".to_owned(), "dev".to_owned())].into(),
    };
    state.add_notification("scripts", config).unwrap();
    state
}

pub(super) fn new(name: &str, content: &str) -> NewObject {
    NewObject {
        bucket: "scripts".into(),
        name: name.into(),
        fields: ObjectFields::default(),
        data: Bytes::copy_from_slice(content.as_bytes()),
        checksums: Checksums::default(),
        component_count: None,
    }
}

pub(super) fn put(state: &mut State, name: &str, content: &str) -> Arc<Object> {
    state.put(new(name, content), Preconditions::default(), NOW).unwrap()
}

/// Names of all live objects.
pub(super) fn names(state: &State) -> Vec<String> {
    let bucket = state.bucket("scripts").unwrap();
    bucket.objects.iter().filter(|(_, versions)| versions.live.is_some()).map(|(name, _)| name.clone()).collect()
}
