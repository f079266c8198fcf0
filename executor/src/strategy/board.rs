//! Which VMs there are, as their workers last said: for operators and for `/metrics`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// What a worker says about one of its VMs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmStatus {
    /// Whose it is.
    pub tenant: String,
    /// Bytes it holds.
    pub bytes: usize,
    /// Bytes it may hold.
    pub limit_bytes: usize,
    /// How long it has not been used, in milliseconds.
    pub idle_ms: u64,
}

/// The VMs of all workers, by worker. Each worker writes its part about once a second.
#[derive(Debug, Default)]
pub struct Board {
    workers: Mutex<BTreeMap<String, Vec<VmStatus>>>,
}

impl Board {
    /// What `worker` has now; nothing = it is gone or idle. Gives how many it had.
    pub(crate) fn publish(&self, worker: &str, vms: Vec<VmStatus>) -> usize {
        let mut workers = self.workers();
        let before = if vms.is_empty() { workers.remove(worker) } else { workers.insert(worker.to_owned(), vms) };
        before.map_or(0, |before| before.len())
    }

    /// What one worker has.
    pub(crate) fn of(&self, worker: &str) -> Vec<VmStatus> {
        self.workers().get(worker).cloned().unwrap_or_default()
    }

    /// All of it.
    pub(crate) fn read(&self) -> BTreeMap<String, Vec<VmStatus>> {
        self.workers().clone()
    }

    /// Bytes held by VMs of each worker.
    pub(crate) fn bytes_by_worker(&self) -> Vec<(String, usize)> {
        let sum = |vms: &Vec<VmStatus>| vms.iter().map(|vm| vm.bytes).sum();
        self.workers().iter().map(|(worker, vms)| (worker.clone(), sum(vms))).collect()
    }

    /// The `count` tenants whose VMs hold most, the largest first.
    pub(crate) fn largest_tenants(&self, count: usize) -> Vec<(String, usize)> {
        let workers = self.workers();
        let mut tenants: HashMap<&str, usize> = HashMap::new();
        for vm in workers.values().flatten() {
            *tenants.entry(&vm.tenant).or_default() += vm.bytes;
        }
        let mut tenants: Vec<_> = tenants.into_iter().collect();
        tenants.sort_unstable_by_key(|&(tenant, bytes)| (std::cmp::Reverse(bytes), tenant));
        tenants.truncate(count);
        tenants.into_iter().map(|(tenant, bytes)| (tenant.to_owned(), bytes)).collect()
    }

    fn workers(&self) -> MutexGuard<'_, BTreeMap<String, Vec<VmStatus>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(tenant: &str, bytes: usize) -> VmStatus {
        VmStatus { tenant: tenant.into(), bytes, limit_bytes: 100, idle_ms: 0 }
    }

    #[test]
    fn the_largest_tenants_are_told_over_all_workers() {
        let board = Board::default();
        board.publish("worker-0", vec![vm("a", 5), vm("b", 7)]);
        board.publish("worker-1", vec![vm("a", 3), vm("c", 1)]);

        assert_eq!(board.largest_tenants(2), [("a".to_owned(), 8), ("b".to_owned(), 7)]);
        assert_eq!(board.bytes_by_worker(), [("worker-0".to_owned(), 12), ("worker-1".to_owned(), 4)]);
    }

    #[test]
    fn a_worker_without_vms_is_forgotten() {
        let board = Board::default();
        board.publish("worker-0", vec![vm("a", 5)]);
        board.publish("worker-0", Vec::new());
        assert!(board.read().is_empty());
    }
}
