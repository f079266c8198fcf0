//! The VMs of one worker: one per tenant, made on first use, never shared between tenants.
//!
//! A VM goes when it may be hurt, when its tenant left the release, when it idles, or when there are too many.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sandbox::{Call, Engine, Execution, Fault, Limits, Program, Vm};

use crate::metrics::{Counted, Metrics, TenantMeter};

/// VMs of one worker, at about 185 KiB each when idle; the one unused for longest makes room.
const VMS_MAX: usize = 512;

/// An unused VM is kept this long; making one anew costs a first call 0.2 ms.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// The VMs of one worker.
pub(crate) struct Vms {
    engine: Arc<Engine>,
    limits: Limits,
    metrics: Arc<Metrics>,
    slots: HashMap<String, Slot>,
    vms_max: usize,
}

struct Slot {
    vm: Vm,
    meter: TenantMeter,
    used: Instant,
    _counted: Counted,
}

impl Vms {
    pub(crate) fn new(engine: Arc<Engine>, limits: Limits, metrics: Arc<Metrics>) -> Self {
        Self { engine, limits, metrics, slots: HashMap::new(), vms_max: VMS_MAX }
    }

    /// Runs `program` in the VM of the call's tenant.
    ///
    /// # Errors
    /// There is no VM and none can be made.
    pub(crate) fn run(&mut self, program: &Program, call: &Call<'_>) -> Result<Execution, Fault> {
        if !self.slots.contains_key(call.tenant) {
            self.add(call.tenant)?;
        }
        let slot = self.slots.get_mut(call.tenant).expect("it was there or was just added");
        let execution = slot.vm.run(program, call);
        slot.used = Instant::now();
        slot.meter.count(execution.outcome.as_ref().err().map(|fault| fault.code));
        if !slot.vm.is_usable() {
            self.slots.remove(call.tenant);
        }
        Ok(execution)
    }

    fn add(&mut self, tenant: &str) -> Result<(), Fault> {
        if self.slots.len() >= self.vms_max {
            let oldest = self.slots.iter().min_by_key(|(_, slot)| slot.used).map(|(tenant, _)| tenant.clone());
            oldest.and_then(|oldest| self.slots.remove(&oldest));
        }
        let vm = self.engine.vm(&self.limits)?;
        let _counted = Counted::by(&self.metrics.vms);
        let slot = Slot { vm, meter: self.metrics.tenant(tenant), used: Instant::now(), _counted };
        self.slots.insert(tenant.to_owned(), slot);
        Ok(())
    }

    /// Drops the VMs of tenants that are not to stay, and those unused since long before `now`.
    pub(crate) fn sweep(&mut self, now: Instant, stays: impl Fn(&str) -> bool) {
        self.slots.retain(|tenant, slot| stays(tenant) && now.saturating_duration_since(slot.used) < IDLE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use sandbox::{Entry, Grants, State};

    use super::*;

    fn vms(vms_max: usize) -> (Vms, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::default());
        let mut vms = Vms::new(Engine::start().unwrap(), Limits::default(), Arc::clone(&metrics));
        vms.vms_max = vms_max;
        (vms, metrics)
    }

    #[track_caller]
    fn run(vms: &mut Vms, tenant: &str, source: &str) -> Execution {
        let program = sandbox::compile("x.luau", source.as_bytes(), &vms.limits).unwrap();
        let limits = vms.limits.clone();
        let call = Call {
            tenant,
            script: "x",
            version: "v",
            execution_id: "id",
            input: b"",
            entry: Entry::Handle,
            limits: &limits,
            grants: &Grants::default(),
            state: State::Fresh,
        };
        vms.run(&program, &call).unwrap()
    }

    const ANSWER: &str = "return function() return 1 end";

    #[test]
    fn tenants_have_a_vm_each_and_the_longest_unused_makes_room() {
        let (mut vms, metrics) = vms(2);

        for tenant in ["a", "b", "a", "c"] {
            run(&mut vms, tenant, ANSWER).outcome.unwrap();
        }

        let mut tenants: Vec<_> = vms.slots.keys().map(String::as_str).collect();
        tenants.sort_unstable();
        assert_eq!(tenants, ["a", "c"]);
        assert_eq!(metrics.vms.get(), 2);
    }

    #[test]
    fn a_vm_that_may_be_hurt_is_dropped() {
        let (mut vms, metrics) = vms(2);
        let hungry = "return function() local t = {} while true do t[#t + 1] = ('x'):rep(1e5) .. #t end end";

        let execution = run(&mut vms, "a", hungry);

        assert_eq!(execution.outcome.unwrap_err().code, contract::Code::MemoryExceeded);
        assert_eq!((vms.slots.len(), metrics.vms.get()), (0, 0));
    }

    #[test]
    fn vms_of_gone_tenants_and_idle_ones_are_swept() {
        let (mut vms, metrics) = vms(8);
        run(&mut vms, "gone", ANSWER).outcome.unwrap();
        run(&mut vms, "here", ANSWER).outcome.unwrap();

        vms.sweep(Instant::now(), |tenant| tenant == "here");
        assert_eq!(metrics.vms.get(), 1);

        vms.sweep(Instant::now() + IDLE_MAX, |_| true);
        assert_eq!(metrics.vms.get(), 0);
    }
}
