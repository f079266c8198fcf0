//! The door to executions on one I/O thread: gives each job its place, and accounts for what came of it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use contract::{Code, TenantName};
use prometheus_client::metrics::histogram::Histogram;

use super::clock::{nanos, now_ns};
use super::common::Common;
use super::host::{Beat, VmHost};
use super::job::{Job, Outcome};
use super::{Place, Strategy};
use crate::metrics::TenantMeter;

/// Where jobs of one I/O thread go in, and outcomes come out.
pub(crate) struct Dispatcher {
    name: String,
    strategy: Arc<dyn Strategy>,
    here: VmHost,
    common: Common,
    seconds: Histogram,
    meters: RefCell<HashMap<TenantName, TenantMeter>>,
}

impl Dispatcher {
    /// For I/O thread `index`, which must be the calling one.
    pub(crate) fn new(index: usize, strategy: Arc<dyn Strategy>, common: Common) -> Self {
        let (here, seconds) = (common.host(), common.metrics().execution_seconds(index));
        Self { name: format!("worker-{index}"), strategy, here, common, seconds, meters: RefCell::default() }
    }

    /// Executes `job`, wherever that is; counts it, and logs what the script logged.
    pub(crate) async fn execute(&self, job: Job) -> Outcome {
        let outcome = match self.strategy.place(&job) {
            Place::Here => self.here.execute(&job).await,
            Place::There(handed_off) => handed_off.outcome().await,
            Place::Refused(fault) => {
                self.common.metrics().refuse(fault.code);
                return Outcome::fault(fault);
            }
        };
        self.charge(&job, &outcome);
        self.seconds.observe(outcome.wall.as_secs_f64());
        self.count(&job, outcome.result.as_ref().err().map(|fault| fault.code));
        log(&job, &outcome);
        outcome
    }

    /// To be called about once a second.
    pub(crate) fn upkeep(&self) {
        self.common.upkeep(&self.name, &self.here);
        let active = self.common.serving.active();
        let stays = |tenant: &str| active.as_ref().is_some_and(|active| active.has_tenant(tenant));
        self.meters.borrow_mut().retain(|tenant, _| stays(tenant.as_str()));
    }

    /// Tells whether this thread comes back from scripts.
    pub(crate) fn beat(&self) -> Arc<Beat> {
        self.here.beat()
    }

    fn charge(&self, job: &Job, outcome: &Outcome) {
        let mut cpu_ns = nanos(outcome.cpu);
        if let Err(fault) = &outcome.result
            && matches!(fault.code, Code::DeadlineExceeded | Code::MemoryExceeded)
        {
            cpu_ns = cpu_ns.max(nanos(self.common.limits.cpu));
        }
        if cpu_ns > 0 {
            job.script.share.charge(cpu_ns, now_ns());
        }
    }

    fn count(&self, job: &Job, fault: Option<Code>) {
        let mut meters = self.meters.borrow_mut();
        let tenant = &job.script.tenant;
        if let Some(meter) = meters.get_mut(tenant) {
            meter.count(fault);
            return;
        }
        let mut meter = self.common.metrics().tenant(tenant.as_str());
        meter.count(fault);
        meters.insert(tenant.clone(), meter);
    }
}

/// Writes the script's log lines, and its fault, into ours. A fault is the tenant's affair (INFO) unless it is ours.
fn log(job: &Job, outcome: &Outcome) {
    macro_rules! line {
        ($level:ident, $($rest:tt)*) => {
            tracing::$level!(
                source = "lua_script",
                tenant = job.script.tenant.as_str(),
                script = job.script.name.as_str(),
                version = job.script.version.as_str(),
                execution_id = %job.id,
                $($rest)*
            )
        };
    }
    for entry in &outcome.log {
        match entry.level {
            sandbox::Level::Debug => line!(debug, "{}", entry.message),
            sandbox::Level::Info => line!(info, "{}", entry.message),
            sandbox::Level::Warn => line!(warn, "{}", entry.message),
            sandbox::Level::Error => line!(error, "{}", entry.message),
        }
    }
    if outcome.log_dropped > 0 {
        line!(warn, dropped = outcome.log_dropped, "log lines of the script were dropped: it logs more than it may");
    }
    match &outcome.result {
        Ok(_) => {}
        Err(fault) if fault.code == Code::Internal => line!(error, code = fault.code.as_str(), "{}", fault.detail),
        Err(fault) => line!(info, code = fault.code.as_str(), "execution failed: {}", fault.detail),
    }
}
