//! How long to wait before the next attempt: 50 ms, doubling to 2 s, each shortened by up to half at random so that
//! executors that lost the same manager do not come back in step.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// Waits that grow.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// An attempt succeeded.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// An attempt failed: how long to wait now.
    pub(crate) fn next(&mut self) -> Duration {
        let longest = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        // The standard library's hash keys are random for each process and each call; spreading needs no more.
        let random = RandomState::new().hash_one(self.failures) % 1000;
        longest - longest.mul_f64(random as f64 / 2000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_begin_anew() {
        let mut backoff = Backoff::default();

        for longest_ms in [50, 100, 200, 400, 800, 1600, 2000, 2000] {
            let wait = backoff.next();
            let longest = Duration::from_millis(longest_ms);
            assert!(wait <= longest && wait > longest / 2, "{wait:?} is not in the upper half of {longest:?}");
        }

        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
