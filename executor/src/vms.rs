//! The VMs of one worker: one per tenant, made on first use, never shared between tenants.
//!
//! A VM goes when it may be hurt, when its tenant left the release, when it idles, or when there are too many.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::metrics::gauge::Gauge;
use sandbox::{Call, Engine, Execution, Fault, Limits, Program, Vm};

use crate::metrics::Counted;
use crate::strategy::VmStatus;

/// VMs of one worker, at about 185 KiB each when idle; the one unused for longest makes room.
const VMS_MAX: usize = 512;

/// Bytes that the VMs of one worker may hold together between executions. Their limits may add up to more: few VMs
/// come near theirs, and those unused for longest make room for those that do.
const BYTES_MAX: usize = 512 << 20;

/// An unused VM is kept this long; making one anew costs a first call 0.2 ms.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// The VMs of one worker.
#[derive(Debug)]
pub(crate) struct Vms {
    engine: Arc<Engine>,
    limits: Limits,
    gauge: Gauge,
    slots: HashMap<String, Slot>,
    vms_max: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Slot {
    vm: Vm,
    used: Instant,
    _counted: Counted,
}

impl Vms {
    /// None yet; `gauge` counts them.
    pub(crate) fn new(engine: Arc<Engine>, limits: Limits, gauge: Gauge) -> Self {
        Self { engine, limits, gauge, slots: HashMap::new(), vms_max: VMS_MAX, bytes_max: BYTES_MAX }
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
        let slot = Slot { vm, used: Instant::now(), _counted: Counted::by(&self.gauge) };
        self.slots.insert(tenant.to_owned(), slot);
        Ok(())
    }

    /// Drops all.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
    }

    /// Drops the VMs of tenants that are not to stay, those unused since long before `now`, and those unused for longest
    /// where all together hold too much.
    pub(crate) fn sweep(&mut self, now: Instant, stays: impl Fn(&str) -> bool) {
        self.slots.retain(|tenant, slot| stays(tenant) && now.saturating_duration_since(slot.used) < IDLE_MAX);
        let mut held: usize = self.slots.values().map(|slot| slot.vm.used_bytes()).sum();
        if held <= self.bytes_max {
            return;
        }
        let mut oldest: Vec<_> = self.slots.iter().map(|(tenant, slot)| (slot.used, tenant.clone())).collect();
        oldest.sort_unstable();
        for (_, tenant) in oldest {
            if held <= self.bytes_max {
                break;
            }
            held -= self.slots.remove(&tenant).map_or(0, |slot| slot.vm.used_bytes());
        }
    }

    /// What there is.
    pub(crate) fn status(&self, now: Instant) -> Vec<VmStatus> {
        let status = |(tenant, slot): (&String, &Slot)| VmStatus {
            tenant: tenant.clone(),
            bytes: slot.vm.used_bytes(),
            limit_bytes: self.limits.memory_bytes,
            idle_ms: u64::try_from(now.saturating_duration_since(slot.used).as_millis()).unwrap_or(u64::MAX),
        };
        self.slots.iter().map(status).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vms(vms_max: usize) -> (Vms, Gauge) {
        let gauge = Gauge::default();
        let mut vms = Vms::new(Engine::start().unwrap(), Limits::default(), gauge.clone());
        vms.vms_max = vms_max;
        (vms, gauge)
    }

    #[track_caller]
    fn run(vms: &mut Vms, tenant: &str, source: &str) -> Execution {
        let program = sandbox::compile("x.luau", source.as_bytes(), &vms.limits).unwrap();
        let call = Call { tenant, script: "x", version: "v", execution_id: "id", input: b"" };
        vms.run(&program, &call).unwrap()
    }

    fn tenants(vms: &Vms) -> Vec<&str> {
        let mut tenants: Vec<_> = vms.slots.keys().map(String::as_str).collect();
        tenants.sort_unstable();
        tenants
    }

    const ANSWER: &str = "return function() return 1 end";

    #[test]
    fn tenants_have_a_vm_each_and_the_longest_unused_makes_room() {
        let (mut vms, gauge) = vms(2);

        for tenant in ["a", "b", "a", "c"] {
            run(&mut vms, tenant, ANSWER).outcome.unwrap();
        }

        assert_eq!(tenants(&vms), ["a", "c"]);
        assert_eq!(gauge.get(), 2);
    }

    #[test]
    fn a_vm_that_may_be_hurt_is_dropped() {
        let (mut vms, gauge) = vms(2);
        let hungry = "return function() local t = {} while true do t[#t + 1] = ('x'):rep(1e5) .. #t end end";

        let execution = run(&mut vms, "a", hungry);

        assert_eq!(execution.outcome.unwrap_err().code, contract::Code::MemoryExceeded);
        assert_eq!((vms.slots.len(), gauge.get()), (0, 0));
    }

    #[test]
    fn vms_of_gone_tenants_and_idle_ones_are_swept() {
        let (mut vms, gauge) = vms(8);
        run(&mut vms, "gone", ANSWER).outcome.unwrap();
        run(&mut vms, "here", ANSWER).outcome.unwrap();

        vms.sweep(Instant::now(), |tenant| tenant == "here");
        assert_eq!(gauge.get(), 1);

        vms.sweep(Instant::now() + IDLE_MAX, |_| true);
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn where_all_together_hold_too_much_the_longest_unused_go() {
        let (mut vms, _) = vms(8);
        for tenant in ["a", "b", "c"] {
            run(&mut vms, tenant, ANSWER).outcome.unwrap();
        }
        vms.bytes_max = vms.status(Instant::now()).iter().map(|vm| vm.bytes).sum::<usize>() - 1;

        vms.sweep(Instant::now(), |_| true);

        assert_eq!(tenants(&vms), ["b", "c"]);
    }
}
