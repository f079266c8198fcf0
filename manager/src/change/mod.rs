//! What an author asks for, carried out: push, remove, roll back. Gate, then bucket, then lane.
//!
//! HTTP words stand in [`crate::api`]; here are the steps and what can go wrong in them.

mod push;
mod remove;
mod rollback;

use std::time::Duration;

use contract::ids::{ScriptName, TenantName};
use contract::release::Entry;
use tokio::sync::oneshot;

pub use self::push::{Push, push};
pub use self::remove::{Remove, remove};
pub use self::rollback::{Rollback, rollback, versions};
use crate::bucket::{BucketError, ObservedObject};
use crate::context::Context;
use crate::fetch::Answer;
use crate::gate::Refusal;
use crate::releaser::{Committed, ReleaseError, Request, RolledBack};

/// How long the lane may take: a few releases, each with a silent executor and a slow bucket.
const LANE_DEADLINE: Duration = Duration::from_secs(60);

/// What must be true of the script in the bucket for a change to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It is as this manager knows it.
    Observed,
    /// It is not there.
    Absent,
    /// It is there.
    Present,
    /// It is of this generation.
    Generation(i64),
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Observed => f.write_str("no change since the manager last looked"),
            Self::Absent => f.write_str("no such script"),
            Self::Present => f.write_str("an existing script"),
            Self::Generation(generation) => write!(f, "generation {generation}"),
        }
    }
}

/// A change that was made, or was not needed.
#[derive(Debug)]
pub struct Changed {
    /// What runs now; `None` after a removal.
    pub entry: Option<Entry>,
    /// The release that says so.
    pub release: u64,
    /// It was already so.
    pub unchanged: bool,
    /// There was no such script before.
    pub created: bool,
    /// For a rolling activation: how it ends.
    pub rolled: Option<oneshot::Receiver<Result<(), RolledBack>>>,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The pointer was not read yet.
    #[error("this manager has not read the release pointer yet")]
    NotReady,
    /// The gate refused the source; nothing was written.
    #[error("{}", .0.detail)]
    Refused(Refusal),
    /// Somebody else was first.
    #[error("{}", .0.sentence())]
    Conflict(Box<Conflict>),
    /// There is no such script.
    #[error("there is no such script")]
    Unknown,
    /// There is no such version of it.
    #[error("{0}")]
    UnknownVersion(String),
    /// The version asked for is no version, or several.
    #[error("{0}")]
    BadVersion(String),
    /// The bucket did not do it.
    #[error("change the bucket")]
    Bucket(#[source] BucketError),
    /// The bucket has it, the release does not.
    #[error("release the change")]
    Release(#[source] ReleaseError),
    /// The bucket has it; the lane is busy.
    #[error("the bucket has the change; its release takes longer than {} s", LANE_DEADLINE.as_secs())]
    Slow,
}

/// Who was first, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Whose script.
    pub tenant: TenantName,
    /// Which.
    pub script: ScriptName,
    /// What the change was made for.
    pub wanted: Condition,
    /// What is there: generation, when it was written, by whom. `None`: nothing.
    pub there: Option<(i64, i64, String)>,
}

impl Conflict {
    fn over(
        tenant: &TenantName,
        script: &ScriptName,
        wanted: Condition,
        there: Option<&ObservedObject>,
    ) -> ChangeError {
        let there = there.map(|object| (object.generation, object.written_at_ms, object.author()));
        ChangeError::Conflict(Box::new(Self { tenant: tenant.clone(), script: script.clone(), wanted, there }))
    }

    fn with(tenant: &TenantName, script: &ScriptName, wanted: Condition, there: Option<&Entry>) -> ChangeError {
        let there = there.map(|entry| (entry.generation, entry.pushed_at_ms, entry.pushed_by.clone()));
        ChangeError::Conflict(Box::new(Self { tenant: tenant.clone(), script: script.clone(), wanted, there }))
    }

    fn sentence(&self) -> String {
        let Self { tenant, script, wanted, there } = self;
        match there {
            Some((generation, written_at_ms, author)) => format!(
                "`{tenant}/{script}` is at generation {generation}, written by {author} at {}; the change was made for {wanted}",
                time(*written_at_ms)
            ),
            None => format!("`{tenant}/{script}` is not there any more; the change was made for {wanted}"),
        }
    }
}

fn time(ms: i64) -> humantime::Rfc3339Timestamp {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + since)
}

/// Puts a change into the lane and waits for its end.
async fn release(context: &Context, request: Request, answer: Answer) -> Result<Committed, ReleaseOrSlow> {
    let work = async {
        context.lane.submit(vec![request]).await?;
        answer.await.map_err(|_| ReleaseError::Closed)?
    };
    match tokio::time::timeout(LANE_DEADLINE, work).await {
        Ok(Ok(committed)) => Ok(committed),
        Ok(Err(err)) => Err(ReleaseOrSlow::Release(err)),
        Err(_) => Err(ReleaseOrSlow::Slow),
    }
}

enum ReleaseOrSlow {
    Release(ReleaseError),
    Slow,
}

impl ReleaseOrSlow {
    /// As the author is told: what is superseded was changed by somebody else.
    fn explain(self, tenant: &TenantName, script: &ScriptName, wanted: Condition) -> ChangeError {
        match self {
            Self::Release(ReleaseError::Superseded(by)) => Conflict::with(tenant, script, wanted, by.as_deref()),
            Self::Release(err) => ChangeError::Release(err),
            Self::Slow => ChangeError::Slow,
        }
    }
}
