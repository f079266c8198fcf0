//! How long to wait before a child process is started again.

use std::time::Duration;

/// Pauses before the first, second, … start in a row; the last one stays.
const PAUSES: [Duration; 5] =
    [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(9), Duration::from_secs(10)];

/// A child that lived longer was well, and what ended it is not its start.
const WELL_AFTER: Duration = Duration::from_secs(5);

/// Counts starts in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    starts: usize,
}

impl Backoff {
    /// The pause after a child that lived for `lived`.
    pub(super) fn after(&mut self, lived: Duration) -> Duration {
        if lived > WELL_AFTER {
            self.starts = 0;
        }
        let pause = PAUSES[self.starts.min(PAUSES.len() - 1)];
        self.starts += 1;
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_a_child_lives() {
        let mut backoff = Backoff::default();

        let pauses: Vec<_> = (0..6).map(|_| backoff.after(Duration::from_secs(1)).as_secs()).collect();
        assert_eq!(pauses, [0, 1, 3, 9, 10, 10]);

        assert_eq!(backoff.after(Duration::from_secs(6)), Duration::ZERO);
        assert_eq!(backoff.after(Duration::from_secs(1)), Duration::from_secs(1));
    }
}
