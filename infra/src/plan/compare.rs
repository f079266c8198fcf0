//! Which fields differ.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::resource::{self, Effect, Spec};

/// A field that is not what it should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Its name; `metadata.KEY` for metadata.
    pub field: String,
    /// What it is; `None` if there is nothing.
    pub old: Option<Value>,
    /// What it should be; `None` if nothing.
    pub new: Option<Value>,
    /// What changing it does.
    pub effect: Effect,
}

/// The fields of `live` that are not as in `desired`. What is not desired is left as the cloud has it, unless it was
/// desired when the resource was made or changed last.
pub(crate) fn compare(live: &Spec, desired: &Spec, recorded: Option<&Spec>) -> Vec<Change> {
    let kind = desired.kind();
    let (live, mut desired) = (resource::fields(live), resource::fields(desired));
    let mut wanted: Vec<(String, Option<Value>)> = Vec::new();
    for field in recorded.map(resource::fields).unwrap_or_default().into_keys() {
        if !desired.contains_key(&field) && live.contains_key(&field) {
            wanted.push((field, None));
        }
    }
    wanted.extend(std::mem::take(&mut desired).into_iter().map(|(field, value)| (field, Some(value))));
    wanted.sort_by(|a, b| a.0.cmp(&b.0));
    wanted
        .into_iter()
        .filter(|(field, new)| live.get(field) != new.as_ref())
        .map(|(field, new)| {
            let old = live.get(&field).cloned();
            let effect = resource::effect(kind, &field, old.as_ref(), new.as_ref());
            Change { field, old, new, effect }
        })
        .collect()
}

/// Nothing that is desired differs.
pub(crate) fn same(live: &Spec, desired: &Spec) -> bool {
    compare(live, desired, None).is_empty()
}
