//! How a deployment fails, what is true then, and with which exit code that is told.

use std::error::Error;

use docker::EngineError;

use crate::image::ImageError;
use crate::settings::SettingsError;
use crate::tunnel::TunnelError;

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The stack file.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// An image could not be made.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// No tunnel to a node.
    #[error("reach node `{node}`")]
    Tunnel {
        /// The node.
        node: String,
        /// Why not.
        #[source]
        err: TunnelError,
    },
    /// A node's engine.
    #[error("on node `{node}`")]
    Node {
        /// The node.
        node: String,
        /// What it said.
        #[source]
        err: EngineError,
    },
    /// The Swarm.
    #[error("ask the Swarm to {what}")]
    Swarm {
        /// What it should do.
        what: String,
        /// What it said.
        #[source]
        err: EngineError,
    },
    /// No engine takes orders.
    #[error(
        "none of the nodes is a manager of a Swarm that takes orders ({states}); \
         initialise it (`docker swarm init` on the first manager), or bring a majority of its managers back"
    )]
    NoManager {
        /// Each node.
        states: String,
    },
    /// The checks before anything is touched.
    #[error("nothing was touched, because:{}", .0.iter().map(|fault| format!("\n  - {fault}")).collect::<String>())]
    Preflight(Vec<String>),
    /// Somebody else deploys.
    #[error(
        "stack `{stack}` is being deployed by {holder} since {since} ({message}); wait for them, \
         or for a minute after their death: then the lock is taken over"
    )]
    Locked {
        /// The stack.
        stack: String,
        /// Who.
        holder: String,
        /// Since when, by the Swarm's clock.
        since: String,
        /// What they do.
        message: String,
    },
    /// Somebody took the lock over while we were away.
    #[error(
        "the lock of stack `{0}` was taken over by somebody else, so this deployment stopped; look at `deploy status`"
    )]
    LockLost(String),
    /// A service did not come to what it should be.
    #[error("service `{service}` {trouble}")]
    Converge {
        /// The service.
        service: String,
        /// What is true instead.
        trouble: String,
    },
    /// A task runs but does not do its work.
    #[error("service `{service}` is deployed but does not work: {trouble}")]
    Verify {
        /// The service.
        service: String,
        /// What was seen instead.
        trouble: String,
    },
    /// The deployment failed and what was before runs again.
    #[error("taken back: what ran before runs again. The deployment failed because")]
    RolledBack {
        /// Why.
        #[source]
        err: Box<DeployError>,
    },
    /// The first deployment of a stack failed.
    #[error(
        "nothing ran before, so there is nothing to go back to; the services are left for you to look at (`deploy status`). The deployment failed because"
    )]
    NothingBefore {
        /// Why.
        #[source]
        err: Box<DeployError>,
    },
    /// The deployment failed, and so did the way back.
    #[error(
        "the deployment failed ({failure}), and going back failed too; both versions may run, see `deploy status`; then run `deploy apply` or `deploy rollback`"
    )]
    HalfWay {
        /// Why the deployment failed.
        failure: String,
        /// Why the way back failed.
        #[source]
        err: Box<DeployError>,
    },
    /// A rollback to what is not kept.
    #[error("there is no deployment {asked} to go back to; kept are: {kept}")]
    NoRecord {
        /// What was asked for.
        asked: String,
        /// What there is.
        kept: String,
    },
    /// A record that can't be read.
    #[error(
        "the record of deployment {0} can't be read; it was written by another program, remove the config if it is none of yours"
    )]
    BadRecord(u64),
    /// A name in a command.
    #[error("{0}")]
    Unknown(String),
}

impl DeployError {
    pub(crate) fn on(node: &str, err: EngineError) -> Self {
        Self::Node { node: node.to_owned(), err }
    }

    pub(crate) fn swarm(what: impl Into<String>) -> impl FnOnce(EngineError) -> Self {
        let what = what.into();
        move |err| Self::Swarm { what, err }
    }

    /// The exit code: 3 locked, 4 partly applied, 5 rolled back, 1 everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Locked { .. } => 3,
            Self::HalfWay { .. } | Self::LockLost(_) => 4,
            Self::RolledBack { .. } => 5,
            _ => 1,
        }
    }
}

/// An error with all its causes, in one line.
pub fn chain(err: &dyn Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
