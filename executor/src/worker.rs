//! A worker: one thread that owns a listening socket and its connections. Where the scripts of its requests run is for
//! the [`Dispatcher`] to say: by default on this very thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use contract::Token;
use sandbox::Limits;
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::{ContextV7, Timestamp, Uuid};

use crate::executions::Executions;
use crate::http::server;
use crate::listen::Socket;
use crate::release::Serving;
use crate::strategy::{Common, Dispatcher, Job, Outcome, Strategy, Watching, words};

/// How often VMs are looked over; a tenant that was removed leaves memory this soon.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);

/// What all workers are started with.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) common: Common,
    pub(crate) strategy: Arc<dyn Strategy>,
    pub(crate) executions: Arc<Executions>,
    pub(crate) token: Option<Token>,
    pub(crate) drills: bool,
    /// Cancelled when the worker should drain and end.
    pub(crate) stop: CancellationToken,
    pub(crate) drain: Duration,
    /// Dropped when the worker is done.
    pub(crate) done: Sender<()>,
}

/// What the requests of one thread share.
pub(crate) struct Worker {
    pub(crate) serving: Arc<Serving>,
    pub(crate) token: Option<Token>,
    limits: Limits,
    /// Whether callers may ask for faults.
    pub(crate) drills: bool,
    /// Those whose callers were sent away.
    pub(crate) executions: Arc<Executions>,
    dispatcher: Dispatcher,
    /// Executions that outlive a poll of their request; waited for at the end.
    running: TaskTracker,
    /// Asks for a panic of the thread.
    panic: Notify,
    // One per worker: the process-wide one of `uuid` is behind a lock.
    ids: ContextV7,
}

/// Starts worker `index` on its own thread. One that panics begins anew with the same socket, and so does another thread
/// in place of one that does not come back from a script: the connections that the kernel has for this socket are not
/// lost.
///
/// # Errors
/// The operating system gives no thread.
pub(crate) fn spawn(index: usize, socket: Arc<Socket>, parts: Parts) -> std::io::Result<()> {
    let name = format!("worker-{index}");
    thread::Builder::new().name(name).stack_size(crate::STACK_BYTES).spawn(move || {
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(index, &socket, &parts))) {
            tracing::error!(worker = index, panic = words(&*panic), "a worker panicked; it begins anew");
            parts.common.metrics().count_restart("panic");
        }
        drop(parts.done);
    })?;
    Ok(())
}

fn run(index: usize, socket: &Arc<Socket>, parts: &Parts) {
    let worker = Rc::new(Worker::new(index, parts));
    let (stop, _watching) = watch(index, socket, parts, &worker.dispatcher);
    let served = Builder::new_current_thread().enable_all().build().and_then(|runtime| {
        let Some(listener) = socket.listener()? else { return Ok(0) };
        LocalSet::new().block_on(&runtime, async {
            let upkeep = tokio::task::spawn_local(upkeep(Rc::clone(&worker)));
            let served = tokio::select! {
                served = server::serve(Rc::clone(&worker), listener, stop, parts.drain) => served,
                () = worker.panic.notified() => panic!("a drill"),
            };
            worker.running.close();
            if timeout(parts.drain, worker.running.wait()).await.is_err() {
                let unfinished = worker.running.len();
                tracing::warn!(worker = index, unfinished, "executions did not end before the drain deadline");
            }
            worker.dispatcher.shut_down().await;
            upkeep.abort();
            served
        })
    });
    match served {
        Ok(0) => {}
        Ok(unfinished) => tracing::warn!(worker = index, unfinished, "requests did not end before the drain deadline"),
        Err(err) => tracing::error!(worker = index, error = telemetry::chain(&err), "worker can't serve"),
    }
}

/// Has the thread replaced should it not come back from a script; should it come back later, it drains and ends, for
/// which the token is that is returned.
fn watch(index: usize, socket: &Arc<Socket>, parts: &Parts, dispatcher: &Dispatcher) -> (CancellationToken, Watching) {
    let stop = parts.stop.child_token();
    let (replaced, socket, parts) = (stop.clone(), Arc::clone(socket), parts.clone());
    let warden = Arc::clone(&parts.common.warden);
    let watching = warden.watch(format!("worker-{index}"), dispatcher.beat(), move || {
        match spawn(index, Arc::clone(&socket), parts.clone()) {
            Ok(()) => replaced.cancel(),
            Err(err) => tracing::error!(worker = index, error = telemetry::chain(&err), "a worker can't be replaced"),
        }
    });
    (stop, watching)
}

async fn upkeep(worker: Rc<Worker>) {
    let mut ticks = tokio::time::interval(UPKEEP_EVERY);
    loop {
        ticks.tick().await;
        worker.dispatcher.upkeep();
    }
}

impl Worker {
    fn new(index: usize, parts: &Parts) -> Self {
        let common = parts.common.clone();
        Self {
            serving: Arc::clone(&common.serving),
            token: parts.token.clone(),
            limits: common.limits.clone(),
            drills: parts.drills,
            executions: Arc::clone(&parts.executions),
            running: TaskTracker::new(),
            dispatcher: Dispatcher::new(index, Arc::clone(&parts.strategy), common),
            panic: Notify::new(),
            ids: ContextV7::new(),
        }
    }

    /// A new execution id: UUID version 7 (RFC 9562), so that ids sort by time.
    pub(crate) fn execution_id(&self) -> Uuid {
        Uuid::new_v7(Timestamp::now(&self.ids))
    }

    /// The most bytes that any input may have. Read before it is known whose it is; the tenant's own limit comes later.
    pub(crate) fn input_bytes_max(&self) -> usize {
        self.serving.active().as_ref().map_or(self.limits.input_bytes, |active| active.input_bytes_max())
    }

    /// Executes a job, counts it, and passes on what it logged.
    pub(crate) async fn execute(&self, job: Job) -> Outcome {
        self.dispatcher.execute(job).await
    }

    /// Has `task` go on, on this thread, also without the request that it is for.
    pub(crate) fn spawn<T: 'static>(&self, task: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        self.running.spawn_local(task)
    }

    /// Panics where connections are accepted, soon.
    pub(crate) fn panic_for_a_drill(&self) {
        self.panic.notify_one();
    }
}
