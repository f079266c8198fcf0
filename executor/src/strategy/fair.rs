//! A queue in which tenants take turns, whatever the number of jobs each of them has.

use std::collections::{HashMap, VecDeque};

use contract::TenantName;

/// What one tenant may have in one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Executions under way at once.
    pub(crate) running: usize,
    /// Executions that wait behind those.
    pub(crate) waiting: usize,
}

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
    /// Those of its last job: a tenant's policy may change while it has some.
    bounds: Bounds,
    /// It is in `turns`.
    in_turn: bool,
}

impl<T> Line<T> {
    /// Takes its place among the turns, if it may begin a job and has none there yet; tells whether it does.
    fn takes_turn(&mut self) -> bool {
        let takes = !self.in_turn && !self.waiting.is_empty() && self.running < self.bounds.running;
        self.in_turn |= takes;
        takes
    }
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { lines: HashMap::new(), turns: VecDeque::new() }
    }
}

impl<T> FairQueue<T> {
    /// Adds a job behind those of its tenant, which has these bounds from now on.
    ///
    /// # Errors
    /// The job, if its tenant has too many.
    pub(crate) fn push(&mut self, tenant: &TenantName, bounds: Bounds, job: T) -> Result<(), T> {
        if !self.lines.contains_key(tenant) {
            self.lines.insert(tenant.clone(), Line { waiting: VecDeque::new(), running: 0, bounds, in_turn: false });
        }
        let line = self.lines.get_mut(tenant).expect("it was there or was just added");
        line.bounds = bounds;
        // Where nobody may wait, one that can begin does not wait.
        let begins = usize::from(line.waiting.is_empty() && line.running < bounds.running);
        if line.waiting.len() >= bounds.waiting.max(begins) {
            return Err(job);
        }
        line.waiting.push_back(job);
        if line.takes_turn() {
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
        line.in_turn = false;
        if line.takes_turn() {
            self.turns.push_back(tenant);
        }
        Some(job)
    }

    /// A job of `tenant` has ended.
    pub(crate) fn done(&mut self, tenant: &TenantName) {
        let Some(line) = self.lines.get_mut(tenant) else { return };
        line.running -= 1;
        if line.takes_turn() {
            self.turns.push_back(tenant.clone());
        }
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

    const BOUNDS: Bounds = Bounds { running: 64, waiting: 128 };

    fn tenant(name: &str) -> TenantName {
        name.parse().unwrap()
    }

    fn queue(jobs: &[(&str, u32)]) -> FairQueue<(TenantName, u32)> {
        let mut queue = FairQueue::default();
        for (name, job) in jobs {
            queue.push(&tenant(name), BOUNDS, (tenant(name), *job)).unwrap();
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
            queue.push(&tenant("a"), BOUNDS, (tenant("a"), job)).unwrap();
        }

        assert_eq!(drain(&mut queue).split(' ').count(), BOUNDS.running);
        queue.push(&tenant("b"), BOUNDS, (tenant("b"), 1)).unwrap();
        assert_eq!(drain(&mut queue), "b1");
        queue.done(&tenant("a"));
        assert_eq!(drain(&mut queue), "a64");
    }

    #[test]
    fn what_is_too_much_is_given_back() {
        let mut queue = queue(&[]);
        for job in 0..u32::try_from(BOUNDS.waiting).unwrap() {
            queue.push(&tenant("a"), BOUNDS, (tenant("a"), job)).unwrap();
        }
        assert_eq!(queue.push(&tenant("a"), BOUNDS, (tenant("a"), 999)), Err((tenant("a"), 999)));
        queue.push(&tenant("b"), BOUNDS, (tenant("b"), 1)).unwrap();
    }

    #[test]
    fn bounds_may_change_while_jobs_wait_and_where_none_may_wait_one_may_still_begin() {
        let bounds = |running, waiting| Bounds { running, waiting };
        let mut queue = queue(&[("a", 1), ("a", 2), ("a", 3)]);
        assert!(queue.pop().is_some());

        queue.push(&tenant("a"), bounds(1, 9), (tenant("a"), 4)).unwrap();
        assert_eq!(drain(&mut queue), "a2");
        queue.done(&tenant("a"));
        assert_eq!(drain(&mut queue), "");
        queue.done(&tenant("a"));
        assert_eq!(drain(&mut queue), "a3");

        queue.push(&tenant("b"), bounds(1, 0), (tenant("b"), 1)).unwrap();
        assert!(queue.push(&tenant("b"), bounds(1, 0), (tenant("b"), 2)).is_err());
        assert_eq!(drain(&mut queue), "b1");
        assert!(queue.push(&tenant("b"), bounds(1, 0), (tenant("b"), 2)).is_err());
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
