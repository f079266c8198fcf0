//! What a release has of one tenant.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use contract::ids::{EventName, is_reserved};
use contract::{Code, Problem, ScriptName};

use super::{Script, Terms};

/// The scripts of one tenant, and on which terms they run.
#[derive(Debug, Clone)]
pub struct Tenant {
    scripts: HashMap<ScriptName, Arc<Script>>,
    /// The terms of all of them.
    pub terms: Arc<Terms>,
}

impl Default for Tenant {
    fn default() -> Self {
        Self::with_terms(Terms::built_in())
    }
}

/// Every script, also those of reserved names.
impl Deref for Tenant {
    type Target = HashMap<ScriptName, Arc<Script>>;

    fn deref(&self) -> &Self::Target {
        &self.scripts
    }
}

impl DerefMut for Tenant {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.scripts
    }
}

impl Tenant {
    /// A tenant without scripts, for who knows the script that it runs.
    pub(crate) fn with_terms(terms: Arc<Terms>) -> Self {
        Self { scripts: HashMap::new(), terms }
    }

    /// The script of this name that somebody may run. Reserved names are none.
    pub fn script(&self, name: &str) -> Option<&Arc<Script>> {
        if is_reserved(name) { None } else { self.scripts.get(name) }
    }
}

/// The event of that name, which somebody sends.
///
/// # Errors
/// `bad_request`: it is no name, or one of the life cycle.
pub(crate) fn sent(name: &str) -> Result<EventName, Box<Problem>> {
    let refused = |detail| Box::new(Problem::new(Code::BadRequest, detail));
    let event: EventName = name.parse().map_err(|err| refused(format!("{err}")))?;
    if event.is_life_cycle() {
        let detail = format!("event `{event}` is one of the life cycle of scripts, which nobody can send");
        let hint = "names of events that begin with `On` and a capital are reserved";
        return Err(Box::new(refused(detail).with_hint(hint)));
    }
    Ok(event)
}

/// The scripts of a tenant that want an event, by name.
pub(crate) fn wanting<'t>(tenant: &'t Tenant, event: &EventName) -> Vec<&'t Arc<Script>> {
    let wants = |script: &&Arc<Script>| !script.name.is_reserved() && script.manifest.wants(event.as_str());
    let mut wanting: Vec<_> = tenant.values().filter(wants).collect();
    wanting.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    wanting
}
