//! How a resource is told: what was said, what Google adds, and what follows from other resources.

use serde_json::{Value, json};

use super::collections::Collection;
use super::fingerprint;
use super::path::{Scope, scope_link};
use super::state::{Resource, State};
use crate::cloud::time_text;

impl State {
    /// The resource as the API answers it.
    pub(in crate::cloud) fn told(&self, resource: &Resource) -> Value {
        let path = &resource.path;
        let singular = Collection::find(&path.collection).map_or("", |collection| collection.singular);
        let mut told = resource.body.clone();
        let mut set = |field: &str, value: Value| told.insert(field.to_owned(), value);
        set("kind", format!("compute#{singular}").into());
        set("id", resource.id.to_string().into());
        set("name", path.name.clone().into());
        set("selfLink", path.link().into());
        set("creationTimestamp", time_text(resource.created).into());
        let home = scope_link(&path.project, &path.scope);
        match path.scope {
            Scope::Global => {}
            Scope::Region(_) => drop(set("region", home.into())),
            Scope::Zone(_) => drop(set("zone", home.into())),
        }
        let users = |collection: &str| -> Value {
            let link = path.link();
            let users = self.resources.values().filter(|user| {
                user.path.collection == collection && user.body.values().any(|value| value.to_string().contains(&link))
            });
            users.map(|user| Value::from(user.path.link())).collect()
        };
        match path.collection.as_str() {
            "networks" => {
                let link = path.link();
                let subnetworks = self
                    .resources
                    .values()
                    .filter(|found| found.path.collection == "subnetworks" && found.text("network") == link);
                let links: Vec<String> = subnetworks.map(|found| found.path.link()).collect();
                if !links.is_empty() {
                    set("subnetworks", json!(links));
                }
                set("selfLinkWithId", path.link().replace(&path.name, &resource.id.to_string()).into());
            }
            "subnetworks" => {
                set("fingerprint", fingerprint::of_body(resource).into());
                let range = resource.text("ipCidrRange").parse::<ipnet::Ipv4Net>();
                if let Some(gateway) = range.ok().and_then(|range| range.hosts().next()) {
                    set("gatewayAddress", gateway.to_string().into());
                }
            }
            "disks" => {
                if let Value::Array(users) = users("instances")
                    && !users.is_empty()
                {
                    set("users", users.into());
                }
            }
            "addresses" => {
                let address = resource.text("address").parse().ok();
                let user = address.and_then(|address| self.instance_at(resource.text("subnetwork"), address));
                if let Some(user) = user {
                    set("users", json!([user.path.link()]));
                    set("status", "IN_USE".into());
                }
            }
            "instances" => {
                for field in ["metadata", "tags"] {
                    let mut value = resource.body.get(field).cloned().unwrap_or_else(|| json!({}));
                    value["fingerprint"] = fingerprint::of(&resource.body[field]).into();
                    if field == "metadata" {
                        value["kind"] = "compute#metadata".into();
                    }
                    set(field, value);
                }
                set("startRestricted", false.into());
            }
            _ => {}
        }
        if matches!(path.collection.as_str(), "instances" | "disks" | "addresses") {
            let labels = resource.body.get("labels").cloned().unwrap_or_else(|| json!({}));
            told.insert("labelFingerprint".into(), fingerprint::of(&labels).into());
        }
        Value::Object(told)
    }
}
