//! `--strategy process-pool`: scripts run in child processes that can do nothing but compute.
//!
//! Each child is this program again, started with `worker`, in which the same worker entry runs behind a socket: jobs go
//! in and outcomes come back as [`message`]s. A child gives up every right that it does not need before it sees its first script
//! ([`confine`]): what breaks out of Luau finds a process without files, network, children or secrets. A child that dies,
//! gets stuck or talks nonsense is killed and replaced ([`supervise`]).

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;

mod asker;
mod backoff;
mod child;
mod codec;
mod confine;
mod flights;
mod message;
mod supervise;
mod talk;

use super::common::Common;
use super::job::Job;
use super::kind::Processes;
use super::pool::Pool;
use super::{Place, Strategy};

pub(super) use asker::Asker;
pub use child::run;

/// How long all children together may take to be ready.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// Why workers can't be had.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The operating system gives no thread.
    #[error("start a worker thread")]
    Thread(#[from] std::io::Error),
    /// A child process did not become ready.
    #[error("start a worker process: {0}")]
    Process(String),
}

/// Child processes and the thread that looks after them.
pub(crate) struct ProcessPool {
    children: Pool,
}

impl ProcessPool {
    /// Starts the children; returns when all are ready.
    ///
    /// # Errors
    /// [`StartError`]
    pub(crate) fn start(settings: &Processes, common: &Common) -> Result<Self, StartError> {
        let children = Pool::new(settings.count);
        let (started, starts) = mpsc::channel();
        let supervised: Vec<_> = children
            .inboxes()
            .iter()
            .enumerate()
            .map(|(index, inbox)| {
                supervise::Supervised::new(
                    index,
                    settings.program.clone(),
                    inbox.clone(),
                    common.clone(),
                    started.clone(),
                )
            })
            .collect();
        drop(started);
        // A child dies with the thread that started it (prctl(2), PR_SET_PDEATHSIG), so this one lives as long as they do.
        thread::Builder::new().name("supervisor".into()).spawn(move || {
            match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(supervise::keep_all(supervised)),
                Err(err) => tracing::error!(error = telemetry::chain(&err), "worker processes can't be supervised"),
            }
        })?;
        let pool = Self { children };
        for _ in 0..settings.count {
            let start = starts.recv_timeout(START_DEADLINE);
            let start = start.map_err(|_| format!("it is not ready after {} s", START_DEADLINE.as_secs()));
            match start.and_then(|started| started) {
                Ok(containment) => tracing::info!(
                    seccomp = containment.seccomp,
                    landlock = containment.landlock,
                    limits = containment.limits,
                    "a worker process is contained"
                ),
                Err(why) => {
                    pool.close();
                    return Err(StartError::Process(why));
                }
            }
        }
        Ok(pool)
    }
}

impl Strategy for ProcessPool {
    fn place(&self, job: &Job) -> Place {
        self.children.submit(job)
    }

    fn close(&self) {
        self.children.close();
    }
}
