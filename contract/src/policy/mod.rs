//! On which terms a tenant's scripts run: limits, rates, and what they may reach.
//!
//! A policy is the answer of a script of the reserved name `@policy`: a tenant's own, or, for the tenant `@stack`, the
//! operator's. Both are released, activated and rolled back as rules are, so an execution runs under the policy of its own
//! release. [`mod@read`] turns the answer into a [`Document`]; [`Effective`] is what several layers come to:
//!
//! ```text
//! hard caps ≥ operator: tenants.NAME, else defaults, else built in ≥ tenant's own ≥ what the script declares
//! ```
//!
//! The operator's layers choose a value, up to the caps. All below them only narrow: numbers are the smallest, lists what
//! all have. Everything here is pure.

mod effective;
mod layers;
mod read;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use self::effective::{Effective, Layer, Set};
pub use self::layers::Layers;
pub use self::read::{Document, PolicyFault, Vocabulary};
use crate::ids::{ScriptName, TenantName};
use crate::units::{Size, Time};

/// What one layer says; whatever it leaves out stays as it was above.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct Policy {
    /// Of one execution.
    pub limits: Limits,
    /// Executions of the tenant under way at once.
    #[serde(deserialize_with = "read::concurrency")]
    pub concurrency: Option<u32>,
    /// Executions of the tenant that may wait for those, in one queue.
    #[serde(deserialize_with = "read::queue")]
    pub queue: Option<u32>,
    /// How long a caller waits at most before it is sent away with an address to ask again.
    pub wait: Option<Time>,
    /// Executions per second that callers of the tenant may begin, on each executor.
    pub rate: Option<Rate>,
    /// Of single scripts, by name.
    pub scripts: BTreeMap<ScriptName, OfScript>,
    /// What scripts may be granted.
    #[serde(deserialize_with = "read::names")]
    pub capabilities: Option<BTreeSet<String>>,
    /// Hosts that scripts may ask over HTTP.
    #[serde(deserialize_with = "read::hosts")]
    pub hosts: Option<BTreeSet<String>>,
    /// What scripts may keep between executions. `fresh` is always allowed.
    #[serde(deserialize_with = "read::names")]
    pub states: Option<BTreeSet<String>>,
}

/// Limits of one execution.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct Limits {
    /// CPU time.
    pub cpu: Option<Time>,
    /// Wall time.
    pub wall: Option<Time>,
    /// Bytes of the tenant's VM; at least 1 MiB, because a VM alone takes 440 KiB.
    #[serde(deserialize_with = "read::memory")]
    pub memory: Option<Size>,
    /// Bytes of the input.
    pub input: Option<Size>,
    /// Bytes of the answer.
    pub output: Option<Size>,
    /// Bytes of log lines.
    pub log: Option<Size>,
}

/// What a policy says of one script.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct OfScript {
    /// As [`Policy::rate`], for this script alone.
    pub rate: Option<Rate>,
}

/// How often executions may begin: `burst` at once, and again one each 1/`per_second`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "read::RateText")]
pub struct Rate {
    /// From 0.001 to a million.
    pub per_second: f64,
    /// At least 1; a second's worth if the policy does not say.
    pub burst: u32,
}

impl Rate {
    fn min(self, other: Self) -> Self {
        Self { per_second: self.per_second.min(other.per_second), burst: self.burst.min(other.burst) }
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} per second, {} at once", self.per_second, self.burst)
    }
}

/// The operator's policy.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct StackPolicy {
    /// For every tenant.
    pub defaults: Policy,
    /// For these, where they differ.
    pub tenants: BTreeMap<TenantName, Policy>,
}
