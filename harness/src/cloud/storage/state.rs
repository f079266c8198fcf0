//! Buckets, objects and generations: a pure state machine. Time is passed in; nothing here waits, logs or sends.
//!
//! Every change is remembered as notifications for the topics that the bucket's configurations name; who holds the
//! state takes them with [`State::take_notifications`] and sends them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::bucket::{Bucket, BucketFields, BucketInfo, BucketPreconditions, EventType, NotificationConfig, Versions};
use super::error::StorageError;
use super::events::{Change, Notification, notifications_of};
use super::names::{check_bucket, check_object};
use super::object::{Checksums, Object, ObjectFields, ObjectReference, Preconditions};

/// Google's bound: <https://cloud.google.com/storage/quotas#buckets>.
const NOTIFICATIONS_PER_BUCKET_MAX: usize = 100;

/// All buckets of the local cloud.
#[derive(Debug)]
pub(super) struct State {
    buckets: BTreeMap<String, Bucket>,
    generation_last: i64,
    notifications: Vec<Notification>,
    /// Where links in resources point.
    base_url: String,
}

/// An object that is to be written.
#[derive(Debug, Clone)]
pub(super) struct NewObject {
    pub(super) bucket: String,
    pub(super) name: String,
    pub(super) fields: ObjectFields,
    pub(super) data: Bytes,
    /// What the writer says the checksums are.
    pub(super) checksums: Checksums,
    /// For composed objects.
    pub(super) component_count: Option<i32>,
}

impl State {
    pub(super) fn new(base_url: String) -> Self {
        Self { buckets: BTreeMap::new(), generation_last: 0, notifications: Vec::new(), base_url }
    }

    /// What the changes since the last call have to tell, in order.
    pub(super) fn take_notifications(&mut self) -> Vec<Notification> {
        std::mem::take(&mut self.notifications)
    }

    pub(super) fn create_bucket(
        &mut self,
        name: &str,
        project: &str,
        fields: BucketFields,
        now: SystemTime,
    ) -> Result<BucketInfo, StorageError> {
        check_bucket(name)?;
        if project.is_empty() {
            return Err(StorageError::Required { name: "project" });
        }
        if self.buckets.contains_key(name) {
            return Err(StorageError::BucketExists { bucket: name.to_owned() });
        }
        let info = BucketInfo {
            name: name.to_owned(),
            project: project.to_owned(),
            metageneration: 1,
            fields,
            created: now,
            updated: now,
        };
        let bucket = Bucket {
            info: info.clone(),
            objects: BTreeMap::new(),
            notifications: BTreeMap::new(),
            notification_id_last: 0,
        };
        self.buckets.insert(name.to_owned(), bucket);
        Ok(info)
    }

    pub(super) fn bucket(&self, name: &str) -> Result<&Bucket, StorageError> {
        self.buckets.get(name).ok_or_else(|| StorageError::NoSuchBucket { bucket: name.to_owned() })
    }

    fn bucket_mut(&mut self, name: &str) -> Result<&mut Bucket, StorageError> {
        self.buckets.get_mut(name).ok_or_else(|| StorageError::NoSuchBucket { bucket: name.to_owned() })
    }

    /// Buckets of a project by name; `-` stands for every project.
    pub(super) fn buckets<'a>(&'a self, project: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a BucketInfo> {
        let infos = self.buckets.values().map(|bucket| &bucket.info);
        infos.filter(move |info| (project == "-" || info.project == project) && info.name.starts_with(prefix))
    }

    pub(super) fn update_bucket(
        &mut self,
        name: &str,
        preconditions: BucketPreconditions,
        change: impl FnOnce(&mut BucketFields) -> Result<(), StorageError>,
        now: SystemTime,
    ) -> Result<BucketInfo, StorageError> {
        let bucket = self.bucket_mut(name)?;
        preconditions.check(&bucket.info)?;
        let mut fields = bucket.info.fields.clone();
        change(&mut fields)?;
        bucket.info.fields = fields;
        bucket.info.metageneration += 1;
        bucket.info.updated = now;
        Ok(bucket.info.clone())
    }

    /// Removes a bucket. With `force` its objects go with it, and nobody is told.
    pub(super) fn delete_bucket(
        &mut self,
        name: &str,
        preconditions: BucketPreconditions,
        force: bool,
    ) -> Result<(), StorageError> {
        let bucket = self.bucket(name)?;
        preconditions.check(&bucket.info)?;
        let objects = bucket.objects.values().flat_map(Versions::all).count();
        if objects > 0 && !force {
            return Err(StorageError::BucketNotEmpty { bucket: name.to_owned(), objects });
        }
        self.buckets.remove(name);
        Ok(())
    }

    pub(super) fn find(
        &self,
        reference: &ObjectReference,
        preconditions: Preconditions,
    ) -> Result<Arc<Object>, StorageError> {
        let versions = self.bucket(&reference.bucket)?.objects.get(&reference.name);
        let found = versions.and_then(|versions| match reference.generation {
            None => versions.live.as_ref(),
            Some(generation) => versions.all().find(|object| object.generation == generation),
        });
        let object = found.ok_or_else(|| reference.missing())?;
        preconditions.check_read(object)?;
        Ok(Arc::clone(object))
    }

    /// Checks what [`State::put`] would check before the bytes are here.
    pub(super) fn check_put(&self, bucket: &str, name: &str, preconditions: Preconditions) -> Result<(), StorageError> {
        check_object(name)?;
        let live = self.bucket(bucket)?.objects.get(name).and_then(|versions| versions.live.as_deref());
        preconditions.check_write(live)
    }

    pub(super) fn put(
        &mut self,
        new: NewObject,
        preconditions: Preconditions,
        now: SystemTime,
    ) -> Result<Arc<Object>, StorageError> {
        self.check_put(&new.bucket, &new.name, preconditions)?;
        new.checksums.check(&new.data)?;
        new.fields.check()?;
        let generation = self.next_generation(now);
        let object = Arc::new(Object {
            generation,
            metageneration: 1,
            crc32c: crc32c::crc32c(&new.data),
            md5: new.component_count.is_none().then(|| md5::compute(&new.data).0),
            component_count: new.component_count,
            created: now,
            updated: now,
            deleted: None,
            bucket: new.bucket,
            name: new.name,
            fields: new.fields,
            data: new.data,
        });
        let bucket = self.bucket_mut(&object.bucket)?;
        let versions = bucket.objects.entry(object.name.clone()).or_default();
        let overwritten = versions.live.replace(Arc::clone(&object));
        let overwrote = overwritten.as_ref().map(|old| old.generation);
        self.record(Change { overwrote, ..Change::new(EventType::Finalize, &object, now) });
        if let Some(old) = overwritten {
            self.retire(old, Some(generation), now);
        }
        Ok(object)
    }

    /// Without a generation the live version goes (and stays as a noncurrent one in a versioned bucket); with one, that
    /// generation goes for good.
    pub(super) fn delete(
        &mut self,
        reference: &ObjectReference,
        preconditions: Preconditions,
        now: SystemTime,
    ) -> Result<(), StorageError> {
        let object = self.find_to_write(reference, preconditions)?;
        let bucket = self.bucket_mut(&reference.bucket)?;
        if let Some(versions) = bucket.objects.get_mut(&reference.name) {
            versions.live.take_if(|live| live.generation == object.generation);
            versions.noncurrent.retain(|old| old.generation != object.generation);
        }
        if reference.generation.is_none() {
            self.retire(object, None, now);
        } else {
            self.record(Change::new(EventType::Delete, &object, now));
        }
        let bucket = self.bucket_mut(&reference.bucket)?;
        if bucket.objects.get(&reference.name).is_some_and(Versions::is_empty) {
            bucket.objects.remove(&reference.name);
        }
        Ok(())
    }

    pub(super) fn update(
        &mut self,
        reference: &ObjectReference,
        preconditions: Preconditions,
        change: impl FnOnce(&mut ObjectFields) -> Result<(), StorageError>,
        now: SystemTime,
    ) -> Result<Arc<Object>, StorageError> {
        let mut object = Object::clone(&*self.find_to_write(reference, preconditions)?);
        change(&mut object.fields)?;
        object.fields.check()?;
        object.metageneration += 1;
        object.updated = now;
        let object = Arc::new(object);
        if let Some(versions) = self.bucket_mut(&object.bucket)?.objects.get_mut(&object.name) {
            let mut slots = versions.noncurrent.iter_mut().chain(&mut versions.live);
            if let Some(slot) = slots.find(|slot| slot.generation == object.generation) {
                *slot = Arc::clone(&object);
            }
        }
        self.record(Change::new(EventType::MetadataUpdate, &object, now));
        Ok(object)
    }

    /// As [`State::find`], but a `…NotMatch` that does not hold is a failed condition.
    pub(super) fn find_to_write(
        &self,
        reference: &ObjectReference,
        preconditions: Preconditions,
    ) -> Result<Arc<Object>, StorageError> {
        let object = self.find(reference, Preconditions::default())?;
        preconditions.check_write(Some(&object))?;
        Ok(object)
    }

    pub(super) fn add_notification(
        &mut self,
        bucket: &str,
        mut config: NotificationConfig,
    ) -> Result<NotificationConfig, StorageError> {
        let bucket = self.bucket_mut(bucket)?;
        if bucket.notifications.len() >= NOTIFICATIONS_PER_BUCKET_MAX {
            let message = format!("Too many notification configurations: the bound is {NOTIFICATIONS_PER_BUCKET_MAX}");
            return Err(StorageError::invalid(message));
        }
        bucket.notification_id_last += 1;
        config.id = bucket.notification_id_last;
        bucket.notifications.insert(config.id, config.clone());
        Ok(config)
    }

    pub(super) fn notification(&self, bucket: &str, id: &str) -> Result<&NotificationConfig, StorageError> {
        let configs = &self.bucket(bucket)?.notifications;
        let found = id.parse::<u64>().ok().and_then(|id| configs.get(&id));
        found.ok_or_else(|| StorageError::NoSuchNotification { bucket: bucket.to_owned(), id: id.to_owned() })
    }

    pub(super) fn delete_notification(&mut self, bucket: &str, id: &str) -> Result<(), StorageError> {
        let id = self.notification(bucket, id)?.id;
        self.bucket_mut(bucket)?.notifications.remove(&id);
        Ok(())
    }

    /// Generations look like microseconds since 1970, as at Google, and only ever grow.
    fn next_generation(&mut self, now: SystemTime) -> i64 {
        let since_1970 = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let microseconds = i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX);
        self.generation_last = microseconds.max(self.generation_last + 1);
        self.generation_last
    }

    /// Takes a generation that is live no more to its place: among the noncurrent ones, or away.
    fn retire(&mut self, object: Arc<Object>, overwritten_by: Option<i64>, now: SystemTime) {
        let Some(bucket) = self.buckets.get_mut(&object.bucket) else { return };
        let event = if bucket.info.fields.versioning {
            let noncurrent = Arc::new(Object { deleted: Some(now), ..Object::clone(&object) });
            bucket.objects.entry(object.name.clone()).or_default().noncurrent.push(noncurrent);
            EventType::Archive
        } else {
            EventType::Delete
        };
        self.record(Change { overwritten_by, ..Change::new(event, &object, now) });
    }

    fn record(&mut self, change: Change<'_>) {
        if let Some(bucket) = self.buckets.get(&change.object.bucket) {
            self.notifications.extend(notifications_of(&change, bucket.notifications.values(), &self.base_url));
        }
    }
}
