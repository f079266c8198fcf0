//! All executors that follow this manager: what each runs, and the steps by which it is brought to the current release.
//!
//! Everything happens under one short lock and nothing in it waits; who needs to wait watches [`Registry::changed`].
//! An executor reads its commands from a bounded mailbox; one that does not is disconnected and catches up later.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use contract::api::{ExecutorInfo, Laggard};
use contract::feed::{Hello, Refused};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::delta::Delta;
use super::executor::{Executor, Step};
use super::state::State;
use crate::releases::Release;

/// More executors than one manager is built for.
pub const EXECUTORS_MAX: usize = 4096;

/// What the stream to an executor is to carry next.
#[derive(Debug, Clone)]
pub enum Command {
    /// Prepare a release, in as many parts as it takes.
    Prepare(Arc<Delta>),
    /// Swap to it.
    Activate(u64),
    /// Forget it.
    Abandon(u64),
}

/// The registry's side of a new stream.
#[derive(Debug)]
pub struct Connection {
    /// Tells the stream from others of the same executor.
    pub serial: u64,
    /// What to send.
    pub commands: mpsc::Receiver<Command>,
    /// Cancelled when the stream is to end.
    pub closed: CancellationToken,
}

/// An executor that says no to an offered release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutorRefusal {
    /// Its id.
    pub executor: String,
    /// Where it runs.
    pub node: String,
    /// What it said.
    pub refused: Refused,
}

/// How an offered release stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Votes {
    /// Executors that run the current release have not answered yet: this many.
    Waiting(usize),
    /// Nobody is waited for.
    Ready,
    /// One said no.
    Refused(ExecutorRefusal),
}

/// How far executors are with a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Executors that count.
    pub executors: u32,
    /// Those that run it, or a newer one.
    pub acknowledged: u32,
    /// Those that don't.
    pub laggards: Vec<Laggard>,
    /// When a lost executor is forgotten next, so that the picture changes by itself.
    pub changes_at: Option<Instant>,
}

/// The manager is full or goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// [`EXECUTORS_MAX`] are connected.
    #[error("this manager has {EXECUTORS_MAX} executors and takes no more")]
    Full,
    /// It is draining.
    #[error("this manager is stopping")]
    Closed,
}

/// See the module.
#[derive(Debug)]
pub struct Registry {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    ahead: Notify,
    lost_after: Duration,
}

impl Registry {
    /// An empty registry. An executor whose stream broke without a goodbye counts for `lost_after` more.
    pub fn new(lost_after: Duration) -> Self {
        Self { state: Mutex::default(), changed: watch::Sender::new(0), ahead: Notify::new(), lost_after }
    }

    /// Changes whenever anything here does.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Waits until an executor shows up that runs something newer than the current release.
    pub async fn ahead(&self) {
        self.ahead.notified().await;
    }

    // What the streams tell.

    /// A stream begins. An older stream of the same executor ends.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(&self, hello: &Hello) -> Result<Connection, ConnectError> {
        self.with(|state| {
            let connection = state.connect(hello)?;
            if state.is_ahead(&hello.executor) {
                self.ahead.notify_one();
            }
            Ok(connection)
        })
    }

    /// An executor holds a release ready.
    pub fn prepared(&self, executor: &str, serial: u64, release: u64) {
        self.with_linked(executor, serial, |state| state.prepared(executor, release));
    }

    /// An executor won't prepare a release.
    pub fn refused(&self, executor: &str, serial: u64, refused: Refused) {
        self.with_linked(executor, serial, |state| state.refuse(executor, refused));
    }

    /// An executor runs a release.
    pub fn activated(&self, executor: &str, serial: u64, release: u64) {
        self.with_linked(executor, serial, |state| state.activated(executor, release));
    }

    /// An executor will answer nothing more.
    pub fn goodbye(&self, executor: &str, serial: u64) {
        self.with_linked(executor, serial, |state| {
            if let Some(mut known) = state.executors.remove(executor) {
                known.lose();
            }
        });
    }

    /// A stream broke.
    pub fn lost(&self, executor: &str, serial: u64) {
        self.with_linked(executor, serial, |state| {
            if let Some(known) = state.executors.get_mut(executor) {
                known.lose();
            }
        });
    }

    // What the lane does.

    /// Sends a release to every executor, to be prepared and held.
    pub fn offer(&self, release: &Arc<Release>) {
        self.with(|state| state.offer(release));
    }

    /// How the release on offer stands.
    pub fn votes(&self) -> Votes {
        self.with_quietly(|state| state.votes())
    }

    /// A release that executors were sent will not come, or not in this way.
    pub fn abandon(&self, number: u64) {
        self.with(|state| state.abandon(number));
    }

    /// The release is the current one: committed here, or by another manager, or found at the start. `held`: executors
    /// are replaced by Swarm and not told to swap.
    pub fn commit(&self, release: &Arc<Release>, held: bool) {
        self.with(|state| {
            state.commit(release, held);
            if state.executors.keys().any(|id| state.is_ahead(id)) {
                self.ahead.notify_one();
            }
        });
    }

    /// Whether a rolling activation is under way.
    pub fn is_held(&self) -> bool {
        self.with_quietly(|state| state.held)
    }

    /// Ends the hold of a rolling activation.
    pub fn release_hold(&self) {
        self.with(|state| {
            state.held = false;
            state.settle_all();
        });
    }

    /// Asks executors once more that refused the current release or could not be sent it.
    pub fn ask_again(&self) {
        self.with(|state| {
            for executor in state.executors.values_mut() {
                if matches!(executor.step, Step::Refused { .. } | Step::Stuck { .. }) {
                    executor.step = Step::Idle;
                }
            }
            state.settle_all();
        });
    }

    /// Ends every stream, for good.
    pub fn close(&self) {
        self.with(|state| {
            state.closed = true;
            state.executors.values_mut().for_each(Executor::lose);
        });
    }

    // What others want to know.

    /// The largest release that an executor says it runs.
    pub fn largest_active(&self) -> u64 {
        self.with_quietly(|state| state.executors.values().map(|executor| executor.active).max().unwrap_or(0))
    }

    /// Whether an executor runs something newer than the current release, or another content under its number.
    pub fn is_ahead(&self) -> bool {
        self.with_quietly(|state| state.executors.keys().any(|id| state.is_ahead(id)))
    }

    /// How far executors are with a release.
    pub fn progress(&self, number: u64) -> Progress {
        let lost_after = self.lost_after;
        self.with_quietly(|state| {
            let now = Instant::now();
            let laggards: Vec<Laggard> =
                state.executors.values().filter_map(|executor| executor.laggard(number, state.held, now)).collect();
            let executors = state.executors.len();
            let lost = state.executors.values().filter(|executor| executor.link.is_none());
            Progress {
                executors: u32::try_from(executors).unwrap_or(u32::MAX),
                acknowledged: u32::try_from(executors - laggards.len()).unwrap_or(u32::MAX),
                laggards,
                changes_at: lost.map(|executor| executor.since + lost_after).min(),
            }
        })
    }

    /// All executors, by node, then id.
    pub fn executors(&self) -> Vec<ExecutorInfo> {
        let mut all: Vec<ExecutorInfo> =
            self.with_quietly(|state| state.executors.values().map(|executor| executor.info(Instant::now())).collect());
        all.sort_by(|one, other| (&one.node, &one.id).cmp(&(&other.node, &other.id)));
        all
    }

    /// Runs `change` under the lock and wakes who watches.
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = self.with_quietly(change);
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
        result
    }

    /// Runs `look` under the lock, after forgetting executors that were lost for too long.
    fn with_quietly<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        let mut state: MutexGuard<'_, State> = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        state.executors.retain(|_, executor| executor.link.is_some() || now < executor.since + self.lost_after);
        look(&mut state)
    }

    /// As `with`, unless the stream is an old one of an executor that came back.
    fn with_linked(&self, executor: &str, serial: u64, change: impl FnOnce(&mut State)) {
        self.with(|state| {
            let link = state.executors.get(executor).and_then(|known| known.link.as_ref());
            if link.is_some_and(|link| link.serial == serial) {
                change(state);
            }
        });
    }
}
