//! What was made: a cache of the cloud, and the only place that remembers what is no longer desired.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Store, StoreError};
use crate::resource::{Id, Resource};

const OBJECT: &str = "state.json";
const FORMAT: u32 = 1;

/// What was made. Never a secret: templates have none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The form of this document.
    pub format: u32,
    /// Which stack.
    pub stack: String,
    /// Grows with every run that changes anything, and is taken at its begin: who writes with an older one is too late.
    pub serial: u64,
    /// By id, as they were when they were made or changed last.
    #[serde(with = "by_id")]
    pub resources: BTreeMap<Id, Resource>,
}

/// A state, and the write it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Versioned {
    /// The state.
    pub state: State,
    /// 0: it was never written.
    pub generation: i64,
}

/// A state that can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not what this program wrote.
    #[error(
        "the state can't be understood: {reason}. The bucket keeps its older versions; `gcloud storage cp` brings one back"
    )]
    Form {
        /// Why.
        reason: String,
    },
}

impl Versioned {
    /// The state of this stack; an empty one if none was written yet.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn load<S: Store>(store: &S, stack: &str) -> Result<Self, StateError> {
        let Some(object) = store.get(OBJECT).await? else {
            let state = State { format: FORMAT, stack: stack.to_owned(), serial: 0, resources: BTreeMap::new() };
            return Ok(Self { state, generation: 0 });
        };
        let form = |reason: String| StateError::Form { reason };
        let state: State = serde_json::from_slice(&object.bytes).map_err(|err| form(err.to_string()))?;
        if state.format != FORMAT {
            return Err(form(format!("its format is {}, this program knows {FORMAT}", state.format)));
        }
        if state.stack != stack {
            return Err(form(format!("it is of the stack `{}`, not of `{stack}`", state.stack)));
        }
        Ok(Self { state, generation: object.generation })
    }

    /// Writes it, if nobody did since it was read.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn save<S: Store>(&mut self, store: &S) -> Result<(), StateError> {
        let bytes =
            serde_json::to_vec_pretty(&self.state).map_err(|err| StateError::Form { reason: err.to_string() })?;
        self.generation = store.put(OBJECT, bytes, self.generation).await?;
        Ok(())
    }
}

/// A list in the document, a map in memory: the id stands in the resource already.
mod by_id {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::resource::{Id, Resource};

    pub(super) fn serialize<S: Serializer>(map: &BTreeMap<Id, Resource>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map.values())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<Id, Resource>, D::Error> {
        let list = Vec::<Resource>::deserialize(from)?;
        Ok(list.into_iter().map(|resource| (resource.id.clone(), resource)).collect())
    }
}
