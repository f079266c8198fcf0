//! Runs jobs in the VMs of its thread. Every strategy ends here.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use contract::Code;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use sandbox::{Answer, Ask, Call, Capability, Engine, Execution, Fault, Limits, State, Step, Waiting};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use uuid::fmt::Hyphenated;

use super::asks::{Family, RunAsk, Services, sibling};
use super::board::VmStatus;
use super::clock::{CpuClock, nanos, now_ns};
use super::job::{Entry, Job, Outcome, fault};
use super::said::Said;
use super::share::LONG_NS;
use super::terms::{self, Place};
use super::warden::stuck_after;
use crate::vms::Vms;

/// By when a thread should be back from inside a VM, for who watches whether it is.
#[derive(Debug, Default)]
pub(crate) struct Beat(AtomicU64);

impl Beat {
    /// When it counts as stuck, on the clock of `clock.rs`; `None` while it is out.
    pub(crate) fn due_ns(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&due| due != 0)
    }

    pub(super) fn enter(&self, due_ns: u64) {
        self.0.store(due_ns, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// The VMs of one thread, and how jobs are run in them. Lives on that thread.
#[derive(Debug)]
pub(crate) struct VmHost {
    // Borrowed only while a VM computes, which never awaits.
    pub(super) vms: RefCell<Vms>,
    services: Services,
    clock: RefCell<CpuClock>,
    beat: Arc<Beat>,
    panics: Counter,
}

impl VmHost {
    /// Without a VM yet. `vms` counts them, `panics` the times that all had to go.
    pub(crate) fn new(engine: Arc<Engine>, services: Services, vms: Gauge, panics: Counter) -> Self {
        Self {
            vms: RefCell::new(Vms::new(engine, vms)),
            services,
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
        let terms = &*job.siblings.terms;
        let _place = match Place::of_tenant(terms, &job.script.tenant) {
            Ok(place) => place,
            Err(fault) => return Outcome::fault(fault),
        };
        if let Some(drill) = job.drill {
            let mut cpu = Duration::ZERO;
            let result = self.step(&mut cpu, &terms.limits, || drill.perform());
            return Outcome { cpu, ..Outcome::bare(result) };
        }
        // What a script says of its own time does not hold for the middleware around it.
        let limits = &terms.limits;
        let wall = if job.layers.is_some() { limits.wall } else { terms::limits(&job.script, limits).wall };
        let family = Family::new(job.script.tenant.as_str(), Instant::now() + wall);
        let outcome = match &job.layers {
            None => whole(self.run(job, &family, 0).await),
            Some(layers) => self.run_within(layers, job, &family).await,
        };
        family.complete(outcome)
    }

    /// Runs one execution of `family`, `depth` below its root.
    pub(super) async fn run(&self, job: &Job, family: &Family, depth: u8) -> Outcome<sandbox::Outcome> {
        let script = &*job.script;
        let (tenant, program) = (script.tenant.as_str(), &script.program);
        let terms = &*job.siblings.terms;
        if script.has_life_cycle && terms::state(script, terms) == State::Tenant {
            self.wake(job, family).await;
        }
        let mut buffer = [0; Hyphenated::LENGTH];
        let id = &*job.id.hyphenated().encode_lower(&mut buffer);
        let mut limits = terms::limits(script, &terms.limits).into_owned();
        limits.wall = limits.wall.min(family.ends().saturating_duration_since(Instant::now()));
        if let Some(left) = family.cpu_left().filter(|_| depth == 0) {
            limits.cpu = limits.cpu.min(left);
        }
        let grants = terms::grants(script).and(terms.grants);
        let (entry, callee) = match &job.entry {
            Entry::Handle => (sandbox::Entry::Handle, None),
            Entry::Event(event) => (sandbox::Entry::Event(event.as_str()), None),
            Entry::Before(callee) => (sandbox::Entry::Before, Some(callee.told())),
            Entry::After(callee, result) => (sandbox::Entry::After { result }, Some(callee.told())),
        };
        let call = Call {
            input: &job.input,
            grants: &grants,
            state: terms::state(script, terms),
            entry,
            callee,
            ..Call::new(tenant, script.name.as_str(), script.version.as_str(), id, &limits)
        };
        let vm = match self.vms.borrow_mut().of(tenant, &terms.limits, Instant::now()) {
            Ok(vm) => vm,
            Err(fault) => return Outcome::fault(fault),
        };
        let _place = match Place::of_script(script) {
            Ok(place) => place,
            Err(fault) => return Outcome::fault(fault),
        };
        let (running_max, _) = terms.bounds();
        if vm.borrow().waiting() >= running_max {
            let from = terms.effective.concurrency.from;
            let detail =
                format!("tenant `{tenant}` has {running_max} executions that wait, which is all it may have ({from})");
            return Outcome::fault(fault(Code::Overloaded, detail));
        }
        let mut cpu = Duration::ZERO;
        // Made when the first ask is: most executions have none.
        let mut open = None;
        let mut step = self.step(&mut cpu, &limits, || Ok(vm.borrow_mut().begin(program, &call)));
        let execution = loop {
            match step {
                Err(fault) => return Outcome { cpu, ..Outcome::fault(fault) },
                Ok(Step::Ended(execution)) => break execution,
                Ok(Step::Waiting(Waiting { run, asks, wake_at })) => {
                    let open = open.get_or_insert_with(FuturesUnordered::new);
                    open.extend(asks.into_iter().map(|ask| self.answer(job, family, depth, ask)));
                    let until = wake_at.unwrap_or(run.ends());
                    let answers = tokio::select! {
                        () = job.cancel.cancelled() => break vm.borrow_mut().cancel(run),
                        Some(answer) = open.next(), if !open.is_empty() => vec![answer],
                        () = sleep_until(until.into()) => Vec::new(),
                    };
                    step = self.step(&mut cpu, &limits, || Ok(vm.borrow_mut().resume(run, answers)));
                }
            }
        };
        if !vm.borrow().is_usable() {
            self.vms.borrow_mut().retire(tenant, &vm);
        }
        let Execution { outcome, log, log_dropped, wall } = execution;
        Outcome { log, log_dropped, wall, cpu, ..Outcome::bare(outcome) }
    }

    /// Answers what an execution asks for beyond its VM.
    async fn answer(&self, job: &Job, family: &Family, depth: u8, ask: Ask) -> Answer {
        let outcome = match ask.capability {
            Capability::Run => self.run_sibling(job, family, depth + 1, &ask.payload).await,
            Capability::Http => self.request(job, family, ask.payload).await,
            other => Err(format!("`{other}` is nothing that can be asked for")),
        };
        Answer { id: ask.id, outcome }
    }

    async fn run_sibling(&self, job: &Job, family: &Family, depth: u8, payload: &[u8]) -> Result<Vec<u8>, String> {
        let ask: RunAsk = serde_json::from_slice(payload).map_err(|err| err.to_string())?;
        let script = match &self.services {
            Services::Own(_) => sibling(&job.script.tenant, &job.siblings, &ask.script).cloned(),
            Services::Executor(asker) => asker.sibling(job, &ask.script).await,
        }?;
        family.count_run(depth)?;
        let name = script.name.clone();
        let nested = Job {
            script,
            entry: Entry::Handle,
            input: ask.into_input(),
            layers: None,
            drill: None,
            // It ends with who waits for it, who would otherwise hear of a failed script.
            cancel: CancellationToken::new(),
            ..job.clone()
        };
        let mut outcome = Box::pin(self.run(&nested, family, depth)).await;
        family.charge(outcome.cpu);
        family.keep(Said::by(&nested, &mut outcome));
        let result =
            outcome.result.map_err(|fault| format!("script `{name}` failed: {}: {}", fault.code, fault.detail))?;
        Ok(result.into_json())
    }

    async fn request(&self, job: &Job, family: &Family, payload: Vec<u8>) -> Result<Vec<u8>, String> {
        match &self.services {
            Services::Own(outbound) => {
                let grant = terms::http(&job.script, &job.siblings.terms);
                let requested = outbound.request(&grant, family.requests(), &payload).await;
                requested.map_err(|err| err.to_string())
            }
            Services::Executor(asker) => asker.request(job, payload).await,
        }
    }

    /// One stay inside the VMs: watched, measured, and with all of them given up should it panic.
    /// The CPU time is added to `cpu`.
    fn step<T>(&self, cpu: &mut Duration, limits: &Limits, run: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        let begun = now_ns();
        self.clock.borrow_mut().begin(begun);
        self.beat.enter(begun.saturating_add(nanos(stuck_after(limits))));
        let ended = catch_unwind(AssertUnwindSafe(run));
        self.beat.leave();
        *cpu += Duration::from_nanos(self.clock.borrow_mut().end(begun, now_ns(), LONG_NS));
        ended.unwrap_or_else(|panic| {
            self.vms.borrow_mut().clear();
            self.panics.inc();
            tracing::error!(panic = words(&*panic), "an execution panicked; the VMs of this worker are made anew");
            Err(fault(Code::Internal, "the executor failed while it ran the script (panic); its VMs were made anew"))
        })
    }

    /// Whether VMs went out of use that are not dropped yet.
    pub(crate) fn has_retired(&self) -> bool {
        self.vms.borrow().has_retired()
    }

    /// Drops the VMs that went out of use. To be called when an execution was answered; cheap if there are none.
    pub(crate) fn bury(&self) {
        let retired = self.vms.borrow_mut().take_retired();
        drop(retired);
    }

    /// Drops the VMs of tenants that are not to stay, and those unused for long; tells what is left.
    pub(crate) fn sweep(&self, stays: impl Fn(&str) -> bool) -> Vec<VmStatus> {
        let mut vms = self.vms.borrow_mut();
        let now = Instant::now();
        vms.sweep(now, stays);
        vms.status(now)
    }
}

/// As callers get it.
pub(super) fn whole(outcome: Outcome<sandbox::Outcome>) -> Outcome {
    let mut outcome = outcome;
    let result = std::mem::replace(&mut outcome.result, Ok(sandbox::Outcome::Nothing));
    outcome.with(result.map(|value| value.into_json().into()))
}

/// What a panic said.
pub(crate) fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    let said = panic.downcast_ref::<&str>().copied();
    said.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words")
}
