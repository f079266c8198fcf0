//! What is read of the Engine API's objects (<https://docs.docker.com/reference/api/engine/>): only the fields that
//! rolling activation decides on. A service's spec stays JSON, because it goes back to the engine.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

/// Label of a config and of a service: the installation it belongs to.
pub(super) const LABEL_STACK: &str = "moonswarm.stack";
/// Label of a config: the release it holds.
pub(super) const LABEL_RELEASE: &str = "moonswarm.release";
/// Label of a service: what it is to Moonswarm.
pub(super) const LABEL_ROLE: &str = "moonswarm.role";
/// [`LABEL_ROLE`] of the service that rolling activation updates.
pub(super) const ROLE_EXECUTOR: &str = "executor";

/// A counter of Swarm's store: a later change of anything has a larger one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Version {
    pub(super) index: u64,
}

/// A service.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Service {
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(super) version: Version,
    pub(super) spec: Value,
    /// What a rollback goes back to; absent after a rollback by Swarm.
    pub(super) previous_spec: Option<Value>,
    pub(super) update_status: Option<UpdateStatus>,
    /// Only in lists that ask for it.
    pub(super) service_status: Option<ServiceStatus>,
}

/// How many of a service's tasks run.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ServiceStatus {
    #[serde(default)]
    pub(super) running_tasks: u64,
    #[serde(default)]
    pub(super) desired_tasks: u64,
}

/// How far Swarm is with the last update of a service. An update resets it to nothing, until its first task is begun.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateStatus {
    #[serde(default)]
    pub(super) state: UpdateState,
    /// By the clock of Swarm's leader, so only good for telling one update from another.
    pub(super) started_at: Option<String>,
    #[serde(default)]
    pub(super) message: String,
}

/// State of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum UpdateState {
    Updating,
    Paused,
    Completed,
    RollbackStarted,
    RollbackPaused,
    RollbackCompleted,
    /// None, or one that a later engine may invent.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A task of a service: one container, past or present.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Task {
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(super) spec: Value,
    pub(super) status: TaskStatus,
    #[serde(default)]
    pub(super) desired_state: TaskState,
}

/// What has become of a task.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TaskStatus {
    #[serde(default)]
    pub(super) state: TaskState,
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    pub(super) err: String,
}

/// State of a task, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TaskState {
    New,
    Allocated,
    Pending,
    Ready,
    Running,
    Failed,
    Rejected,
    Orphaned,
    /// On its way up, or gone as it should.
    #[default]
    #[serde(other)]
    Other,
}

impl TaskState {
    /// No node was found for it yet.
    pub(super) fn is_unscheduled(self) -> bool {
        matches!(self, Self::New | Self::Allocated | Self::Pending)
    }

    /// It ended otherwise than it should.
    pub(super) fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Rejected | Self::Orphaned)
    }
}

/// A Docker config.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Config {
    #[serde(rename = "ID")]
    pub(super) id: String,
    #[serde(default)]
    pub(super) version: Version,
    pub(super) spec: ConfigSpec,
}

/// Name, labels and content of a config.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ConfigSpec {
    pub(super) name: String,
    pub(super) labels: Option<HashMap<String, String>>,
    /// Base64 (RFC 4648 §4).
    pub(super) data: Option<String>,
}

/// Answer to the creation of a config.
#[derive(Debug, Deserialize)]
pub(super) struct Created {
    #[serde(rename = "ID")]
    pub(super) id: String,
}
