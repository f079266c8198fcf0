//! What runs, for people and machines.

use std::fmt;

use serde::Serialize;

use crate::history::Record;

/// An installation as it is.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Its name.
    pub stack: String,
    /// Its services.
    pub services: Vec<ServiceStatus>,
    /// Who deploys right now.
    pub lock: Option<String>,
    /// What can be gone back to, newest first.
    pub deployments: Vec<Deployment>,
}

/// A service as it is.
#[derive(Debug, Clone, Serialize)]
pub struct ServiceStatus {
    /// Its name.
    pub service: String,
    /// `manager` or `executor`.
    pub role: String,
    /// The commit its image was made of.
    pub revision: String,
    /// Its image.
    pub image: String,
    /// Tasks that should run.
    pub wanted: u64,
    /// Tasks that do.
    pub running: u64,
    /// The last update, in Swarm's words.
    pub update: Option<String>,
    /// Tasks that should run.
    pub tasks: Vec<TaskStatus>,
}

/// A task as it is.
#[derive(Debug, Clone, Serialize)]
pub struct TaskStatus {
    /// Its number.
    pub slot: u64,
    /// Its node.
    pub node: String,
    /// Swarm's word: `running`, `pending`, …
    pub state: String,
    /// Why it does not run; empty if it does.
    pub reason: String,
}

/// A former deployment.
#[derive(Debug, Clone, Serialize)]
pub struct Deployment {
    /// For `deploy rollback`.
    pub number: u64,
    /// When (RFC 3339).
    pub at: String,
    /// The commit.
    pub revision: String,
    /// Who.
    pub by: String,
}

impl From<Record> for Deployment {
    fn from(record: Record) -> Self {
        let Record { number, at, revision, by, .. } = record;
        Self { number, at, revision, by }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.services.is_empty() {
            writeln!(
                f,
                "stack {} has no services on this Swarm; `cargo xtask deploy --stack {}` makes them",
                self.stack, self.stack
            )?;
        }
        for service in &self.services {
            let ServiceStatus { service: name, revision, image, wanted, running, update, tasks, .. } = service;
            writeln!(f, "{name}: {running} of {wanted} run, revision {revision}, image {image}")?;
            if let Some(update) = update {
                writeln!(f, "  last update {update}")?;
            }
            for TaskStatus { slot, node, state, reason } in tasks {
                let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                writeln!(f, "  {slot:>3} on {node:<12} {state}{reason}")?;
            }
        }
        if let Some(lock) = &self.lock {
            writeln!(f, "being deployed by {lock}")?;
        }
        for (index, Deployment { number, at, revision, by }) in self.deployments.iter().enumerate() {
            let mark = if index == 0 { "*" } else { " " };
            writeln!(f, "{mark} deployment {number}: revision {revision}, by {by}, {at}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_tasks_with_their_reasons_and_what_can_be_gone_back_to() {
        let task = |slot, node: &str, state: &str, reason: &str| TaskStatus {
            slot,
            node: node.into(),
            state: state.into(),
            reason: reason.into(),
        };
        let deployment =
            |number| Deployment { number, at: "2026-01-01T00:00:00Z".into(), revision: "abc".into(), by: "ana".into() };
        let status = Status {
            stack: "blue".into(),
            services: vec![ServiceStatus {
                service: "blue-executor".into(),
                role: "executor".into(),
                revision: "abc".into(),
                image: "localhost/moonswarm-executor:1".into(),
                wanted: 2,
                running: 1,
                update: Some("updating: update in progress".into()),
                tasks: vec![task(1, "n1", "running", ""), task(2, "no node", "pending", "no suitable node")],
            }],
            lock: Some("ana@laptop since 2026-01-01T00:00:00Z (apply)".into()),
            deployments: vec![deployment(2), deployment(1)],
        };

        insta::assert_snapshot!(status);
    }
}
