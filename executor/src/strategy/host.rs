//! Runs jobs in the VMs of its thread. Every strategy ends here.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use contract::Code;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use sandbox::{Call, Engine, Fault, Limits};
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
    clock: RefCell<CpuClock>,
    beat: Arc<Beat>,
    panics: Counter,
}

impl VmHost {
    /// Without a VM yet. `vms` counts them, `panics` the times that all had to go.
    pub(crate) fn new(engine: Arc<Engine>, limits: Limits, vms: Gauge, panics: Counter) -> Self {
        Self {
            vms: RefCell::new(Vms::new(engine, limits, vms)),
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
        let mut buffer = [0; Hyphenated::LENGTH];
        let call = Call {
            tenant: job.script.tenant.as_str(),
            script: job.script.name.as_str(),
            version: job.script.version.as_str(),
            execution_id: job.id.hyphenated().encode_lower(&mut buffer),
            input: &job.input,
        };
        // The one place where a script runs.
        let stepped = self.step(|vms| match job.drill {
            Some(drill) => Ok(Outcome::bare(drill.perform())),
            None => vms.run(&job.script.program, &call).map(|execution| Outcome {
                result: execution.outcome.map(Bytes::from),
                log: execution.log,
                log_dropped: execution.log_dropped,
                wall: execution.wall,
                cpu: Duration::ZERO,
            }),
        });
        match stepped {
            (Ok(outcome), cpu) => Outcome { cpu, ..outcome },
            (Err(fault), cpu) => Outcome { cpu, ..Outcome::fault(fault) },
        }
    }

    /// One stay inside the VMs: watched, measured, and with all of them given up should it panic.
    fn step<T>(&self, run: impl FnOnce(&mut Vms) -> Result<T, Fault>) -> (Result<T, Fault>, Duration) {
        let begun = now_ns();
        self.clock.borrow_mut().begin(begun);
        self.beat.enter(begun);
        let ended = catch_unwind(AssertUnwindSafe(|| run(&mut self.vms.borrow_mut())));
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

/// What a panic said.
pub(crate) fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    let said = panic.downcast_ref::<&str>().copied();
    said.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words")
}
