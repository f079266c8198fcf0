//! Which worker of a fixed number serves a tenant: rendezvous hashing with a bound on the load.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use contract::TenantName;

/// No worker gets more than this many quarters of an even share of the jobs under way, as long as another is free to
/// take them.
const LOAD_MAX_QUARTERS: usize = 5;

/// Jobs under way, by tenant and worker. Pure.
///
/// A tenant with jobs under way stays where they are, so that one VM serves it; else it goes to the worker that it
/// ranks highest, or the next one if that has too much to do.
#[derive(Debug)]
pub(crate) struct Router {
    loads: Vec<usize>,
    tenants: HashMap<TenantName, Placed>,
}

#[derive(Debug)]
struct Placed {
    worker: usize,
    jobs: usize,
}

impl Router {
    /// For `workers` workers, at least one.
    pub(crate) fn new(workers: usize) -> Self {
        Self { loads: vec![0; workers.max(1)], tenants: HashMap::new() }
    }

    /// The worker for a job of `tenant`, counted until [`Router::done`].
    pub(crate) fn route(&mut self, tenant: &TenantName) -> usize {
        let worker = match self.tenants.get_mut(tenant) {
            Some(placed) => {
                placed.jobs += 1;
                placed.worker
            }
            None => {
                let worker = self.choose(tenant);
                self.tenants.insert(tenant.clone(), Placed { worker, jobs: 1 });
                worker
            }
        };
        self.loads[worker] += 1;
        worker
    }

    /// A job of `tenant` has ended.
    pub(crate) fn done(&mut self, tenant: &TenantName) {
        let Some(placed) = self.tenants.get_mut(tenant) else { return };
        self.loads[placed.worker] -= 1;
        placed.jobs -= 1;
        if placed.jobs == 0 {
            self.tenants.remove(tenant);
        }
    }

    fn choose(&self, tenant: &TenantName) -> usize {
        let total: usize = self.loads.iter().sum();
        let bound = ((total + 1) * LOAD_MAX_QUARTERS).div_ceil(4 * self.loads.len());
        let free = (0..self.loads.len()).filter(|&worker| self.loads[worker] < bound);
        free.max_by_key(|&worker| rank(tenant, worker)).expect("the least loaded worker is below the bound")
    }
}

/// The same in every process: the hasher has fixed keys.
fn rank(tenant: &TenantName, worker: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    (tenant.as_str(), worker).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(index: usize) -> TenantName {
        format!("tenant{index}").parse().unwrap()
    }

    #[test]
    fn an_idle_tenant_always_comes_home() {
        let mut router = Router::new(4);
        for index in 0..100 {
            let home = router.route(&tenant(index));
            router.done(&tenant(index));
            assert_eq!(router.route(&tenant(index)), home);
            router.done(&tenant(index));
        }
        assert!(router.tenants.is_empty());
    }

    #[test]
    fn tenants_spread_evenly() {
        let mut router = Router::new(4);
        for index in 0..1_000 {
            router.route(&tenant(index));
        }
        assert!(router.loads.iter().all(|load| (180..=315).contains(load)), "{:?}", router.loads);
    }

    #[test]
    fn a_tenant_stays_where_its_jobs_are_and_others_go_around_it() {
        let mut router = Router::new(2);
        let busy = router.route(&tenant(0));
        for _ in 0..100 {
            assert_eq!(router.route(&tenant(0)), busy);
        }
        for index in 1..20 {
            assert_ne!(router.route(&tenant(index)), busy);
        }
    }

    #[test]
    fn one_more_worker_moves_few_tenants() {
        let moved =
            (0..1_000).filter(|&index| Router::new(4).route(&tenant(index)) != Router::new(5).route(&tenant(index)));
        let moved = moved.count();
        assert!((130..=270).contains(&moved), "{moved} of 1,000");
    }
}
