//! What is kept of every execution, whichever door it came by: its tenant's account, counters, and log lines.

use std::collections::HashMap;

use contract::{Code, TenantName};
use prometheus_client::metrics::histogram::Histogram;

use super::clock::{nanos, now_ns};
use super::common::Common;
use super::job::{Job, Outcome};
use super::said::Said;
use crate::metrics::TenantMeter;

/// The books of one door.
pub(crate) struct Ledger {
    common: Common,
    seconds: Histogram,
    meters: HashMap<TenantName, TenantMeter>,
}

impl Ledger {
    /// For door `index`; I/O threads count from 0, and who comes after them goes on counting.
    pub(crate) fn new(index: usize, common: Common) -> Self {
        let seconds = common.metrics().execution_seconds(index);
        Self { common, seconds, meters: HashMap::new() }
    }

    /// What the workers of the process share.
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }

    /// Notes an execution that has ended, and passes on what was logged. What is left is for its caller.
    pub(crate) fn note(&mut self, job: &Job, mut outcome: Outcome) -> Outcome {
        self.charge(job, &outcome);
        self.seconds.observe(outcome.wall.as_secs_f64());
        self.count(job, outcome.result.as_ref().err().map(|fault| fault.code));
        for said in &outcome.others {
            said.tell(self.common.metrics());
        }
        let is_quiet = outcome.log.is_empty() && outcome.log_dropped == 0 && outcome.result.is_ok();
        if !is_quiet || job.life_cycle().is_some() {
            Said::by(job, &mut outcome).and_failed(&outcome).tell(self.common.metrics());
        }
        outcome
    }

    /// Forgets tenants that have left the release. To be called about once a second.
    pub(crate) fn upkeep(&mut self) {
        let active = self.common.serving.active();
        let stays = |tenant: &str| active.as_ref().is_some_and(|active| active.has_tenant(tenant));
        self.meters.retain(|tenant, _| stays(tenant.as_str()));
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

    fn count(&mut self, job: &Job, fault: Option<Code>) {
        let tenant = &job.script.tenant;
        if let Some(meter) = self.meters.get_mut(tenant) {
            meter.count(fault);
            return;
        }
        let mut meter = self.common.metrics().tenant(tenant.as_str());
        meter.count(fault);
        self.meters.insert(tenant.clone(), meter);
    }
}
