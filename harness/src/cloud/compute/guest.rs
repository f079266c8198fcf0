//! Guest attributes: what a machine says about itself, written through its metadata server, read through the API.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::path::Path;

/// Attributes of one instance at most, and bytes of one value at most. Google bounds the rate, too; this does not.
const ATTRIBUTES_MAX: usize = 1000;
const VALUE_BYTES_MAX: usize = 32 * 1024;

/// Attributes by instance, namespace and key.
#[derive(Debug, Default)]
pub(in crate::cloud) struct GuestAttributes(BTreeMap<Path, BTreeMap<(String, String), String>>);

impl GuestAttributes {
    /// Writes one attribute; `false`: it is too large, or there are too many.
    pub(in crate::cloud) fn put(&mut self, instance: &Path, namespace: &str, key: &str, value: &str) -> bool {
        let attributes = self.0.entry(instance.clone()).or_default();
        let name = (namespace.to_owned(), key.to_owned());
        if value.len() > VALUE_BYTES_MAX || (attributes.len() >= ATTRIBUTES_MAX && !attributes.contains_key(&name)) {
            return false;
        }
        attributes.insert(name, value.to_owned());
        true
    }

    /// Removes one attribute; `false`: it was not there.
    pub(in crate::cloud) fn delete(&mut self, instance: &Path, namespace: &str, key: &str) -> bool {
        let attributes = self.0.get_mut(instance);
        attributes.is_some_and(|attributes| attributes.remove(&(namespace.to_owned(), key.to_owned())).is_some())
    }

    /// All attributes of an instance in order of namespace and key.
    pub(in crate::cloud) fn of(&self, instance: &Path) -> impl Iterator<Item = (&str, &str, &str)> {
        let attributes = self.0.get(instance).into_iter().flatten();
        attributes.map(|((namespace, key), value)| (namespace.as_str(), key.as_str(), value.as_str()))
    }

    pub(super) fn forget(&mut self, instance: &Path) {
        self.0.remove(instance);
    }

    /// Answers `getGuestAttributes`: one variable (`NAMESPACE/KEY`), or all below a path (`NAMESPACE/` or nothing).
    /// `None`: there is nothing.
    pub(super) fn told(&self, instance: &Path, query_path: &str, variable: Option<&str>) -> Option<Value> {
        let link = format!("{}/guestAttributes", instance.link());
        if let Some(variable) = variable {
            let (namespace, key) = variable.split_once('/')?;
            let (.., value) = self.of(instance).find(|found| (found.0, found.1) == (namespace, key))?;
            return Some(json!({
                "kind": "compute#guestAttributes", "variableKey": variable, "variableValue": value,
                "selfLink": format!("{link}/{variable}"),
            }));
        }
        let wanted = |namespace: &str, key: &str| format!("{namespace}/{key}").starts_with(query_path);
        let items = self.of(instance).filter(|(namespace, key, _)| wanted(namespace, key));
        let items: Vec<Value> = items
            .map(|(namespace, key, value)| json!({ "namespace": namespace, "key": key, "value": value }))
            .collect();
        (!items.is_empty()).then(|| {
            json!({
                "kind": "compute#guestAttributes", "queryPath": query_path, "queryValue": { "items": items },
                "selfLink": format!("{link}/{query_path}"),
            })
        })
    }
}
