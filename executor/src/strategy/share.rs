//! What a tenant may take of the threads that do the I/O.
//!
//! An execution blocks the connections of its I/O thread for as long as it computes. Short ones are what these threads
//! are for; *long* ones are paid for: a tenant has an allowance of one hundredth of one thread, which pays them off
//! while time passes. As long as it is in debt its executions go elsewhere, where they go on being counted, so that
//! who always computes long always stays there, and who stops comes back within [`DEBT_MAX_NS`].

use std::sync::atomic::{AtomicU64, Ordering};

/// An execution of more CPU time than this is long. Handing one to another thread costs about 50 µs, which is much for
/// a rule of 10 µs and little from here on.
pub(crate) const LONG_NS: u64 = 250_000;

/// A nanosecond of a long execution is paid off by this much time.
const PAY_OFF: u64 = 100;

/// Long executions worth 2 ms are forgiven at once: a cold cache or a large input is no habit.
const TOLERANCE_NS: u64 = 2_000_000 * PAY_OFF;

/// The longest that a tenant stays in debt after its last long execution.
const DEBT_MAX_NS: u64 = 10_000_000_000;

/// The account of one tenant, shared by all its scripts, versions and threads. A tenant that never computed long
/// costs one look at a number that nobody writes.
#[derive(Debug, Default)]
pub struct Share {
    /// When everything will be paid off, on the clock of `clock.rs`.
    paid_off_at: AtomicU64,
}

impl Share {
    /// Whether executions should go elsewhere; `now_ns` is asked only where it matters.
    pub(crate) fn is_spent(&self, now_ns: impl FnOnce() -> u64) -> bool {
        let paid_off_at = self.paid_off_at.load(Ordering::Relaxed);
        paid_off_at != 0 && paid_off_at > now_ns() + TOLERANCE_NS
    }

    /// Counts an execution that used `cpu_ns` and ended at `now_ns`.
    pub(crate) fn charge(&self, cpu_ns: u64, now_ns: u64) {
        if cpu_ns < LONG_NS {
            return;
        }
        let charged = |paid_off_at: u64| {
            let after = paid_off_at.max(now_ns).saturating_add(cpu_ns.saturating_mul(PAY_OFF));
            Some(after.min(now_ns + TOLERANCE_NS + DEBT_MAX_NS))
        };
        let _ = self.paid_off_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, charged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn short_executions_cost_nothing() {
        let share = Share::default();
        for _ in 0..100_000 {
            share.charge(LONG_NS - 1, 1);
        }
        assert!(!share.is_spent(|| 1));
    }

    #[test]
    fn one_execution_at_the_limit_sends_the_tenant_away_until_it_is_paid_off() {
        let share = Share::default();

        share.charge(50 * MS, 1_000 * MS);

        assert!(share.is_spent(|| 1_000 * MS));
        assert!(share.is_spent(|| 1_000 * MS + 4_799 * MS));
        assert!(!share.is_spent(|| 1_000 * MS + 4_801 * MS));
    }

    #[test]
    fn a_single_slip_is_forgiven() {
        let share = Share::default();
        share.charge(MS, 1_000 * MS);
        assert!(!share.is_spent(|| 1_000 * MS));
    }

    #[test]
    fn over_time_long_executions_get_a_hundredth_of_a_thread() {
        let share = Share::default();
        let (mut now, mut here_ns) = (1, 0);
        while now < 1_000_000 * MS {
            if !share.is_spent(|| now) {
                here_ns += 5 * MS;
                share.charge(5 * MS, now + 5 * MS);
            }
            now += 5 * MS;
        }
        assert!((9_000 * MS..=10_100 * MS).contains(&here_ns), "{} ms of 1,000 s", here_ns / MS);
    }

    #[test]
    fn no_debt_outlasts_its_bound() {
        let share = Share::default();
        for _ in 0..1_000 {
            share.charge(50 * MS, 1_000 * MS);
        }
        assert!(!share.is_spent(|| 1_000 * MS + DEBT_MAX_NS));
    }
}
