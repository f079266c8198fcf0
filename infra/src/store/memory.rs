//! A store in memory that can die at any of its writes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Object, Store, StoreError};
use crate::engine::testing::Fuse;

#[derive(Clone, Default)]
pub(crate) struct MemoryStore {
    objects: Arc<Mutex<BTreeMap<String, Object>>>,
    pub(crate) fuse: Fuse,
}

impl MemoryStore {
    pub(crate) fn with_fuse(&self, fuse: Fuse) -> Self {
        Self { objects: Arc::clone(&self.objects), fuse }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Object>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, object: &str, generation: i64) -> Result<(), StoreError> {
        let found = self.lock().get(object).map_or(0, |object| object.generation);
        if found == generation { Ok(()) } else { Err(StoreError::Conflict(object.to_owned())) }
    }
}

impl Store for MemoryStore {
    async fn get(&self, object: &str) -> Result<Option<Object>, StoreError> {
        Ok(self.lock().get(object).cloned())
    }

    async fn put(&self, object: &str, bytes: Vec<u8>, generation: i64) -> Result<i64, StoreError> {
        self.fuse
            .around(|| {
                self.check(object, generation)?;
                let generation = generation + 1;
                self.lock().insert(object.to_owned(), Object { generation, bytes });
                Ok(generation)
            })
            .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, i64)>, StoreError> {
        let objects = self.lock();
        let found = objects.iter().filter(|(name, _)| name.starts_with(prefix));
        Ok(found.map(|(name, object)| (name.clone(), object.generation)).collect())
    }

    async fn delete(&self, object: &str, generation: i64) -> Result<(), StoreError> {
        self.fuse
            .around(|| {
                if self.lock().contains_key(object) {
                    self.check(object, generation)?;
                    self.lock().remove(object);
                }
                Ok(())
            })
            .await
    }
}
