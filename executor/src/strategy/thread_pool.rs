//! `--strategy thread-pool`: scripts run on the threads that do the I/O, and those of tenants whose scripts take long
//! on a few threads of lower priority, the *slow lane*.
//!
//! What a tenant costs its neighbours is bounded by its [`Share`](super::Share): of each I/O thread one execution up to
//! the CPU limit before its first is known to be long, and from then on a hundredth of one thread. In the slow lane
//! tenants take turns.

use super::clock::now_ns;
use super::common::Common;
use super::job::Job;
use super::pool::Pool;
use super::{Place, Strategy, vm_thread};

/// I/O threads and slow lane.
pub(crate) struct ThreadPool {
    slow_lane: Pool,
}

impl ThreadPool {
    /// Starts `workers` threads for the slow lane.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(crate) fn start(workers: usize, common: &Common) -> std::io::Result<Self> {
        let slow_lane = Pool::new(workers);
        for (index, inbox) in slow_lane.inboxes().iter().enumerate() {
            vm_thread::spawn(&format!("slow-{index}"), inbox, common, vm_thread::NICE)?;
        }
        Ok(Self { slow_lane })
    }
}

impl Strategy for ThreadPool {
    fn place(&self, job: &Job) -> Place {
        if job.script.share.is_spent(now_ns) { self.slow_lane.submit(job) } else { Place::Here }
    }

    fn close(&self) {
        self.slow_lane.close();
    }
}
