//! Projects, resources and operations: a pure state machine. Time is passed in; nothing here waits, logs or boots.
//!
//! A change is checked and answered with an operation at once ([`State::begin`]); who holds the state does the operation's
//! work and tells how it ended ([`State::finish`]). Until then the resource refuses further changes, as Google's mostly do.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use serde_json::{Map, Value};

use super::error::{ComputeError, OperationError};
use super::guest::GuestAttributes;
use super::machines::Work;
use super::operations::{Effect, Operation, Status};
use super::path::{Path, Scope};
use super::quota::Quotas;
use crate::cloud::time_text;

/// Operations remembered at most; the oldest ones that are done go first.
const OPERATIONS_MAX: usize = 20_000;

/// A resource: what was said about it, with Google's defaults filled in.
#[derive(Debug, Clone)]
pub(in crate::cloud) struct Resource {
    pub(in crate::cloud) path: Path,
    pub(in crate::cloud) id: u64,
    pub(in crate::cloud) body: Map<String, Value>,
    pub(super) created: SystemTime,
}

impl Resource {
    /// A text in the body; empty if there is none.
    pub(in crate::cloud) fn text(&self, field: &str) -> &str {
        self.body.get(field).and_then(Value::as_str).unwrap_or_default()
    }
}

/// A change that was checked.
#[derive(Debug)]
pub(super) struct Change {
    /// `insert`, `delete`, …
    pub(super) kind: String,
    pub(super) target: Path,
    pub(super) made: Vec<(Path, Map<String, Value>)>,
    pub(super) effect: Effect,
    pub(super) work: Work,
    /// The operation is to fail without doing anything.
    pub(super) doomed: Option<OperationError>,
}

/// What makes a request the same request again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cloud) struct RequestKey {
    /// The `requestId`.
    pub(in crate::cloud) id: String,
    /// Method, path and body.
    pub(in crate::cloud) content: String,
}

/// Everything that Compute Engine knows.
#[derive(Debug, Default)]
pub(in crate::cloud) struct State {
    pub(in crate::cloud) resources: BTreeMap<Path, Resource>,
    pub(super) operations: BTreeMap<Path, Operation>,
    requests: HashMap<(String, String), (String, Path)>,
    pub(super) metadata: BTreeMap<String, Value>,
    pub(in crate::cloud) guest: GuestAttributes,
    pub(super) quotas: Quotas,
    /// Where machines that are real reach the local cloud at their gateway.
    pub(super) port: Option<u16>,
    id_last: u64,
}

impl State {
    pub(super) fn get(&self, path: &Path) -> Result<&Resource, ComputeError> {
        self.resources.get(path).ok_or_else(|| ComputeError::missing(path))
    }

    /// The resource, if nothing is being done to it.
    pub(super) fn idle(&self, path: &Path) -> Result<&Resource, ComputeError> {
        let found = self.get(path)?;
        let busy = self.operations.values().any(|operation| {
            !operation.is_done()
                && match &operation.effect {
                    Effect::Made { paths, .. } | Effect::Removes { paths, .. } => paths.contains(path),
                    Effect::Changes { path: changed, .. } | Effect::Turns { path: changed, .. } => changed == path,
                    Effect::Project { .. } => false,
                }
        });
        if busy { Err(ComputeError::NotReady { resource: path.to_string() }) } else { Ok(found) }
    }

    /// The operation that an equal request with this id has begun before.
    pub(super) fn repeated(&self, project: &str, key: &RequestKey) -> Result<Option<&Operation>, ComputeError> {
        let Some((content, path)) = self.requests.get(&(project.to_owned(), key.id.clone())) else { return Ok(None) };
        if *content != key.content {
            let rule = "The id was used before with another request.";
            return Err(ComputeError::Invalid { field: "requestId".into(), value: key.id.clone(), rule: rule.into() });
        }
        Ok(self.operations.get(path))
    }

    /// Takes a checked change on: makes what is to be made, visible at once, and the operation.
    pub(super) fn begin(&mut self, change: Change, key: Option<RequestKey>, now: SystemTime) -> Operation {
        let doomed = change.doomed.is_some();
        for (path, body) in change.made {
            let id = self.next_id(now);
            if !doomed {
                self.resources.insert(path.clone(), Resource { path, id, body, created: now });
            }
        }
        match &change.effect {
            Effect::Removes { paths, .. } => self.set_status(&paths[..1], "STOPPING"),
            Effect::Turns { path, done: "RUNNING", .. } => self.set_status(std::slice::from_ref(path), "STAGING"),
            Effect::Turns { path, .. } => self.set_status(std::slice::from_ref(path), "STOPPING"),
            _ => {}
        }
        let id = self.next_id(now);
        let target_id = self.resources.get(&change.target).map_or(id + 1, |resource| resource.id);
        let path = Path::new(&change.target.project, &change.target.scope, "operations", &format!("operation-{id}"));
        if let Some(key) = &key {
            self.requests.insert((path.project.clone(), key.id.clone()), (key.content.clone(), path.clone()));
        }
        let operation = Operation {
            path: path.clone(),
            id,
            kind: change.kind,
            target: change.target,
            target_id,
            client_id: key.map(|key| key.id),
            status: Status::Pending,
            inserted: now,
            started: None,
            ended: None,
            error: change.doomed,
            effect: change.effect,
            work: if doomed { Work::Nothing } else { change.work },
        };
        self.operations.insert(path, operation.clone());
        self.forget_old();
        operation
    }

    pub(super) fn run(&mut self, operation: &Path, now: SystemTime) {
        if let Some(operation) = self.operations.get_mut(operation) {
            operation.status = Status::Running;
            operation.started = Some(now);
        }
    }

    /// Ends an operation; a doomed one fails whatever is told.
    pub(super) fn finish(&mut self, operation: &Path, outcome: Result<(), OperationError>, now: SystemTime) {
        let Some(found) = self.operations.get_mut(operation).filter(|found| !found.is_done()) else { return };
        found.status = Status::Done;
        found.ended = Some(now);
        if let Err(error) = outcome {
            found.error.get_or_insert(error);
        }
        let failed = found.error.is_some();
        let (effect, kind) = (found.effect.clone(), found.kind.clone());
        match effect {
            Effect::Made { paths, .. } if failed => self.remove(&paths),
            Effect::Made { paths, status } => {
                for path in &paths {
                    let own = if path.collection == "disks" { "READY" } else { status };
                    self.set_status(std::slice::from_ref(path), own);
                }
                self.stamp_start(&paths, now);
            }
            Effect::Removes { paths, former } if failed => {
                if let Some(former) = former {
                    self.set_status(&paths[..1], &former);
                }
            }
            Effect::Removes { paths, .. } => self.remove(&paths),
            Effect::Changes { path, body } if !failed => {
                if let Some(resource) = self.resources.get_mut(&path) {
                    resource.body = body;
                }
            }
            Effect::Turns { path, done, failed: otherwise } => {
                self.set_status(std::slice::from_ref(&path), if failed { otherwise } else { done });
                if !failed && kind != "stop" {
                    self.stamp_start(&[path], now);
                }
            }
            Effect::Project { project, metadata } if !failed => {
                self.metadata.insert(project, metadata);
            }
            Effect::Changes { .. } | Effect::Project { .. } => {}
        }
    }

    /// A machine went off by itself.
    pub(super) fn machine_ended(&mut self, instance: &Path) {
        if self.idle(instance).is_ok_and(|resource| resource.text("status") == "RUNNING") {
            self.set_status(std::slice::from_ref(instance), "TERMINATED");
        }
    }

    /// All resources of a collection in a scope, by name.
    pub(super) fn list<'a>(
        &'a self,
        project: &'a str,
        scope: Option<&'a Scope>,
        collection: &'a str,
    ) -> impl Iterator<Item = &'a Resource> {
        self.resources.values().filter(move |resource| {
            let path = &resource.path;
            path.project == project && path.collection == collection && scope.is_none_or(|scope| *scope == path.scope)
        })
    }

    /// The first resource whose body holds a link to this one.
    pub(super) fn user_of(&self, path: &Path) -> Option<&Resource> {
        let link = path.link();
        self.resources
            .values()
            .filter(|resource| resource.path != *path)
            .find(|resource| resource.body.values().any(|value| holds(value, &link)))
    }

    fn remove(&mut self, paths: &[Path]) {
        for path in paths {
            self.resources.remove(path);
            self.guest.forget(path);
        }
    }

    /// Sets the status of those that have one.
    fn set_status(&mut self, paths: &[Path], status: &str) {
        for path in paths {
            if let Some(current) = self.resources.get_mut(path).and_then(|resource| resource.body.get_mut("status")) {
                *current = status.into();
            }
        }
    }

    fn stamp_start(&mut self, paths: &[Path], now: SystemTime) {
        for path in paths.iter().filter(|path| path.collection == "instances") {
            if let Some(resource) = self.resources.get_mut(path) {
                resource.body.insert("lastStartTimestamp".to_owned(), time_text(now).into());
            }
        }
    }

    /// Ids look like Google's, nineteen digits or so, and only ever grow.
    fn next_id(&mut self, now: SystemTime) -> u64 {
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let wanted = u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX);
        self.id_last = wanted.max(self.id_last + 2);
        self.id_last
    }

    fn forget_old(&mut self) {
        while self.operations.len() > OPERATIONS_MAX {
            let oldest = self.operations.values().filter(|operation| operation.is_done()).min_by_key(|found| found.id);
            let Some(oldest) = oldest.map(|operation| operation.path.clone()) else { return };
            self.operations.remove(&oldest);
            self.requests.retain(|_, (_, path)| *path != oldest);
        }
    }
}

/// Whether a text is anywhere in a value.
fn holds(value: &Value, text: &str) -> bool {
    match value {
        Value::String(found) => found == text,
        Value::Array(items) => items.iter().any(|item| holds(item, text)),
        Value::Object(items) => items.values().any(|item| holds(item, text)),
        _ => false,
    }
}
