//! A worker: one thread that owns a listening socket, its connections and its VMs, and runs scripts where it reads
//! requests. No request is handed to another thread.

use std::cell::RefCell;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use prometheus_client::metrics::histogram::Histogram;
use sandbox::{Call, Engine, Execution, Fault, Limits, Outcome, Program};
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;
use uuid::{ContextV7, Timestamp, Uuid};

use crate::http::server;
use crate::http::token::Token;
use crate::release::Serving;
use crate::vms::Vms;

/// How often VMs are looked over; a tenant that was removed leaves memory this soon.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What all workers are started with.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) serving: Arc<Serving>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) limits: Limits,
    pub(crate) token: Option<Token>,
    pub(crate) stop: CancellationToken,
    pub(crate) drain: Duration,
    /// Dropped when the worker is done.
    pub(crate) done: Sender<()>,
}

/// What the requests of one thread share.
pub(crate) struct Worker {
    pub(crate) serving: Arc<Serving>,
    pub(crate) token: Option<Token>,
    pub(crate) limits: Limits,
    // Borrowed only for the length of an execution, which never awaits.
    vms: RefCell<Vms>,
    seconds: Histogram,
    // One per worker: the process-wide one of `uuid` is behind a lock.
    ids: ContextV7,
}

/// Starts worker `index` on its own thread.
pub(crate) fn spawn(index: usize, listener: TcpListener, parts: Parts) -> std::io::Result<()> {
    let name = format!("worker-{index}");
    thread::Builder::new().name(name).stack_size(crate::STACK_BYTES).spawn(move || run(index, listener, parts))?;
    Ok(())
}

fn run(index: usize, listener: TcpListener, parts: Parts) {
    let Parts { stop, drain, done, .. } = parts.clone();
    let worker = Rc::new(Worker::new(index, parts));
    let served = Builder::new_current_thread().enable_all().build().and_then(|runtime| {
        LocalSet::new().block_on(&runtime, async {
            let sweeper = tokio::task::spawn_local(sweep(Rc::clone(&worker)));
            let served = server::serve(worker, listener, stop, drain).await;
            sweeper.abort();
            served
        })
    });
    match served {
        Ok(0) => {}
        Ok(unfinished) => tracing::warn!(worker = index, unfinished, "requests did not end before the drain deadline"),
        Err(err) => tracing::error!(worker = index, error = telemetry::chain(&err), "worker can't serve"),
    }
    drop(done);
}

async fn sweep(worker: Rc<Worker>) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    loop {
        ticks.tick().await;
        let active = worker.serving.active();
        let stays = |tenant: &str| active.as_ref().is_some_and(|active| active.has_tenant(tenant));
        worker.vms.borrow_mut().sweep(Instant::now(), stays);
    }
}

impl Worker {
    fn new(index: usize, parts: Parts) -> Self {
        let Parts { serving, engine, limits, token, .. } = parts;
        let vms = RefCell::new(Vms::new(engine, limits.clone(), Arc::clone(serving.metrics())));
        let seconds = serving.metrics().execution_seconds(index);
        Self { serving, token, limits, vms, seconds, ids: ContextV7::new() }
    }

    /// A new execution id: UUID version 7 (RFC 9562), so that ids sort by time.
    pub(crate) fn execution_id(&self) -> Uuid {
        Uuid::new_v7(Timestamp::now(&self.ids))
    }

    /// Runs a script to its end on this thread, and passes on what it logged.
    ///
    /// # Errors
    /// The fault of the script, or ours.
    pub(crate) fn execute(&self, program: &Program, call: &Call<'_>) -> Result<Vec<u8>, Fault> {
        let execution = self.vms.borrow_mut().run(program, call).inspect_err(|fault| {
            tracing::error!(
                tenant = call.tenant,
                script = call.script,
                execution_id = call.execution_id,
                error = fault.detail,
                "no VM"
            );
        })?;
        self.seconds.observe(execution.wall.as_secs_f64());
        log(call, &execution);
        execution.outcome.map(Outcome::into_json)
    }
}

/// Writes the script's log lines, and its fault, into ours. A fault is the tenant's affair (INFO) unless it is ours.
fn log(call: &Call<'_>, execution: &Execution) {
    macro_rules! line {
        ($level:ident, $($rest:tt)*) => {
            tracing::$level!(
                source = "lua_script",
                tenant = call.tenant,
                script = call.script,
                version = call.version,
                execution_id = call.execution_id,
                $($rest)*
            )
        };
    }
    for entry in &execution.log {
        match entry.level {
            sandbox::Level::Debug => line!(debug, "{}", entry.message),
            sandbox::Level::Info => line!(info, "{}", entry.message),
            sandbox::Level::Warn => line!(warn, "{}", entry.message),
            sandbox::Level::Error => line!(error, "{}", entry.message),
        }
    }
    if execution.log_dropped > 0 {
        line!(warn, dropped = execution.log_dropped, "log lines of the script were dropped: it logs more than it may");
    }
    match &execution.outcome {
        Ok(_) => {}
        Err(fault) if fault.code == contract::Code::Internal => {
            line!(error, code = fault.code.as_str(), "{}", fault.detail)
        }
        Err(fault) => line!(info, code = fault.code.as_str(), "execution failed: {}", fault.detail),
    }
}
