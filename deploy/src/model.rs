//! What is read of the Engine API's objects: only the fields that a deployment decides on. Service specs stay JSON,
//! because they go back to the engine.

use std::collections::BTreeMap;
use std::time::Duration;

use docker::{Engine, EngineError, filter, segment};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

/// Label of whatever belongs to an installation.
pub(crate) const LABEL_STACK: &str = "moonswarm.stack";
/// Label of a service: what it is to Moonswarm.
pub(crate) const LABEL_ROLE: &str = "moonswarm.role";
/// Label of a service: the commit that its image was made of.
pub(crate) const LABEL_REVISION: &str = "moonswarm.revision";
/// Label of what a deployment keeps in Swarm: `file`, `record` or `lock`. What lacks it is not ours to remove.
pub(crate) const LABEL_KEPT: &str = "moonswarm.deploy";

/// When a question that is answered at once should have been.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(15)
}

/// A counter of Swarm's store.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Version {
    pub(crate) index: u64,
}

/// A service.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Service {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) version: Version,
    pub(crate) spec: Value,
    pub(crate) previous_spec: Option<Value>,
    pub(crate) update_status: Option<UpdateStatus>,
}

impl Service {
    pub(crate) fn name(&self) -> &str {
        self.spec["Name"].as_str().unwrap_or_default()
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.spec.get("Labels")?.get(key)?.as_str()
    }
}

/// How far Swarm is with the last update of a service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UpdateStatus {
    #[serde(default)]
    pub(crate) state: String,
    pub(crate) started_at: Option<String>,
    #[serde(default)]
    pub(crate) message: String,
}

/// A task: one container of a service, past or present.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Task {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    #[serde(default, rename = "NodeID")]
    pub(crate) node_id: String,
    #[serde(default)]
    pub(crate) slot: u64,
    #[serde(default)]
    pub(crate) spec: Value,
    #[serde(default)]
    pub(crate) status: TaskStatus,
    #[serde(default)]
    pub(crate) desired_state: String,
}

impl Task {
    pub(crate) fn runs(&self) -> bool {
        self.status.state == "running"
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.desired_state == "running"
    }

    /// Why it is in its state: Swarm's error, or else its message.
    pub(crate) fn reason(&self) -> &str {
        if self.status.err.is_empty() { &self.status.message } else { &self.status.err }
    }
}

/// What has become of a task.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TaskStatus {
    #[serde(default)]
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) err: String,
    #[serde(default)]
    pub(crate) container_status: ContainerStatus,
}

/// The container of a task.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ContainerStatus {
    #[serde(default, rename = "ContainerID")]
    pub(crate) container_id: String,
}

/// A member of the Swarm as the Swarm sees it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SwarmNode {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) version: Version,
    pub(crate) spec: Value,
    #[serde(default)]
    pub(crate) description: Value,
    #[serde(default)]
    pub(crate) status: Value,
    #[serde(default)]
    pub(crate) manager_status: Value,
}

impl SwarmNode {
    pub(crate) fn name(&self) -> &str {
        self.description["Hostname"].as_str().unwrap_or_default()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.status["State"] == "ready"
    }

    pub(crate) fn is_active(&self) -> bool {
        self.spec["Availability"] == "active"
    }

    pub(crate) fn is_manager(&self) -> bool {
        self.spec["Role"] == "manager"
    }
}

/// A Swarm config or secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Stored {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) version: Version,
    #[serde(default)]
    pub(crate) created_at: String,
    #[serde(default)]
    pub(crate) updated_at: String,
    pub(crate) spec: StoredSpec,
}

/// Name, labels and content of a config; of a secret the content is never told.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct StoredSpec {
    #[serde(default)]
    pub(crate) name: String,
    pub(crate) labels: Option<BTreeMap<String, String>>,
    /// Base64 (RFC 4648 §4).
    pub(crate) data: Option<String>,
}

impl Stored {
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.spec.labels.as_ref()?.get(key).map(String::as_str)
    }
}

/// An answer that names what was made.
#[derive(Debug, Deserialize)]
pub(crate) struct Created {
    #[serde(rename = "ID", alias = "Id")]
    pub(crate) id: String,
}

pub(crate) async fn services(swarm: &Engine) -> Result<Vec<Service>, EngineError> {
    swarm.get("/services", soon()).await
}

pub(crate) async fn service(swarm: &Engine, id: &str) -> Result<Service, EngineError> {
    swarm.get(&format!("/services/{}", segment(id)), soon()).await
}

pub(crate) async fn tasks(swarm: &Engine, service: &str) -> Result<Vec<Task>, EngineError> {
    swarm.get(&format!("/tasks?{}", filter("service", &[service])), soon()).await
}

pub(crate) async fn nodes(swarm: &Engine) -> Result<Vec<SwarmNode>, EngineError> {
    swarm.get("/nodes", soon()).await
}

/// Configs or secrets (`kind`) of a stack that a deployment keeps, of all its kinds.
pub(crate) async fn kept(swarm: &Engine, kind: &str, stack: &str) -> Result<Vec<Stored>, EngineError> {
    let labels = format!("{LABEL_STACK}={stack}");
    swarm.get(&format!("/{kind}?{}", filter("label", &[&labels, LABEL_KEPT])), soon()).await
}
