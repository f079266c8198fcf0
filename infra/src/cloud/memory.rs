//! A cloud in memory, strict where Google is, that can fail and die.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::{Cloud, CloudError, Fault, Live, Owner};
use crate::engine::testing::Fuse;
use crate::resource::{Id, Resource, Spec};

#[derive(Clone, Default)]
pub(crate) struct MemoryCloud {
    inner: Arc<Mutex<Inner>>,
    pub(crate) fuse: Fuse,
}

#[derive(Default)]
struct Inner {
    /// A binding is what it says, so its identity is its contents: two under one id can be there.
    things: BTreeMap<(Id, String), Live>,
    faults: HashMap<Id, Vec<Fault>>,
    /// Every id and request that made something.
    made: Vec<(Id, Uuid)>,
}

fn key(id: &Id, spec: &Spec) -> (Id, String) {
    let identity = if crate::resource::made_before_old_is_deleted(id.kind) {
        serde_json::to_string(spec).unwrap_or_default()
    } else {
        String::new()
    };
    (id.clone(), identity)
}

impl MemoryCloud {
    pub(crate) fn with_fuse(&self, fuse: Fuse) -> Self {
        Self { inner: Arc::clone(&self.inner), fuse }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn fail(&self, id: &str, faults: &[Fault]) {
        self.lock().faults.insert(id.parse().expect("an id"), faults.to_vec());
    }

    /// As if by hand.
    pub(crate) fn put(&self, resource: &Resource, owner: Owner) {
        let live = Live { spec: resource.spec.clone(), owner };
        self.lock().things.insert(key(&resource.id, &resource.spec), live);
    }

    /// As if by hand.
    pub(crate) fn remove(&self, id: &str) {
        let id: Id = id.parse().expect("an id");
        self.lock().things.retain(|(found, _), _| *found != id);
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.lock().things.keys().map(|(id, _)| id.to_string()).collect()
    }

    pub(crate) fn specs(&self) -> Vec<(Id, Spec)> {
        self.lock().things.iter().map(|((id, _), live)| (id.clone(), live.spec.clone())).collect()
    }

    pub(crate) fn made(&self) -> usize {
        self.lock().made.len()
    }

    fn failing(&self, operation: &'static str, id: &Id) -> Result<(), CloudError> {
        let mut inner = self.lock();
        let Some(faults) = inner.faults.get_mut(id).filter(|faults| !faults.is_empty()) else { return Ok(()) };
        Err(error(operation, id, faults.remove(0), "as the test wants it"))
    }
}

fn error(operation: &'static str, id: &Id, fault: Fault, reason: &str) -> CloudError {
    CloudError { operation, id: id.clone(), fault, reason: reason.to_owned() }
}

impl Cloud for MemoryCloud {
    async fn read(&self, resource: &Resource) -> Result<Option<Live>, CloudError> {
        Ok(self.lock().things.get(&key(&resource.id, &resource.spec)).cloned())
    }

    async fn create(&self, resource: &Resource, request: Uuid) -> Result<(), CloudError> {
        let id = &resource.id;
        self.fuse
            .around(|| {
                self.failing("make", id)?;
                let mut inner = self.lock();
                if let Some(missing) = resource
                    .spec
                    .references()
                    .iter()
                    .find(|wanted| !inner.things.keys().any(|(found, _)| found == *wanted))
                {
                    return Err(error("make", id, Fault::Refused, &format!("there is no {missing}")));
                }
                let key = key(id, &resource.spec);
                if inner.things.contains_key(&key) {
                    let repeated = inner.made.contains(&(id.clone(), request));
                    return if repeated { Ok(()) } else { Err(error("make", id, Fault::Exists, "there is one")) };
                }
                inner.made.push((id.clone(), request));
                inner.things.insert(key, Live { spec: resource.spec.clone(), owner: Owner::Us });
                Ok(())
            })
            .await
    }

    async fn update(&self, resource: &Resource, _fields: &[String], _request: Uuid) -> Result<(), CloudError> {
        let id = &resource.id;
        self.fuse
            .around(|| {
                self.failing("change", id)?;
                let mut inner = self.lock();
                let live = inner.things.get_mut(&key(id, &resource.spec));
                let live = live.ok_or_else(|| error("change", id, Fault::Refused, "there is none"))?;
                live.spec = resource.spec.clone();
                Ok(())
            })
            .await
    }

    async fn delete(&self, resource: &Resource, _request: Uuid) -> Result<(), CloudError> {
        let id = &resource.id;
        self.fuse
            .around(|| {
                self.failing("delete", id)?;
                let mut inner = self.lock();
                let user = inner.things.iter().find(|(_, live)| live.spec.references().contains(id));
                if let Some(((user, _), _)) = user {
                    return Err(error("delete", id, Fault::Refused, &format!("it is used by {user}")));
                }
                inner.things.remove(&key(id, &resource.spec));
                Ok(())
            })
            .await
    }
}
