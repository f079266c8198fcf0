//! Secret Manager: secrets and their versions in memory.

pub(super) mod rest;
mod state;

use std::sync::{Arc, Mutex, PoisonError};

use self::state::State;
use super::iam::Iam;

/// Handle of the local Secret Manager. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Secrets {
    state: Arc<Mutex<State>>,
    iam: Iam,
}

impl Secrets {
    pub(super) fn new(iam: Iam) -> Self {
        Self { state: Arc::default(), iam }
    }

    /// The latest enabled version of a secret: the test's own eye, no network and no faults.
    pub fn latest(&self, project: &str, secret: &str) -> Option<Vec<u8>> {
        self.with(|state| state.access(project, secret, "latest").ok().map(|(_, payload)| payload))
    }

    /// Names of all secrets of a project.
    pub fn names(&self, project: &str) -> Vec<String> {
        self.with(|state| state.names(project))
    }

    fn with<T>(&self, step: impl FnOnce(&mut State) -> T) -> T {
        step(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
