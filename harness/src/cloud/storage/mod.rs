//! Cloud Storage on one machine: a pure state machine, and the two protocols that reach it.
//!
//! [`Storage`] is the handle that both protocols and tests share: it locks the state for one step, hits wire calls with
//! the faults in force, and sends the notifications of a step after the lock is open again.

mod access;
mod bucket;
mod copies;
mod error;
mod events;
pub(super) mod grpc;
pub(super) mod json;
mod lifecycle;
mod listing;
mod names;
mod notifier;
mod object;
mod resources;
mod state;
#[cfg(test)]
mod state_tests;
#[cfg(test)]
mod testing;
mod uploads;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use self::bucket::{BucketFields, BucketPreconditions, NotificationConfig, Payload};
use self::listing::ListQuery;
use self::notifier::Notifier;
use self::object::{Checksums, Object, ObjectFields, ObjectReference, Preconditions};
use self::state::{NewObject, State};
use self::uploads::Uploads;
use super::faults::{FailWhen, FaultPlan, StorageDecision, StorageVerb};
use super::iam::Iam;
use super::pubsub::PubSub;

pub use self::bucket::EventType;
pub use self::error::StorageError;
pub(super) use self::events::Notification;
pub use self::names::NameError;

/// Handle of the local Cloud Storage. Cheap to clone.
///
/// Its public methods are the test's own hand (what `gcloud storage cp` would do): no network, no storage faults.
#[derive(Debug, Clone)]
pub struct Storage {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    uploads: Mutex<Uploads>,
    faults: Arc<FaultPlan>,
    notifier: Notifier,
    pubsub: PubSub,
    iam: Iam,
    base_url: String,
}

/// A live object, as [`Storage::list`] tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Full name.
    pub name: String,
    /// Its live generation.
    pub generation: i64,
    /// Bytes.
    pub size: usize,
}

/// An object's bytes with their generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// The generation.
    pub generation: i64,
    /// The bytes.
    pub data: Bytes,
    /// Custom metadata by name.
    pub metadata: std::collections::BTreeMap<String, String>,
}

impl Storage {
    pub(super) fn new(base_url: String, pubsub: PubSub, iam: Iam, faults: Arc<FaultPlan>) -> Self {
        let shared = Shared {
            state: Mutex::new(State::new(base_url.clone())),
            uploads: Mutex::default(),
            notifier: Notifier::new(pubsub.clone(), iam.clone(), Arc::clone(&faults)),
            faults,
            pubsub,
            iam,
            base_url,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Writes an object, whatever is there. Returns its generation.
    ///
    /// # Errors
    /// The bucket is missing, or the name is against the rules.
    pub fn put(&self, bucket: &str, object: &str, data: impl Into<Bytes>) -> Result<i64, StorageError> {
        let new = NewObject {
            bucket: bucket.to_owned(),
            name: object.to_owned(),
            fields: ObjectFields::default(),
            data: data.into(),
            checksums: Checksums::default(),
            component_count: None,
        };
        let written = self.step(|state, now| state.put(new, Preconditions::default(), now))?;
        Ok(written.generation)
    }

    /// Reads the live generation, or the one that is named.
    ///
    /// # Errors
    /// The bucket, the object or the generation is missing.
    pub fn read(&self, bucket: &str, object: &str, generation: Option<i64>) -> Result<StoredObject, StorageError> {
        let reference = ObjectReference { bucket: bucket.to_owned(), name: object.to_owned(), generation };
        let found = self.step(|state, _| state.find(&reference, Preconditions::default()))?;
        let Object { generation, data, fields, .. } = Object::clone(&found);
        Ok(StoredObject { generation, data, metadata: fields.metadata })
    }

    /// Deletes the live generation; a versioned bucket keeps it as a noncurrent one.
    ///
    /// # Errors
    /// The bucket or the object is missing.
    pub fn delete(&self, bucket: &str, object: &str) -> Result<(), StorageError> {
        let reference = ObjectReference { bucket: bucket.to_owned(), name: object.to_owned(), generation: None };
        self.step(|state, now| state.delete(&reference, Preconditions::default(), now))
    }

    /// All live objects whose name starts with `prefix`, by name.
    ///
    /// # Errors
    /// The bucket is missing.
    pub fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<ListedObject>, StorageError> {
        let mut query = ListQuery { prefix: prefix.to_owned(), ..ListQuery::default() };
        let mut listed = Vec::new();
        loop {
            let page = self.step(|state, _| listing::list(state.bucket(bucket)?, &query))?;
            listed.extend(page.objects.iter().map(|object| ListedObject {
                name: object.name.clone(),
                generation: object.generation,
                size: object.data.len(),
            }));
            match page.next {
                Some(next) => query.page_token = next,
                None => return Ok(listed),
            }
        }
    }

    /// Makes a bucket.
    ///
    /// # Errors
    /// The name is taken or against the rules.
    pub fn create_bucket(&self, project: &str, bucket: &str, versioning: bool) -> Result<(), StorageError> {
        let fields = BucketFields { versioning, ..BucketFields::default() };
        self.step(|state, now| state.create_bucket(bucket, project, fields, now))?;
        Ok(())
    }

    /// Removes a bucket; with `force` also one that holds objects, without a notification about any of them.
    ///
    /// # Errors
    /// The bucket is missing, or holds objects and `force` is off.
    pub fn delete_bucket(&self, bucket: &str, force: bool) -> Result<(), StorageError> {
        self.step(|state, _| state.delete_bucket(bucket, BucketPreconditions::default(), force))
    }

    /// Sends these events of a bucket (all, if none is named) to a topic, `projects/P/topics/T`, with the object's
    /// resource as data. Nothing happens if the bucket has such a configuration for the topic already.
    ///
    /// # Errors
    /// The bucket is missing.
    pub fn notify(&self, bucket: &str, topic: &str, events: &[EventType]) -> Result<(), StorageError> {
        self.step(|state, _| {
            if state.bucket(bucket)?.notifications.values().any(|config| config.topic == topic) {
                return Ok(());
            }
            let config = NotificationConfig {
                id: 0,
                topic: topic.to_owned(),
                payload: Payload::Json,
                event_types: events.to_vec(),
                object_name_prefix: String::new(),
                custom_attributes: std::collections::BTreeMap::new(),
            };
            state.add_notification(bucket, config).map(|_| ())
        })
    }

    /// One call that came over the wire: meets the faults in force.
    fn call<T>(
        &self,
        verb: StorageVerb,
        step: impl FnOnce(&mut State, SystemTime) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        match self.shared.faults.decide_storage(verb) {
            StorageDecision::Pass => self.step(step),
            StorageDecision::Fail { status, when } => {
                if when == FailWhen::After {
                    self.step(step)?;
                }
                Err(StorageError::Injected { status })
            }
        }
    }

    fn step<T>(&self, step: impl FnOnce(&mut State, SystemTime) -> Result<T, StorageError>) -> Result<T, StorageError> {
        let (result, notifications) = {
            let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            let result = step(&mut state, SystemTime::now());
            (result, state.take_notifications())
        };
        for notification in notifications {
            self.shared.notifier.send(notification);
        }
        result
    }

    fn uploads<T>(&self, step: impl FnOnce(&mut Uploads) -> T) -> T {
        step(&mut self.shared.uploads.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
