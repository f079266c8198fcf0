//! What the parts of a running manager share: the outside worlds, the lane, and the view of what is current.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use contract::api::Health;
use contract::ids::{FOUNDING_OBJECT, Form, ScriptName, TenantName, object_of};
use tokio::sync::watch;

use crate::bucket::Bucket;
use crate::feed::registry::Registry;
use crate::gate::Gate;
use crate::metrics::Metrics;
use crate::refusals::Refusals;
use crate::releaser::Lane;
use crate::releases::Current;
use crate::rolling::Rolling;
use crate::writing::Writing;

/// See the module.
pub struct Context {
    /// The installation.
    pub stack: String,
    /// The truth.
    pub bucket: Arc<dyn Bucket>,
    /// Judges sources.
    pub gate: Gate,
    /// Who runs releases.
    pub registry: Arc<Registry>,
    /// Makes releases.
    pub lane: Lane,
    /// What is current; `None` until the pointer was read.
    pub current: watch::Receiver<Option<Current>>,
    /// What was refused.
    pub refusals: Arc<Refusals>,
    /// What this manager writes itself just now.
    pub writing: Writing,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// A Swarm, if there is one.
    pub rolling: Option<Arc<dyn Rolling>>,
    /// How the last look at the bucket went.
    pub bucket_health: Sight,
    /// How the notification stream is.
    pub notification_health: Sight,
}

impl Context {
    /// What is current now.
    pub fn now(&self) -> Option<Current> {
        self.current.borrow().clone()
    }
}

/// Every object that may hold a script, the one that a push of a text makes first.
pub fn objects_of(tenant: &TenantName, script: &ScriptName) -> Vec<String> {
    let mut objects = vec![object_of(tenant, script, Form::Luau)];
    for (ending, _) in Form::ENDINGS {
        let object = format!("tenants/{tenant}/scripts/{script}{ending}");
        if !objects.contains(&object) {
            objects.push(object);
        }
    }
    objects
}

/// Prefixes under which every script lies.
pub const PREFIXES: [&str; 2] = ["tenants/", FOUNDING_OBJECT];

/// State of something outside, with its age.
#[derive(Debug)]
pub struct Sight(Mutex<(bool, String, Instant)>);

impl Sight {
    /// Nothing was seen yet.
    pub fn new(detail: &str) -> Self {
        Self(Mutex::new((false, detail.to_owned(), Instant::now())))
    }

    /// It works; `detail` says what was seen. Returns whether it did not before.
    pub fn good(&self, detail: impl Into<String>) -> bool {
        self.set(true, detail.into())
    }

    /// It does not; `detail` says why. Returns whether it did before.
    pub fn bad(&self, detail: impl Into<String>) -> bool {
        self.set(false, detail.into())
    }

    fn set(&self, ok: bool, detail: String) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = seen.0 != ok;
        *seen = (ok, detail, Instant::now());
        changed
    }

    /// For the status page.
    pub fn health(&self) -> Health {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Health { ok: seen.0, detail: format!("{}, {} s ago", seen.1, seen.2.elapsed().as_secs()) }
    }
}
