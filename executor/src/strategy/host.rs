//! Runs jobs in the VMs of its thread. Every strategy ends here.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use contract::Code;
use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use sandbox::{Answer, Ask, Call, Engine, Execution, Fault, Limits, Step, Waiting};
use tokio::time::timeout_at;
use uuid::fmt::Hyphenated;

use super::board::VmStatus;
use super::clock::{CpuClock, now_ns};
use super::job::{Job, Outcome, fault};
use super::share::LONG_NS;
use crate::vms::Vms;

/// Since when a thread has been inside a VM, for who watches whether it comes back.
#[derive(Debug, Default)]
pub(crate) struct Beat(AtomicU64);

impl Beat {
    /// When the thread went in, on the clock of `clock.rs`; `None` while it is out.
    pub(crate) fn inside_since_ns(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&since| since != 0)
    }

    pub(super) fn enter(&self, now_ns: u64) {
        self.0.store(now_ns, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// The VMs of one thread, and how jobs are run in them. Lives on that thread.
#[derive(Debug)]
pub(crate) struct VmHost {
    // Borrowed only while a VM computes, which never awaits.
    vms: RefCell<Vms>,
    limits: Limits,
    clock: RefCell<CpuClock>,
    beat: Arc<Beat>,
    panics: Counter,
}

impl VmHost {
    /// Without a VM yet. `vms` counts them, `panics` the times that all had to go.
    pub(crate) fn new(engine: Arc<Engine>, limits: Limits, vms: Gauge, panics: Counter) -> Self {
        Self {
            vms: RefCell::new(Vms::new(engine, limits.clone(), vms)),
            limits,
            clock: RefCell::default(),
            beat: Arc::default(),
            panics,
        }
    }

    /// Tells whether the thread comes back.
    pub(crate) fn beat(&self) -> Arc<Beat> {
        Arc::clone(&self.beat)
    }

    /// Runs a job to its end. Several may be under way at once.
    pub(crate) async fn execute(&self, job: &Job) -> Outcome {
        match job.drill {
            Some(drill) => {
                let (result, cpu) = self.step(|| drill.perform());
                Outcome { cpu, ..Outcome::bare(result) }
            }
            None => self.run(job).await.unwrap_or_else(Outcome::fault),
        }
    }

    async fn run(&self, job: &Job) -> Result<Outcome, Fault> {
        let mut buffer = [0; Hyphenated::LENGTH];
        let script = &*job.script;
        let (tenant, program) = (script.tenant.as_str(), &script.program);
        let id = &*job.id.hyphenated().encode_lower(&mut buffer);
        let call = Call {
            input: &job.input,
            ..Call::new(tenant, script.name.as_str(), script.version.as_str(), id, &self.limits)
        };
        let vm = self.vms.borrow_mut().of(tenant, Instant::now())?;
        let mut open = FuturesUnordered::new();
        let (mut step, mut cpu) = self.step(|| Ok(vm.borrow_mut().begin(program, &call)));
        let execution = loop {
            match step? {
                Step::Ended(execution) => break execution,
                Step::Waiting(Waiting { run, asks, wake_at }) => {
                    open.extend(asks.into_iter().map(|ask| self.answer(job, ask)));
                    let until = wake_at.unwrap_or(run.ends());
                    let answer = timeout_at(until.into(), next(&mut open)).await;
                    let more;
                    (step, more) = self.step(|| Ok(vm.borrow_mut().resume(run, answer.into_iter().collect())));
                    cpu += more;
                }
            }
        };
        if !vm.borrow().is_usable() {
            self.vms.borrow_mut().retire(tenant, &vm);
        }
        let result = execution.outcome.map(|outcome| outcome.into_json().into());
        let Execution { log, log_dropped, wall, .. } = execution;
        Ok(Outcome { result, log, log_dropped, wall, cpu })
    }
    /// Answers what an execution asks for beyond its VM.
    async fn answer(&self, _job: &Job, ask: Ask) -> Answer {
        Answer { id: ask.id, outcome: Err(format!("`{}` is not available here", ask.capability)) }
    }

    /// One stay inside the VMs: watched, measured, and with all of them given up should it panic.
    fn step<T>(&self, run: impl FnOnce() -> Result<T, Fault>) -> (Result<T, Fault>, Duration) {
        let begun = now_ns();
        self.clock.borrow_mut().begin(begun);
        self.beat.enter(begun);
        let ended = catch_unwind(AssertUnwindSafe(run));
        self.beat.leave();
        let cpu = self.clock.borrow_mut().end(begun, now_ns(), LONG_NS);
        let ended = ended.unwrap_or_else(|panic| {
            self.vms.borrow_mut().clear();
            self.panics.inc();
            tracing::error!(panic = words(&*panic), "an execution panicked; the VMs of this worker are made anew");
            Err(fault(Code::Internal, "the executor failed while it ran the script (panic); its VMs were made anew"))
        });
        (ended, Duration::from_nanos(cpu))
    }

    /// Drops the VMs of tenants that are not to stay, and those unused for long; tells what is left.
    pub(crate) fn sweep(&self, stays: impl Fn(&str) -> bool) -> Vec<VmStatus> {
        let mut vms = self.vms.borrow_mut();
        let now = Instant::now();
        vms.sweep(now, stays);
        vms.status(now)
    }
}

/// The next answer; none comes where nobody is asked.
async fn next(open: &mut (impl Stream<Item = Answer> + Unpin)) -> Answer {
    match open.next().await {
        Some(answer) => answer,
        None => std::future::pending().await,
    }
}

/// What a panic said.
pub(crate) fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    let said = panic.downcast_ref::<&str>().copied();
    said.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words")
}
