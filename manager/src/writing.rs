//! Objects that this manager is writing: from before the write until the release that follows is committed.
//!
//! The bucket tells of every write, also of ours, and usually before we are done. A notification that waits for the end
//! finds that all is known; one that does not would read, compile and release the same content once more.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// Longer than the lane takes. Waiting only saves work, so going on is always right.
const QUIET_DEADLINE: Duration = Duration::from_secs(60);

/// How many changes of each object are under way.
#[derive(Debug, Default)]
pub struct Writing {
    objects: Mutex<BTreeMap<String, usize>>,
    ended: watch::Sender<()>,
}

/// A change that is under way, until it is dropped.
#[derive(Debug)]
pub struct Mark<'a> {
    writing: &'a Writing,
    object: String,
}

impl Writing {
    /// Marks a change of `object` as under way.
    pub fn begin(&self, object: &str) -> Mark<'_> {
        self.with(|objects| *objects.entry(object.to_owned()).or_default() += 1);
        Mark { writing: self, object: object.to_owned() }
    }

    /// Waits until no change of `object` is under way.
    pub async fn quiet(&self, object: &str) {
        let mut ended = self.ended.subscribe();
        // An error would mean that the sender is gone; it lives as long as `self`.
        let wait = ended.wait_for(|()| self.with(|objects| !objects.contains_key(object)));
        let _ = tokio::time::timeout(QUIET_DEADLINE, wait).await;
    }

    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<String, usize>) -> T) -> T {
        act(&mut self.objects.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        self.writing.with(|objects| {
            if let Some(count) = objects.get_mut(&self.object) {
                *count -= 1;
                if *count == 0 {
                    objects.remove(&self.object);
                }
            }
        });
        self.writing.ended.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn quiet_comes_with_the_end_of_the_last_change() {
        let writing = Writing::default();
        let (first, second) = (writing.begin("a"), writing.begin("a"));

        let mut quiet = std::pin::pin!(writing.quiet("a"));
        assert!(quiet.as_mut().now_or_never().is_none());
        drop(first);
        assert!(quiet.as_mut().now_or_never().is_none());
        drop(second);

        quiet.await;
    }

    #[tokio::test]
    async fn other_objects_are_quiet() {
        let writing = Writing::default();
        let _mark = writing.begin("a");

        assert!(writing.quiet("b").now_or_never().is_some());
    }
}
