//! Workers that have something to put in order at the end, and who waits for them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Counts workers that live.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    living: Mutex<usize>,
    ended: Condvar,
}

/// A worker that lives until this is dropped.
#[derive(Debug)]
#[must_use = "the worker lives until this is dropped"]
pub(crate) struct Life(Arc<Lives>);

impl Lives {
    /// One more.
    pub(crate) fn begin(self: &Arc<Self>) -> Life {
        *self.living() += 1;
        Life(Arc::clone(self))
    }

    /// Waits until all have ended, at most `patience`; tells how many have not.
    pub(crate) fn wait(&self, patience: Duration) -> usize {
        let waited = self.ended.wait_timeout_while(self.living(), patience, |living| *living > 0);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn living(&self) -> MutexGuard<'_, usize> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        *self.0.living() -= 1;
        self.0.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_when_the_last_has_ended() {
        let lives = Arc::new(Lives::default());
        let (one, other) = (lives.begin(), lives.begin());
        drop(one);
        assert_eq!(lives.wait(Duration::ZERO), 1);

        let ends = std::thread::spawn(move || drop(other));

        assert_eq!(lives.wait(Duration::from_secs(60)), 0);
        ends.join().unwrap();
    }
}
