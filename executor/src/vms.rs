//! The VMs of one worker: one per tenant, made on first use, never shared between tenants.
//!
//! A VM goes when it may be hurt, when its tenant left the release, when it idles, or when there are too many.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::{ScriptName, Version};
use prometheus_client::metrics::gauge::Gauge;
use sandbox::{Engine, Fault, Limits, Vm};
use tokio::sync::OnceCell;

use crate::metrics::Counted;
use crate::release::{Script, Tenant};
use crate::strategy::VmStatus;

/// VMs of one worker, at 190 to 440 KiB each when idle; the one unused for longest makes room.
const VMS_MAX: usize = 512;

/// Bytes that the VMs of one worker may hold together between executions. Their limits may add up to more: few VMs
/// come near theirs, and those unused for longest make room for those that do.
const BYTES_MAX: usize = 256 << 20;

/// An unused VM is kept this long; making one anew costs a first call 0.2 ms.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// The VMs of one worker.
#[derive(Debug)]
pub(crate) struct Vms {
    engine: Arc<Engine>,
    gauge: Gauge,
    slots: HashMap<String, Slot>,
    /// Out of use, and not dropped yet: that takes up to ten milliseconds, for which the caller should not wait.
    retired: Vec<Rc<RefCell<Vm>>>,
    vms_max: usize,
    bytes_max: usize,
}

/// A script that keeps state in a VM and has a life cycle.
#[derive(Debug, Clone)]
pub(crate) struct Awake {
    pub(crate) script: Arc<Script>,
    /// The scripts of its tenant in the release in which it came here.
    pub(crate) siblings: Arc<Tenant>,
    /// The version that was here before it.
    pub(crate) former: Option<Version>,
    /// Set when it has set itself up.
    pub(crate) done: Rc<OnceCell<()>>,
}

#[derive(Debug)]
struct Slot {
    // Held by the executions that wait in it, too: one that is no longer in use lives on until the last has ended.
    vm: Rc<RefCell<Vm>>,
    used: Instant,
    /// Scripts that keep state in it and have a life cycle.
    awake: HashMap<ScriptName, Awake>,
    /// What it may hold.
    memory_bytes: usize,
    _counted: Counted,
}

impl Vms {
    /// None yet; `gauge` counts them.
    pub(crate) fn new(engine: Arc<Engine>, gauge: Gauge) -> Self {
        Self { engine, gauge, slots: HashMap::new(), retired: Vec::new(), vms_max: VMS_MAX, bytes_max: BYTES_MAX }
    }

    /// The VM of `tenant` for a new execution under `limits`. One that may hold less, of former terms, goes out of use: an
    /// execution may take less memory than its VM has, but not more.
    ///
    /// # Errors
    /// There is none and none can be made.
    pub(crate) fn of(&mut self, tenant: &str, limits: &Limits, now: Instant) -> Result<Rc<RefCell<Vm>>, Fault> {
        match self.slots.get(tenant) {
            Some(slot) if slot.memory_bytes >= limits.memory_bytes => {}
            Some(_) => {
                self.retired.extend(self.slots.remove(tenant).map(|slot| slot.vm));
                self.add(tenant, limits, now)?;
            }
            None => self.add(tenant, limits, now)?,
        }
        let slot = self.slots.get_mut(tenant).expect("it was there or was just added");
        slot.used = now;
        Ok(Rc::clone(&slot.vm))
    }

    /// Where it stands in the tenant's VM with a script that has a life cycle there; it is now the version that counts.
    ///
    /// # Errors
    /// There is no VM and none can be made.
    pub(crate) fn awake(&mut self, script: &Arc<Script>, siblings: &Arc<Tenant>, now: Instant) -> Result<Awake, Fault> {
        let tenant = script.tenant.as_str();
        self.of(tenant, &siblings.terms.limits, now)?;
        let slot = self.slots.get_mut(tenant).expect("it is there now");
        let former = match slot.awake.get(&script.name) {
            Some(awake) if awake.script.version == script.version => return Ok(awake.clone()),
            Some(awake) => Some(awake.script.version.clone()),
            None => None,
        };
        let (script, siblings) = (Arc::clone(script), Arc::clone(siblings));
        let awake = Awake { script, siblings, former, done: Rc::default() };
        slot.awake.insert(awake.script.name.clone(), awake.clone());
        Ok(awake)
    }

    /// The scripts that have a life cycle in these VMs.
    pub(crate) fn all_awake(&self) -> Vec<Awake> {
        self.slots.values().flat_map(|slot| slot.awake.values()).cloned().collect()
    }

    /// Takes `vm`, which was given out for `tenant`, out of use: the next execution gets a new one.
    pub(crate) fn retire(&mut self, tenant: &str, vm: &Rc<RefCell<Vm>>) {
        if self.slots.get(tenant).is_some_and(|slot| Rc::ptr_eq(&slot.vm, vm)) {
            self.retired.extend(self.slots.remove(tenant).map(|slot| slot.vm));
        }
    }

    /// Whether there are VMs out of use.
    pub(crate) fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// The VMs out of use, to be dropped when nobody waits for it; those that executions wait in live on with them.
    pub(crate) fn take_retired(&mut self) -> Vec<Rc<RefCell<Vm>>> {
        std::mem::take(&mut self.retired)
    }

    fn add(&mut self, tenant: &str, limits: &Limits, now: Instant) -> Result<(), Fault> {
        if self.slots.len() >= self.vms_max {
            let oldest = self.slots.iter().min_by_key(|(_, slot)| slot.used).map(|(tenant, _)| tenant.clone());
            oldest.and_then(|oldest| self.slots.remove(&oldest));
        }
        let vm = Rc::new(RefCell::new(self.engine.vm(limits)?));
        let (awake, memory_bytes) = (HashMap::new(), limits.memory_bytes);
        let slot = Slot { vm, used: now, awake, memory_bytes, _counted: Counted::by(&self.gauge) };
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
        self.retired.clear();
        self.slots.retain(|tenant, slot| stays(tenant) && now.saturating_duration_since(slot.used) < IDLE_MAX);
        let mut held: usize = self.slots.values().map(|slot| slot.used_bytes()).sum();
        if held <= self.bytes_max {
            return;
        }
        let mut oldest: Vec<_> = self.slots.iter().map(|(tenant, slot)| (slot.used, tenant.clone())).collect();
        oldest.sort_unstable();
        for (_, tenant) in oldest {
            if held <= self.bytes_max {
                break;
            }
            held -= self.slots.remove(&tenant).map_or(0, |slot| slot.used_bytes());
        }
    }

    /// What there is.
    pub(crate) fn status(&self, now: Instant) -> Vec<VmStatus> {
        let status = |(tenant, slot): (&String, &Slot)| VmStatus {
            tenant: tenant.clone(),
            bytes: slot.used_bytes(),
            limit_bytes: slot.memory_bytes,
            idle_ms: u64::try_from(now.saturating_duration_since(slot.used).as_millis()).unwrap_or(u64::MAX),
        };
        self.slots.iter().map(status).collect()
    }
}

impl Slot {
    fn used_bytes(&self) -> usize {
        self.vm.borrow().used_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vms(vms_max: usize) -> (Vms, Gauge) {
        let gauge = Gauge::default();
        let mut vms = Vms::new(Engine::start().unwrap(), gauge.clone());
        vms.vms_max = vms_max;
        (vms, gauge)
    }

    fn vm(vms: &mut Vms, tenant: &str) -> Rc<RefCell<Vm>> {
        vms.of(tenant, &Limits::default(), Instant::now()).unwrap()
    }

    fn tenants(vms: &Vms) -> Vec<&str> {
        let mut tenants: Vec<_> = vms.slots.keys().map(String::as_str).collect();
        tenants.sort_unstable();
        tenants
    }

    #[test]
    fn tenants_have_a_vm_each_and_the_longest_unused_makes_room() {
        let (mut vms, gauge) = vms(2);

        for tenant in ["a", "b", "a", "c"] {
            vm(&mut vms, tenant);
        }

        assert_eq!(tenants(&vms), ["a", "c"]);
        assert_eq!(gauge.get(), 2);
    }

    #[test]
    fn a_vm_out_of_use_lives_until_the_last_who_has_it_lets_go() {
        let (mut vms, gauge) = vms(2);
        let old = vm(&mut vms, "a");
        vms.retire("a", &old);
        assert_eq!((vms.slots.len(), gauge.get()), (0, 0));

        let new = vm(&mut vms, "a");
        vms.retire("a", &old);

        assert!(!Rc::ptr_eq(&old, &new) && Rc::ptr_eq(&new, &vm(&mut vms, "a")));
        assert_eq!(gauge.get(), 1);
    }

    #[test]
    fn a_vm_of_less_memory_than_a_new_policy_gives_is_replaced_and_one_of_more_is_not() {
        let (mut vms, _) = vms(2);
        let of = |vms: &mut Vms, memory_bytes| {
            let limits = Limits { memory_bytes, ..Limits::default() };
            vms.of("a", &limits, Instant::now()).unwrap()
        };
        let first = of(&mut vms, 8 << 20);

        assert!(Rc::ptr_eq(&first, &of(&mut vms, 4 << 20)));
        let wider = of(&mut vms, 16 << 20);
        assert!(!Rc::ptr_eq(&first, &wider) && Rc::ptr_eq(&wider, &of(&mut vms, 8 << 20)));
        assert_eq!(vms.take_retired().len(), 1);
    }

    #[test]
    fn vms_of_gone_tenants_and_idle_ones_are_swept() {
        let (mut vms, gauge) = vms(8);
        vm(&mut vms, "gone");
        vm(&mut vms, "here");

        vms.sweep(Instant::now(), |tenant| tenant == "here");
        assert_eq!(gauge.get(), 1);

        vms.sweep(Instant::now() + IDLE_MAX, |_| true);
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn where_all_together_hold_too_much_the_longest_unused_go() {
        let (mut vms, _) = vms(8);
        for tenant in ["a", "b", "c"] {
            vm(&mut vms, tenant);
        }
        vms.bytes_max = vms.status(Instant::now()).iter().map(|vm| vm.bytes).sum::<usize>() - 1;

        vms.sweep(Instant::now(), |_| true);

        assert_eq!(tenants(&vms), ["b", "c"]);
    }
}
