//! How a rolling activation fails, and what is true then.

use std::time::Duration;

use contract::bundle::BundleError;
use docker::EngineError;

use super::configs::ConfigError;
use super::spec::UnfitService;

/// Why executors were not moved by Docker Swarm.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    /// The engine did not answer, or refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The release can't be a config. Nothing was changed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The service can't be rolled. Nothing was changed.
    #[error(transparent)]
    Unfit(#[from] UnfitService),
    /// The release lacks a source. Nothing was changed.
    #[error("write release {release} as a text")]
    Bundle {
        /// Number of the release.
        release: u64,
        /// What is missing.
        #[source]
        err: BundleError,
    },
    /// The service of the settings is not there.
    #[error("Docker has no service `{0}`; deploy the executors, or give the name of their service")]
    NoService(String),
    /// Not exactly one service has the labels.
    #[error(
        "{count} services are labelled `moonswarm.role=executor` and `moonswarm.stack={stack}`, not one; \
         labelled as executors are: {found}; label the service of the executors, or give its name"
    )]
    Services {
        /// The stack looked for.
        stack: String,
        /// How many fit.
        count: usize,
        /// All that are labelled as executors, with their stacks; `none` if there is none.
        found: String,
    },
    /// A config has the name of our content and another content.
    #[error("Docker config `{0}` is named for this release but holds another text; remove it, then activate again")]
    Clash(String),
    /// Others changed the service each time before we could.
    #[error("service `{service}` could not be updated in {attempts} attempts; activate again")]
    Contended {
        /// The service.
        service: String,
        /// How often it was tried.
        attempts: u32,
        /// What came of the last one.
        #[source]
        err: EngineError,
    },
    /// Swarm took the update back; the executors run what they ran before.
    #[error("Swarm took the update back: {message}")]
    RolledBack {
        /// Swarm's reason, and those of tasks that failed.
        message: String,
    },
    /// Swarm failed to take the update back.
    #[error(
        "Swarm stopped while it took the update of `{service}` back, so two releases answer: {message}; \
         `docker service ps {service}` shows where"
    )]
    RollbackPaused {
        /// The service.
        service: String,
        /// Swarm's reason, and those of tasks that failed.
        message: String,
    },
    /// Swarm stopped half-way, because the service says so or because there was nothing to go back to.
    #[error(
        "Swarm paused the update of `{service}`, so two releases answer: {message}; \
         go back with `docker service rollback {service}`"
    )]
    Paused {
        /// The service.
        service: String,
        /// Swarm's reason, and those of tasks that failed.
        message: String,
    },
    /// Somebody else updated the service while ours was under way.
    #[error(
        "somebody gave service `{service}` another config while it was updated; activate again if that was not meant"
    )]
    Superseded {
        /// The service.
        service: String,
    },
    /// The scheduler finds no node.
    #[error(
        "the update of `{service}` waits, and old executors answer where they still run: {message}; \
         it goes on when a node fits, `docker service rollback {service}` takes it back"
    )]
    Unscheduled {
        /// The service.
        service: String,
        /// How many tasks wait, and the scheduler's reason.
        message: String,
    },
    /// Not done in time; Swarm goes on.
    #[error("the update of `{service}` was not done within {deadline:?}, Swarm goes on with it; seen last: {seen}")]
    Deadline {
        /// The service.
        service: String,
        /// How long it was given.
        deadline: Duration,
        /// How far it was.
        seen: String,
    },
}
