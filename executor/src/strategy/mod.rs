//! Where executions run.
//!
//! Every door by which a call comes in makes a [`Job`] and gives it to the [`Dispatcher`] of its I/O thread, which asks
//! the [`Strategy`] for a [`Place`]: here, on the I/O thread itself; or by way of an [`inbox`] to another worker.
//!
//! ```text
//! http ─ Job ─► Dispatcher ─► Strategy::place ─┬─ Here ──────────────► VmHost          (the I/O thread)
//!                                              └─ There ─► Inbox ─► entry::serve ─► VmHost   (a VM thread)
//!                                                           └─► child process: entry::serve ─► VmHost
//! ```
//!
//! A [`VmHost`](host::VmHost) runs jobs in the VMs of its thread; [`entry::serve`] is the loop that takes jobs from an inbox and
//! replies, the same in threads and in child processes. Inboxes are fair ([`fair`]) and outlive the worker that serves them, so
//! that a worker that panics, gets stuck ([`warden`]) or dies costs its own executions and nobody else's.

use std::sync::Arc;

use contract::Code;
use sandbox::Fault;
use tokio::sync::oneshot;

mod annex;
mod asks;
mod board;
mod clock;
mod common;
mod dispatcher;
mod drill;
mod entry;
mod fair;
mod host;
mod inbox;
mod job;
mod kind;
mod ledger;
pub(crate) mod life_cycle;
mod lives;
mod middleware;
mod pool;
pub mod process;
mod router;
mod said;
mod share;
mod terms;
#[cfg(test)]
mod testing;
mod thread_per_tenant;
mod thread_pool;
mod vm_thread;
mod warden;

pub(crate) use annex::Annex;
pub(crate) use asks::Services;
pub use board::{Board, VmStatus};
pub(crate) use common::Common;
pub(crate) use dispatcher::Dispatcher;
pub(crate) use drill::Drill;
pub(crate) use host::words;
pub(crate) use job::{Entry, Job, Outcome};
pub use kind::{Kind, Processes};
pub(crate) use lives::Lives;
pub use share::Share;
pub(crate) use warden::{Warden, Watching, stuck_after};

use inbox::Rejected;
use pool::Routed;

/// Decides where executions run. One per process, shared by all I/O threads.
pub(crate) trait Strategy: Send + Sync {
    /// Where `job` runs. Called on the I/O thread that got it, and takes no longer than a short lock.
    fn place(&self, job: &Job) -> Place;

    /// No more jobs come; workers end when they have ended what they have.
    fn close(&self);
}

/// Where a job runs.
pub(crate) enum Place {
    /// On the calling thread.
    Here,
    /// Elsewhere; it is on its way.
    There(HandedOff),
    /// Nowhere.
    Refused(Fault),
}

/// A job that another worker has.
pub(crate) struct HandedOff {
    outcome: oneshot::Receiver<Outcome>,
    /// Counts the job for the router as long as somebody waits for it.
    _routed: Option<Routed>,
}

impl HandedOff {
    /// What came of it. Whoever has the job answers in time, or is replaced and answered for.
    pub(crate) async fn outcome(self) -> Outcome {
        self.outcome.await.unwrap_or_else(|_| {
            Outcome::fault(job::fault(Code::Internal, "the worker that had the execution ended without an answer"))
        })
    }
}

/// What a caller is told whose tenant has too much under way.
fn refuse(rejected: &Rejected, job: &Job) -> Fault {
    let tenant = &job.script.tenant;
    match rejected {
        Rejected::Full => job::fault(Code::Overloaded, {
            let terms = &job.siblings.terms.effective;
            let (running, waiting) = (terms.concurrency, terms.queue);
            format!(
                "tenant `{tenant}` has {running} executions under way and {waiting} waiting, which is all it may have"
            )
        }),
        Rejected::Closed => job::fault(Code::Internal, "the workers have ended; this executor stops"),
    }
}

/// Makes the strategy of that kind.
///
/// # Errors
/// Threads or processes can't be had.
pub(crate) fn start(kind: &Kind, common: &Common) -> Result<Arc<dyn Strategy>, process::StartError> {
    Ok(match kind {
        Kind::ThreadPool { workers } => Arc::new(thread_pool::ThreadPool::start(*workers, common)?),
        Kind::ThreadPerTenant { threads_max } => {
            Arc::new(thread_per_tenant::ThreadPerTenant::new(*threads_max, common))
        }
        Kind::ProcessPool(settings) => Arc::new(process::ProcessPool::start(settings, common)?),
    })
}
