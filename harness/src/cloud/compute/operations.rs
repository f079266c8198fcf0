//! Operations: what was asked for, whether it is done, and what becomes of the resources then.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::error::OperationError;
use super::machines::Work;
use super::path::{Path, Scope, scope_link};
use crate::cloud::time_text;

/// What happens to the resources when an operation ends.
#[derive(Debug, Clone)]
pub(super) enum Effect {
    /// Resources were made; done: they get this status (where they have one); failed: they go.
    Made { paths: Vec<Path>, status: &'static str },
    /// Resources are to go; failed: the first gets its status back.
    Removes { paths: Vec<Path>, former: Option<String> },
    /// A resource gets a new body, in place.
    Changes { path: Path, body: Map<String, Value> },
    /// A resource has one status when it is done, and another when that failed.
    Turns { path: Path, done: &'static str, failed: &'static str },
    /// The project's metadata are replaced.
    Project { project: String, metadata: Value },
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Pending,
    Running,
    Done,
}

/// One operation.
#[derive(Debug, Clone)]
pub(in crate::cloud) struct Operation {
    pub(super) path: Path,
    pub(super) id: u64,
    /// `insert`, `delete`, `setMetadata`, …
    pub(super) kind: String,
    pub(super) target: Path,
    pub(super) target_id: u64,
    pub(super) client_id: Option<String>,
    pub(super) status: Status,
    pub(super) inserted: SystemTime,
    pub(super) started: Option<SystemTime>,
    pub(super) ended: Option<SystemTime>,
    pub(super) error: Option<OperationError>,
    pub(super) effect: Effect,
    pub(super) work: Work,
}

impl Operation {
    pub(in crate::cloud) fn is_done(&self) -> bool {
        self.status == Status::Done
    }

    /// The resource.
    pub(super) fn told(&self) -> Value {
        let mut told = json!({
            "kind": "compute#operation",
            "id": self.id.to_string(),
            "name": self.path.name,
            "operationType": self.kind,
            "targetLink": target_link(&self.target),
            "targetId": self.target_id.to_string(),
            "status": match self.status {
                Status::Pending => "PENDING",
                Status::Running => "RUNNING",
                Status::Done => "DONE",
            },
            "progress": if self.is_done() { 100 } else { 0 },
            "user": "local@moonswarm.invalid",
            "insertTime": time_text(self.inserted),
            "selfLink": self.path.link(),
        });
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                told[name] = value;
            }
        };
        set("startTime", self.started.map(|time| time_text(time).into()));
        set("endTime", self.ended.map(|time| time_text(time).into()));
        set("clientOperationId", self.client_id.clone().map(Value::from));
        match &self.path.scope {
            Scope::Global => {}
            Scope::Region(_) => set("region", Some(scope_link(&self.path.project, &self.path.scope).into())),
            Scope::Zone(_) => set("zone", Some(scope_link(&self.path.project, &self.path.scope).into())),
        }
        if let Some(error) = &self.error {
            let (status, message) = error.http();
            told["httpErrorStatusCode"] = status.into();
            told["httpErrorMessage"] = message.into();
            told["error"] = json!({ "errors": [{ "code": error.code, "message": error.message }] });
        }
        told
    }
}

/// The project itself is a target, too: its path has no name.
fn target_link(target: &Path) -> String {
    if target.name.is_empty() { scope_link(&target.project, &Scope::Global) } else { target.link() }
}
