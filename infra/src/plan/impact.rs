//! What a plan does to the Swarm: how many of its machines it disturbs, and whether a quorum of managers stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Action, Step};
use crate::cloud::Live;
use crate::resource::{Effect, Id, Role, Spec};

/// How many machines there are, and how many of them are stopped, replaced or deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Impact {
    /// Managers that are there.
    pub managers: usize,
    /// Managers that are disturbed.
    pub managers_disturbed: usize,
    /// Workers that are there.
    pub workers: usize,
    /// Workers that are disturbed.
    pub workers_disturbed: usize,
}

impl Impact {
    pub(crate) fn of(steps: &[Step], live: &BTreeMap<Id, Live>) -> Self {
        let disturbed: BTreeSet<&Id> = steps
            .iter()
            .filter(|step| {
                step.action == Action::Delete || step.changes.iter().any(|change| change.effect == Effect::Stop)
            })
            .map(|step| &step.id)
            .collect();
        let mut impact = Self::default();
        for (id, live) in live {
            let Spec::Instance(instance) = &live.spec else { continue };
            let disturbed = usize::from(disturbed.contains(id));
            match instance.role {
                Role::Manager => {
                    impact.managers += 1;
                    impact.managers_disturbed += disturbed;
                }
                Role::Worker => {
                    impact.workers += 1;
                    impact.workers_disturbed += disturbed;
                }
            }
        }
        impact
    }

    /// How many managers have to be up so that the Swarm can decide anything.
    pub fn quorum(&self) -> usize {
        self.managers / 2 + 1
    }

    /// Fewer managers would stay up than the quorum.
    pub fn breaks_quorum(&self) -> bool {
        self.managers_disturbed > 0 && self.managers - self.managers_disturbed < self.quorum()
    }
}

impl fmt::Display for Impact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disturbs = |disturbed, of, role| format!("disturbs {disturbed} of {of} {role}");
        let mut parts = Vec::new();
        if self.managers_disturbed > 0 {
            let verdict = if self.breaks_quorum() { "quorum is lost" } else { "quorum stays" };
            let managers = disturbs(self.managers_disturbed, self.managers, "managers");
            parts.push(format!("{managers}, {verdict} ({} needed)", self.quorum()));
        }
        if self.workers_disturbed > 0 {
            parts.push(disturbs(self.workers_disturbed, self.workers, "workers"));
        }
        match parts.is_empty() {
            true => f.write_str("no running machine is disturbed"),
            false => f.write_str(&parts.join("; ")),
        }
    }
}
