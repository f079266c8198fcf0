//! What a run is about to do, written down before it does it.
//!
//! An entry that says no more than what was intended is the only trace of a run that was cut off. The cloud is asked
//! then: names are computed, so what was made is found.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Store, StoreError};
use crate::cloud::{Cloud, CloudError, Owner};
use crate::plan::{Action, Step};
use crate::resource::{Id, Resource};

const PREFIX: &str = "journal/";

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It may have been done, or not.
    Intent,
    /// It was done.
    Done,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What is done.
    pub step: Step,
    /// The same in all attempts: the cloud does it once.
    pub request: Uuid,
    /// How far it is.
    pub phase: Phase,
}

impl Entry {
    /// Takes over into the state what this step did, asking the cloud where that was not written down.
    ///
    /// # Errors
    /// [`CloudError`]: the cloud can't say.
    pub async fn settle<C: Cloud>(&self, resources: &mut BTreeMap<Id, Resource>, cloud: &C) -> Result<(), CloudError> {
        let Step { id, action, resource, .. } = &self.step;
        let done = self.phase == Phase::Done;
        match action {
            Action::Create if done || self.is_there(cloud).await? => {
                resources.insert(id.clone(), resource.clone());
            }
            Action::Update | Action::Record if done => {
                resources.insert(id.clone(), resource.clone());
            }
            // A new one may have been made before this old one was deleted.
            Action::Delete
                if resources.get(id).is_some_and(|new| new.spec != resource.spec) && self.step.replaces.is_some() => {}
            Action::Delete | Action::Forget if done || !self.is_there(cloud).await? => {
                resources.remove(id);
            }
            _ => {}
        }
        Ok(())
    }

    async fn is_there<C: Cloud>(&self, cloud: &C) -> Result<bool, CloudError> {
        let live = cloud.read(&self.step.resource).await?;
        Ok(live.is_some_and(|live| !matches!(live.owner, Owner::Other(_))))
    }
}

/// The journal of one run: one object for every step, because an object can be written once a second only.
pub struct Journal<S> {
    store: Arc<S>,
    serial: u64,
}

impl<S: Store> Journal<S> {
    /// The journal of the run with this serial.
    pub fn new(store: Arc<S>, serial: u64) -> Self {
        Self { store, serial }
    }

    fn object(&self, number: usize) -> String {
        format!("{PREFIX}{:010}/{number:05}.json", self.serial)
    }

    /// Writes down what is to be done, and tells the generation for [`Self::done`].
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn intend(&self, number: usize, step: &Step, request: Uuid) -> Result<i64, StoreError> {
        let entry = Entry { step: step.clone(), request, phase: Phase::Intent };
        self.store.put(&self.object(number), bytes(&entry), 0).await
    }

    /// Writes down that it was done.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn done(&self, number: usize, step: &Step, request: Uuid, generation: i64) -> Result<(), StoreError> {
        let entry = Entry { step: step.clone(), request, phase: Phase::Done };
        self.store.put(&self.object(number), bytes(&entry), generation).await.map(drop)
    }

    /// All entries of all runs that were not settled, oldest first, with their objects.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn unsettled(store: &S) -> Result<Vec<(String, i64, Entry)>, StoreError> {
        let mut entries = Vec::new();
        for (name, _) in store.list(PREFIX).await? {
            let Some(object) = store.get(&name).await? else { continue };
            let entry = serde_json::from_slice(&object.bytes).map_err(|err| StoreError::Failed {
                operation: "understand",
                object: name.clone(),
                reason: err.to_string(),
            })?;
            entries.push((name, object.generation, entry));
        }
        Ok(entries)
    }
}

fn bytes(entry: &Entry) -> Vec<u8> {
    serde_json::to_vec(entry).unwrap_or_default()
}
