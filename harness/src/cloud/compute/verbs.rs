//! What can be done to a resource that is there: delete, patch, and the verbs of instances and disks.

use serde_json::{Map, Value, json};

use super::collections::Collection;
use super::error::ComputeError;
use super::fingerprint;
use super::insert::{check_fields, firewall, labels, required_text};
use super::instances::{check_metadata, check_tags, disks_to_delete};
use super::machines::Work;
use super::operations::Effect;
use super::path::{Path, Scope};
use super::state::{Change, State};

impl State {
    /// Checks a delete: nothing else may name the resource.
    pub(super) fn delete(&self, path: &Path) -> Result<Change, ComputeError> {
        let resource = self.idle(path)?;
        let singular = Collection::find(&path.collection).map_or("", |collection| collection.singular);
        let in_use = |user: String| ComputeError::InUse { kind: singular.into(), resource: path.to_string(), user };
        if resource.body.get("deletionProtection") == Some(&Value::Bool(true)) {
            let message = format!(
                "Invalid resource usage: 'Resource cannot be deleted if it's protected against deletion. {path}'."
            );
            return Err(ComputeError::Precondition { message });
        }
        if let Some(user) = self.user_of(path) {
            return Err(in_use(user.path.to_string()));
        }
        if path.collection == "addresses" {
            let address = resource.text("address").parse().ok();
            let user = address.and_then(|address| self.instance_at(resource.text("subnetwork"), address));
            if let Some(user) = user {
                return Err(in_use(user.path.to_string()));
            }
        }
        let (mut paths, name) = (vec![path.clone()], path.to_string());
        let work = match path.collection.as_str() {
            "subnetworks" => Work::RemoveNetwork(name),
            "disks" => Work::RemoveDisk(name),
            "instances" => {
                let disks = disks_to_delete(resource);
                paths.extend(disks.iter().cloned());
                Work::Scrap { machine: name, disks: disks.iter().map(Path::to_string).collect() }
            }
            _ => Work::Nothing,
        };
        let former = resource.body.get("status").and_then(Value::as_str).map(str::to_owned);
        Ok(change("delete", path, Effect::Removes { paths, former }, work))
    }

    /// Checks a PATCH (merge) or PUT (replace).
    pub(super) fn patch(&self, path: &Path, mut patch: Map<String, Value>, put: bool) -> Result<Change, ComputeError> {
        let resource = self.idle(path)?;
        let collection = Collection::find(&path.collection).filter(|collection| !collection.changeable.is_empty());
        let collection = collection
            .ok_or_else(|| ComputeError::not_implemented(format!("changes of {} in place", path.collection)))?;
        if collection.fingerprint || patch.get("fingerprint").is_some_and(Value::is_string) {
            check_fingerprint(collection.singular, patch.get("fingerprint"), &fingerprint::of_body(resource))?;
        }
        check_fields(collection.singular, collection.fields, &patch)?;
        self.resolve_references(collection, path, &mut patch)?;
        let mut body = resource.body.clone();
        if put {
            body.retain(|field, _| !collection.changeable.contains(&field.as_str()));
        }
        for (field, value) in patch {
            if collection.changeable.contains(&field.as_str()) {
                merge(body.entry(field).or_insert(Value::Null), value);
            } else if collection.fields.contains(&field.as_str()) && body.get(&field) != Some(&value) {
                return Err(ComputeError::invalid(&field, &value, "The field can not be changed."));
            }
        }
        body.retain(|_, value| !value.is_null());
        if path.collection == "firewalls" {
            firewall(&mut body)?;
        }
        let kind = if put { "update" } else { "patch" };
        Ok(change(kind, path, Effect::Changes { path: path.clone(), body }, Work::Nothing))
    }

    /// Checks a verb, as `setMetadata`. `None`: there is no such verb.
    pub(super) fn verb(
        &self,
        path: &Path,
        verb: &str,
        body: &Map<String, Value>,
    ) -> Option<Result<Change, ComputeError>> {
        Some(match (path.collection.as_str(), verb) {
            ("instances", "start") => self.turn(path, verb, "TERMINATED", "RUNNING", Work::Start(path.to_string())),
            ("instances", "stop") => self.turn(path, verb, "RUNNING", "TERMINATED", Work::Stop(path.to_string())),
            ("instances", "reset") => self.turn(path, verb, "RUNNING", "RUNNING", Work::Reset(path.to_string())),
            ("instances", "setMetadata") => self.set_metadata(path, body),
            ("instances", "setTags") => self.set_tags(path, body),
            ("instances" | "disks" | "addresses", "setLabels") => self.set_labels(path, body),
            ("instances", "setMachineType") => self.set_when_off(path, verb, "machineType", body),
            ("instances", "setServiceAccount") => self.set_when_off(path, verb, "serviceAccounts", body),
            ("instances", "setScheduling") => self.replace(path, verb, |new| {
                let scheduling = new.entry("scheduling").or_insert(Value::Null);
                merge(scheduling, Value::Object(body.clone()));
                Ok(())
            }),
            ("disks", "resize") => self.resize(path, body),
            ("subnetworks", "setPrivateIpGoogleAccess") => self.replace(path, verb, |new| {
                let on = body.get("privateIpGoogleAccess") == Some(&json!(true));
                new.insert("privateIpGoogleAccess".into(), on.into());
                Ok(())
            }),
            _ => return None,
        })
    }

    /// Deletion protection comes as a parameter, not in the body.
    pub(super) fn set_deletion_protection(&self, path: &Path, on: bool) -> Result<Change, ComputeError> {
        self.replace(path, "setDeletionProtection", |new| {
            new.insert("deletionProtection".into(), on.into());
            Ok(())
        })
    }

    /// Whether a disk goes with its instance comes as parameters, too.
    pub(super) fn set_disk_auto_delete(&self, path: &Path, device: &str, on: bool) -> Result<Change, ComputeError> {
        self.replace(path, "setDiskAutoDelete", |new| {
            let disks = new.get_mut("disks").and_then(Value::as_array_mut).into_iter().flatten();
            let disk = disks.into_iter().find(|disk| disk["deviceName"] == device);
            let disk = disk.ok_or_else(|| ComputeError::invalid("deviceName", device, "No such disk is attached."))?;
            disk["autoDelete"] = on.into();
            Ok(())
        })
    }

    /// Checks `setCommonInstanceMetadata`.
    pub(super) fn set_project_metadata(
        &self,
        project: &str,
        body: &Map<String, Value>,
    ) -> Result<Change, ComputeError> {
        let given = Value::Object(body.clone());
        check_metadata(Some(&given))?;
        let current = self.metadata.get(project).cloned().unwrap_or_else(|| json!({}));
        check_fingerprint("metadata", body.get("fingerprint"), &fingerprint::of(&current))?;
        let target = Path::new(project, &Scope::Global, "", "");
        let metadata = items_only(&given);
        let effect = Effect::Project { project: project.to_owned(), metadata };
        Ok(change("setMetadata", &target, effect, Work::Nothing))
    }

    fn turn(
        &self,
        path: &Path,
        verb: &str,
        from: &'static str,
        to: &'static str,
        work: Work,
    ) -> Result<Change, ComputeError> {
        let resource = self.idle(path)?;
        let status = resource.text("status");
        if status == to && from != to {
            // Google, too, calls it done.
            let body = resource.body.clone();
            return Ok(change(verb, path, Effect::Changes { path: path.clone(), body }, Work::Nothing));
        }
        if status != from {
            return Err(ComputeError::NotReady { resource: path.to_string() });
        }
        // What can't be started or reset is off, what can't be stopped still runs.
        let failed = if verb == "stop" { "RUNNING" } else { "TERMINATED" };
        Ok(change(verb, path, Effect::Turns { path: path.clone(), done: to, failed }, work))
    }

    fn set_metadata(&self, path: &Path, given: &Map<String, Value>) -> Result<Change, ComputeError> {
        let given = Value::Object(given.clone());
        check_metadata(Some(&given))?;
        let current = self.get(path)?.body.get("metadata").cloned().unwrap_or_default();
        check_fingerprint("metadata", given.get("fingerprint"), &fingerprint::of(&current))?;
        self.replace(path, "setMetadata", |new| {
            new.insert("metadata".into(), items_only(&given));
            Ok(())
        })
    }

    fn set_tags(&self, path: &Path, given: &Map<String, Value>) -> Result<Change, ComputeError> {
        let given = Value::Object(given.clone());
        check_tags(Some(&given))?;
        let current = self.get(path)?.body.get("tags").cloned().unwrap_or_default();
        check_fingerprint("tags", given.get("fingerprint"), &fingerprint::of(&current))?;
        self.replace(path, "setTags", |new| {
            new.insert("tags".into(), items_only(&given));
            Ok(())
        })
    }

    fn set_labels(&self, path: &Path, given: &Map<String, Value>) -> Result<Change, ComputeError> {
        labels(given)?;
        let current = self.get(path)?.body.get("labels").cloned().unwrap_or_else(|| json!({}));
        check_fingerprint("labels", given.get("labelFingerprint"), &fingerprint::of(&current))?;
        self.replace(path, "setLabels", |new| {
            new.insert("labels".into(), given.get("labels").cloned().unwrap_or_else(|| json!({})));
            Ok(())
        })
    }

    fn set_when_off(
        &self,
        path: &Path,
        verb: &str,
        field: &str,
        given: &Map<String, Value>,
    ) -> Result<Change, ComputeError> {
        if self.idle(path)?.text("status") != "TERMINATED" {
            let message =
                format!("The instance must be stopped before {field} can be changed: '{path}' is not TERMINATED.");
            return Err(ComputeError::Precondition { message });
        }
        let value = if field == "machineType" {
            let text = required_text(given, "machineType")?;
            let found = Path::parse(text, path, "machineTypes", &path.scope)
                .filter(|found| super::catalog::processors(&found.name).is_some());
            let found = found.ok_or_else(|| {
                ComputeError::invalid("machineType", text, "The machine type was not found in the zone.")
            })?;
            found.link().into()
        } else {
            json!([{ "email": given.get("email"), "scopes": given.get("scopes") }])
        };
        self.replace(path, verb, |new| {
            new.insert(field.to_owned(), value);
            Ok(())
        })
    }

    fn resize(&self, path: &Path, given: &Map<String, Value>) -> Result<Change, ComputeError> {
        let read = |value: Option<&Value>| value.and_then(|size| size.as_u64().or_else(|| size.as_str()?.parse().ok()));
        let wanted = read(given.get("sizeGb")).ok_or_else(|| ComputeError::required("sizeGb"))?;
        let current = read(self.idle(path)?.body.get("sizeGb")).unwrap_or(0);
        if wanted <= current {
            let rule = format!("Must be more than the current size of {current} GB.");
            return Err(ComputeError::invalid("sizeGb", wanted, rule));
        }
        #[expect(clippy::cast_precision_loss, reason = "sizes of disks are small")]
        self.check_quota(path, "DISKS_TOTAL_GB", (wanted - current) as f64)?;
        self.replace(path, "resize", |new| {
            new.insert("sizeGb".into(), wanted.to_string().into());
            Ok(())
        })
    }

    fn replace(
        &self,
        path: &Path,
        kind: &str,
        edit: impl FnOnce(&mut Map<String, Value>) -> Result<(), ComputeError>,
    ) -> Result<Change, ComputeError> {
        let mut body = self.idle(path)?.body.clone();
        edit(&mut body)?;
        Ok(change(kind, path, Effect::Changes { path: path.clone(), body }, Work::Nothing))
    }
}

fn change(kind: &str, path: &Path, effect: Effect, work: Work) -> Change {
    Change { kind: kind.to_owned(), target: path.clone(), made: Vec::new(), effect, work, doomed: None }
}

/// Lists of metadata and of tags as they are kept: without what is told only.
fn items_only(given: &Value) -> Value {
    match given.get("items") {
        Some(items) => json!({ "items": items }),
        None => json!({}),
    }
}

fn check_fingerprint(what: &'static str, given: Option<&Value>, current: &str) -> Result<(), ComputeError> {
    if given.and_then(Value::as_str) == Some(current) { Ok(()) } else { Err(ComputeError::Fingerprint { what }) }
}

/// RFC 7396: objects merge, `null` takes away, everything else replaces.
fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (field, value) in patch {
                if value.is_null() {
                    into.remove(&field);
                } else {
                    merge(into.entry(field).or_insert(Value::Null), value);
                }
            }
        }
        (into, patch) => *into = patch,
    }
}
