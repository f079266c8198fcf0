//! HTTP bodies of the manager, and the headers of the executor.

use serde::{Deserialize, Serialize};

use crate::ids::{ScriptName, TenantName, Version};
use crate::policy::Effective;
use crate::release::Entry;

/// Header of every executor answer: number of the release that gave it.
pub const HEADER_RELEASE: &str = "x-moonswarm-release";
/// Header of every executor answer to a run: the script's [`Version`].
pub const HEADER_VERSION: &str = "x-moonswarm-version";
/// Header of every executor answer to a run: id of the execution, the same as in the log.
pub const HEADER_EXECUTION: &str = "x-moonswarm-execution-id";
/// Header of a push: who pushes, for the history. Free text of at most 128 bytes; it grants nothing.
pub const HEADER_AUTHOR: &str = "x-moonswarm-author";

/// How executors are moved to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Swapped in memory.
    #[default]
    Live,
    /// Docker config and service update: every executor is a new process.
    Rolling,
}

impl std::fmt::Display for Activation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Live => "live",
            Self::Rolling => "rolling",
        })
    }
}

/// Query of every call that changes what runs: `?wait=10s&activation=live`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChangeQuery {
    /// How long to wait until every executor runs the release, for example `500ms` or `30s`; absent = do not wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<String>,
    /// Absent = live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
}

/// Answer to a push, a rollback or a removal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChangeAnswer {
    /// Whose script.
    pub tenant: TenantName,
    /// Which script.
    pub script: ScriptName,
    /// What runs now; absent after a removal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Generation of the bucket object; absent after a removal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// The release that says so.
    pub release: u64,
    /// True if this was already so and nothing had to be done.
    pub unchanged: bool,
    /// How executors are moved.
    pub activation: Activation,
    /// How far they are; absent unless `wait` was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Live>,
}

/// How far executors are with a release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Live {
    /// Executors that count: connected, or lost so recently that they may still answer.
    pub executors: u32,
    /// Those that said they run it.
    pub acknowledged: u32,
    /// From accepting the change (first byte of the body read) to the last acknowledgement, or to the end of the wait.
    pub elapsed_ms: f64,
    /// Those that did not, each with the reason.
    pub laggards: Vec<Laggard>,
}

impl Live {
    /// Every executor that counts runs the release.
    pub fn is_complete(&self) -> bool {
        self.laggards.is_empty()
    }
}

/// An executor that does not run a release yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Laggard {
    /// Its id.
    pub executor: String,
    /// Where it runs.
    pub node: String,
    /// Why, for people.
    pub reason: String,
}

/// One script, as `GET …/scripts/{script}` and the lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptInfo {
    /// Whose.
    pub tenant: TenantName,
    /// Which.
    pub script: ScriptName,
    /// What runs; absent while the bucket holds a script of this name that never passed the gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Entry>,
    /// A newer content in the bucket that does not run, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// The source that runs; only where one script is asked for, and only if it is a text and no package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// A bucket object that the gate or an executor refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Generation of the refused object.
    pub generation: i64,
    /// Why: code, and the same words the author gets.
    pub code: crate::Code,
    /// Why, for people.
    pub detail: String,
    /// Where in the script.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<crate::Diagnostic>,
}

/// Answer to a list of scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptList {
    /// The release they are of.
    pub release: u64,
    /// By tenant, then name.
    pub scripts: Vec<ScriptInfo>,
}

/// One kept version of a script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionInfo {
    /// Its name; absent where the object was uploaded without one and the manager did not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Generation of the bucket object.
    pub generation: i64,
    /// Bytes of source.
    pub size: u32,
    /// When it was written, milliseconds since the Unix epoch.
    pub pushed_at_ms: i64,
    /// Who wrote it.
    pub pushed_by: String,
    /// It is the one that runs.
    pub running: bool,
}

/// Answer to `GET …/versions`, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionList {
    /// Whose script.
    pub tenant: TenantName,
    /// Which script.
    pub script: ScriptName,
    /// Newest first.
    pub versions: Vec<VersionInfo>,
}

/// Body of `POST …:rollback`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// A version (or at least 6 of its first digits) or a generation; absent = the one before the running one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// Answer to `GET …/policy`: on which terms a tenant's scripts run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyAnswer {
    /// The release that says so.
    pub release: u64,
    /// Whose scripts.
    pub tenant: TenantName,
    /// Of this script alone, with what it declares; absent = of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<ScriptName>,
    /// The version of the operator's policy, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack_version: Option<Version>,
    /// The version of the tenant's own policy, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_version: Option<Version>,
    /// Every value, and the layer that it is from.
    pub effective: Effective,
}

/// One release, as the history shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseInfo {
    /// Its number.
    pub number: u64,
    /// Digest of its scripts.
    pub digest: String,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// Why.
    pub reason: String,
    /// How many scripts it has.
    pub scripts: u32,
}

/// Answer to `GET /v1/releases`, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseList {
    /// Newest first, at most the number the manager keeps.
    pub releases: Vec<ReleaseInfo>,
}

/// One executor, as the manager sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorInfo {
    /// Its id.
    pub id: String,
    /// Where it runs.
    pub node: String,
    /// Its program version.
    pub program: String,
    /// The release it answers with.
    pub release: u64,
    /// False for one whose feed broke and that may still answer callers.
    pub connected: bool,
    /// For how long it has been so, milliseconds.
    pub since_ms: u64,
}

/// Answer to `GET /v1/executors`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorList {
    /// The release they should run.
    pub release: u64,
    /// By node, then id.
    pub executors: Vec<ExecutorInfo>,
}

/// Answer to `GET /v1/status`: what an operator wants to know first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The installation.
    pub stack: String,
    /// The manager's program version.
    pub program: String,
    /// Number of the current release, 0 before the first.
    pub release: u64,
    /// How many scripts run.
    pub scripts: u32,
    /// How many tenants have one.
    pub tenants: u32,
    /// Executors connected.
    pub executors: u32,
    /// Of those, how many run the current release.
    pub executors_current: u32,
    /// Whether the last look at the bucket succeeded.
    pub bucket: Health,
    /// Whether the notification stream stands.
    pub notifications: Health,
    /// Whether a Docker Swarm is at hand for rolling activation.
    pub swarm: Health,
    /// Scripts in the bucket that do not run, and why.
    pub refused: Vec<ScriptInfo>,
}

/// State of something outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// It works.
    pub ok: bool,
    /// For people: `listed 12 objects 3 s ago`, or the last error.
    pub detail: String,
}
