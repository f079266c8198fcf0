//! What is kept of every execution, whichever door it came by: its tenant's account, counters, and log lines.

use std::collections::HashMap;
use std::time::Duration;

use contract::{Code, TenantName};
use prometheus_client::metrics::histogram::Histogram;

use super::clock::{nanos, now_ns};
use super::common::Common;
use super::job::{Job, Outcome, fault};
use super::said::Said;
use crate::metrics::TenantMeter;
use crate::release::TooFast;

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
        Self::charge(job, &outcome);
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

    /// What the caller of a job is told that may not begin yet for its tenant's rates; `None` for one that may. Events of
    /// the life cycle have no caller.
    pub(crate) fn refuse(&mut self, job: &Job) -> Option<Outcome> {
        if job.life_cycle().is_some() {
            return None;
        }
        let (too_fast, of_script) = job.siblings.terms.admit(&job.script.name).err()?;
        let TooFast { rate, from, after } = too_fast;
        let (tenant, name) = (&job.script.tenant, &job.script.name);
        let what = if of_script { format!("script `{tenant}/{name}`") } else { format!("tenant `{tenant}`") };
        let after = whole_seconds(after);
        let detail = format!(
            "callers of {what} may begin {} executions per second here, {} at once ({from}); the next may begin in {} s",
            rate.per_second,
            rate.burst,
            after.as_secs()
        );
        self.common.metrics().refuse(Code::Overloaded);
        self.meter(tenant).count_rate_limited();
        Some(Outcome { retry_after: Some(after), ..Outcome::fault(fault(Code::Overloaded, detail)) })
    }

    /// Forgets tenants that have left the release. To be called about once a second.
    pub(crate) fn upkeep(&mut self) {
        let active = self.common.serving.active();
        let stays = |tenant: &str| active.as_ref().is_some_and(|active| active.has_tenant(tenant));
        self.meters.retain(|tenant, _| stays(tenant.as_str()));
    }

    fn charge(job: &Job, outcome: &Outcome) {
        let mut cpu_ns = nanos(outcome.cpu);
        if let Err(fault) = &outcome.result
            && matches!(fault.code, Code::DeadlineExceeded | Code::MemoryExceeded)
        {
            cpu_ns = cpu_ns.max(nanos(job.siblings.terms.limits.cpu));
        }
        if cpu_ns > 0 {
            job.script.share.charge(cpu_ns, now_ns());
        }
    }

    fn count(&mut self, job: &Job, fault: Option<Code>) {
        self.meter(&job.script.tenant).count(fault);
    }

    fn meter(&mut self, tenant: &TenantName) -> &mut TenantMeter {
        if !self.meters.contains_key(tenant) {
            self.meters.insert(tenant.clone(), self.common.metrics().tenant(tenant.as_str()));
        }
        self.meters.get_mut(tenant).expect("it was there or was just added")
    }
}

/// Whole seconds, as `Retry-After` tells them, and at least one.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_millis().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX))
}
