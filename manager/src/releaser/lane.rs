//! The door to the lane: what goes in, and what comes back.

use std::sync::Arc;

use bytes::Bytes;
use contract::api::Activation;
use contract::ids::{ScriptName, TenantName};
use contract::release::Entry;
use tokio::sync::{mpsc, oneshot};

use super::REBASES_MAX;
use crate::bucket::BucketError;
use crate::feed::registry::ExecutorRefusal;
use crate::plan::Change;
use crate::pointer::PointerError;

/// A change on its way into a release.
#[derive(Debug)]
pub struct Request {
    /// Whose script.
    pub tenant: TenantName,
    /// Which.
    pub script: ScriptName,
    /// What becomes of it.
    pub change: Change,
    /// The source, for [`Change::Set`].
    pub source: Bytes,
    /// Why, for people: `push acme/risk by ada`.
    pub reason: String,
    /// How executors are moved.
    pub activation: Activation,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Committed, ReleaseError>>,
}

/// A change is in a release.
#[derive(Debug)]
pub struct Committed {
    /// The release that says so.
    pub release: u64,
    /// For a rolling activation: how it ended.
    pub rolled: Option<oneshot::Receiver<Result<(), RolledBack>>>,
}

/// A rolling activation was taken back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the rolling activation of release {release} was taken back: {message}; {now}")]
pub struct RolledBack {
    /// The release that was to be activated.
    pub release: u64,
    /// Swarm's words.
    pub message: String,
    /// What is true now.
    pub now: String,
}

/// Why a change is not in a release.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReleaseError {
    /// An executor can't run it.
    #[error("executor `{}` on `{}` refused it: {}", .0.executor, .0.node, .0.refused.detail)]
    Refused(Box<ExecutorRefusal>),
    /// Something newer is in the release already: this, or its removal.
    #[error("something newer was released meanwhile")]
    Superseded(Option<Box<Entry>>),
    /// The pointer could not be written.
    #[error("commit the release")]
    Bucket(#[source] BucketError),
    /// Another manager's release could not be taken over.
    #[error("take over the release of another manager")]
    Pointer(#[source] Arc<PointerError>),
    /// Other managers were faster, again and again.
    #[error("other managers committed {REBASES_MAX} releases in a row before this one")]
    Contended,
    /// The manager has not read the pointer yet, or goes away.
    #[error("the manager is starting or stopping")]
    Closed,
}

/// What became of a look at the pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adoption {
    /// It is what was known.
    Known,
    /// Another manager's release is current now.
    Adopted,
    /// There is no pointer any more; the release stays.
    Gone,
    /// The pointer names an older release than the one that runs; the release stays and the next one replaces it.
    Older,
}

/// What may come into the lane.
#[derive(Debug)]
pub(super) enum Ask {
    Release(Vec<Request>),
    Found(oneshot::Sender<()>),
    Adopt(oneshot::Sender<Result<Adoption, Arc<PointerError>>>),
}

/// The door to the lane. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lane(pub(super) mpsc::Sender<Ask>);

impl Lane {
    /// Puts changes that belong together into the lane; each answers at its own `reply`.
    ///
    /// # Errors
    /// [`ReleaseError::Closed`]; the requests are gone.
    pub async fn submit(&self, requests: Vec<Request>) -> Result<(), ReleaseError> {
        self.0.send(Ask::Release(requests)).await.map_err(|_| ReleaseError::Closed)
    }

    /// Makes the first release, without scripts, if there is none: executors are ready when they have a release.
    ///
    /// # Errors
    /// [`ReleaseError::Closed`]. That it could not be made is only logged; the next look at the bucket asks again.
    pub async fn found(&self) -> Result<(), ReleaseError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Ask::Found(reply)).await.map_err(|_| ReleaseError::Closed)?;
        answer.await.map_err(|_| ReleaseError::Closed)
    }

    /// Reads the pointer again and takes over what another manager committed.
    ///
    /// # Errors
    /// [`ReleaseError::Pointer`], [`ReleaseError::Closed`].
    pub async fn adopt(&self) -> Result<Adoption, ReleaseError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Ask::Adopt(reply)).await.map_err(|_| ReleaseError::Closed)?;
        answer.await.map_err(|_| ReleaseError::Closed)?.map_err(ReleaseError::Pointer)
    }
}
