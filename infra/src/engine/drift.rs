//! What is no longer as it was made.

use std::fmt;

use serde::Serialize;

use super::{Engine, EngineError};
use crate::cloud::Cloud;
use crate::plan::{self, Change};
use crate::resource::{Id, Kind};
use crate::store::Store;

/// How bad a difference is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody tidied or tuned something.
    Benign,
    /// Something is open that was closed, gone, or able to do more than it should.
    Dangerous,
}

/// A resource that is not as it was made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drift {
    /// Which.
    pub id: Id,
    /// It is gone.
    pub gone: bool,
    /// What differs: `old` is what it is now, `new` what it was made as.
    pub changes: Vec<Change>,
    /// How bad that is.
    pub severity: Severity,
}

impl Drift {
    fn of(id: Id, gone: bool, changes: Vec<Change>) -> Self {
        let dangerous = |change: &Change| {
            matches!(
                (id.kind, change.field.as_str()),
                (Kind::Firewall | Kind::Binding, _)
                    | (Kind::Bucket, "closed" | "versioning" | "location")
                    | (Kind::Instance, "service_account" | "image" | "metadata.startup-script")
            )
        };
        let dangerous = gone || changes.iter().any(dangerous);
        let severity = if dangerous { Severity::Dangerous } else { Severity::Benign };
        Self { id, gone, changes, severity }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Benign => "benign",
            Severity::Dangerous => "dangerous",
        };
        write!(f, "{} ({severity})", self.id)?;
        if self.gone {
            write!(f, " is gone")?;
        }
        for change in &self.changes {
            write!(f, "\n    {change}")?;
        }
        Ok(())
    }
}

impl<C: Cloud, S: Store> Engine<C, S> {
    /// Everything that is not as it was made, worst first.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn drift(&self) -> Result<Vec<Drift>, EngineError> {
        let recorded = self.state().await?.state.resources;
        let live = self.look(&[], &recorded).await?;
        let mut drifts: Vec<Drift> = recorded
            .values()
            .filter_map(|resource| match live.get(&resource.id) {
                None => Some(Drift::of(resource.id.clone(), true, Vec::new())),
                Some(live) => {
                    let changes = plan::compare(&live.spec, &resource.spec, None);
                    (!changes.is_empty()).then(|| Drift::of(resource.id.clone(), false, changes))
                }
            })
            .collect();
        drifts.sort_by(|a, b| (b.severity, &a.id).cmp(&(a.severity, &b.id)));
        Ok(drifts)
    }
}
