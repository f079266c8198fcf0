//! A queue in which tenants take turns, whatever the number of jobs each of them has.

use std::collections::{HashMap, VecDeque};

use contract::TenantName;

/// Executions of one tenant that may be under way in one place at once.
pub(crate) const RUNNING_MAX: usize = 64;

/// Executions of one tenant that may wait behind those.
pub(crate) const WAITING_MAX: usize = 128;

/// Jobs of many tenants. Pure: it is told when jobs begin and end, and tells whose turn it is.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    lines: HashMap<TenantName, Line<T>>,
    /// INVARIANT: each tenant once that has a job waiting and may begin one.
    turns: VecDeque<TenantName>,
}

#[derive(Debug)]
struct Line<T> {
    waiting: VecDeque<T>,
    running: usize,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { lines: HashMap::new(), turns: VecDeque::new() }
    }
}

impl<T> FairQueue<T> {
    /// Adds a job behind those of its tenant.
    ///
    /// # Errors
    /// The job, if its tenant has too many.
    pub(crate) fn push(&mut self, tenant: &TenantName, job: T) -> Result<(), T> {
        if !self.lines.contains_key(tenant) {
            self.lines.insert(tenant.clone(), Line { waiting: VecDeque::new(), running: 0 });
        }
        let line = self.lines.get_mut(tenant).expect("it was there or was just added");
        if line.waiting.len() >= WAITING_MAX {
            return Err(job);
        }
        line.waiting.push_back(job);
        if line.waiting.len() == 1 && line.running < RUNNING_MAX {
            self.turns.push_back(tenant.clone());
        }
        Ok(())
    }

    /// Begins the next job of the tenant whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let tenant = self.turns.pop_front()?;
        let line = self.lines.get_mut(&tenant).expect("whose turn it is has a line");
        let job = line.waiting.pop_front().expect("whose turn it is has a job");
        line.running += 1;
        if !line.waiting.is_empty() && line.running < RUNNING_MAX {
            self.turns.push_back(tenant);
        }
        Some(job)
    }

    /// A job of `tenant` has ended.
    pub(crate) fn done(&mut self, tenant: &TenantName) {
        let Some(line) = self.lines.get_mut(tenant) else { return };
        if line.running == RUNNING_MAX && !line.waiting.is_empty() {
            self.turns.push_back(tenant.clone());
        }
        line.running -= 1;
        if line.running == 0 && line.waiting.is_empty() {
            self.lines.remove(tenant);
        }
    }

    /// Whether nothing waits and nothing runs.
    pub(crate) fn is_idle(&self) -> bool {
        self.lines.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantName {
        name.parse().unwrap()
    }

    fn queue(jobs: &[(&str, u32)]) -> FairQueue<(TenantName, u32)> {
        let mut queue = FairQueue::default();
        for (name, job) in jobs {
            queue.push(&tenant(name), (tenant(name), *job)).unwrap();
        }
        queue
    }

    fn drain(queue: &mut FairQueue<(TenantName, u32)>) -> String {
        let jobs: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(tenant, job)| format!("{tenant}{job}")).collect();
        jobs.join(" ")
    }

    #[test]
    fn tenants_take_turns_and_their_own_jobs_stay_in_order() {
        let mut queue = queue(&[("a", 1), ("a", 2), ("a", 3), ("b", 1), ("c", 1), ("b", 2)]);
        assert_eq!(drain(&mut queue), "a1 b1 c1 a2 b2 a3");
    }

    #[test]
    fn a_tenant_has_so_many_under_way_and_goes_on_when_one_ends() {
        let mut queue = queue(&[]);
        for job in 0..128 {
            queue.push(&tenant("a"), (tenant("a"), job)).unwrap();
        }

        assert_eq!(drain(&mut queue).split(' ').count(), RUNNING_MAX);
        queue.push(&tenant("b"), (tenant("b"), 1)).unwrap();
        assert_eq!(drain(&mut queue), "b1");
        queue.done(&tenant("a"));
        assert_eq!(drain(&mut queue), "a64");
    }

    #[test]
    fn what_is_too_much_is_given_back() {
        let mut queue = queue(&[]);
        for job in 0..u32::try_from(WAITING_MAX).unwrap() {
            queue.push(&tenant("a"), (tenant("a"), job)).unwrap();
        }
        assert_eq!(queue.push(&tenant("a"), (tenant("a"), 999)), Err((tenant("a"), 999)));
        queue.push(&tenant("b"), (tenant("b"), 1)).unwrap();
    }

    #[test]
    fn nothing_is_kept_of_tenants_that_are_done() {
        let mut queue = queue(&[("a", 1), ("a", 2)]);
        drain(&mut queue);
        queue.done(&tenant("a"));
        assert!(!queue.is_idle());
        queue.done(&tenant("a"));
        assert!(queue.is_idle());
    }
}
