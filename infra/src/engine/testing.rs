//! A way to die at any point.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts what changes anything, and lets the program die at one of them: from then on nothing returns any more.
#[derive(Clone)]
pub(crate) struct Fuse(Arc<Inner>);

struct Inner {
    count: AtomicUsize,
    at: usize,
    done: bool,
    blown: Notify,
}

impl Default for Fuse {
    fn default() -> Self {
        Self::at(usize::MAX, false)
    }
}

impl Fuse {
    /// Dies at the change with this number, after it was `done` or before.
    pub(crate) fn at(at: usize, done: bool) -> Self {
        Self(Arc::new(Inner { count: AtomicUsize::new(0), at, done, blown: Notify::new() }))
    }

    pub(crate) async fn around<T>(&self, change: impl FnOnce() -> T) -> T {
        let number = self.0.count.fetch_add(1, Ordering::Relaxed);
        if number < self.0.at {
            tokio::task::yield_now().await;
            return change();
        }
        if number == self.0.at {
            if self.0.done {
                change();
            }
            self.0.blown.notify_one();
        }
        std::future::pending().await
    }

    pub(crate) async fn blown(&self) {
        self.0.blown.notified().await;
    }
}
