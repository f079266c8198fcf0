//! A fixed number of inboxes, and which tenant's jobs go to which.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::TenantName;

use super::inbox::Inbox;
use super::job::Job;
use super::router::Router;
use super::{HandedOff, Place, refuse};

/// Inboxes of workers of equal kind.
pub(crate) struct Pool {
    inboxes: Vec<Arc<Inbox>>,
    router: Arc<Mutex<Router>>,
}

/// A job that counts for the router until this is dropped.
pub(crate) struct Routed {
    router: Arc<Mutex<Router>>,
    tenant: TenantName,
}

impl Pool {
    /// `workers` inboxes that nobody serves yet.
    pub(crate) fn new(workers: usize) -> Self {
        let inboxes = (0..workers).map(|_| Arc::default()).collect();
        Self { inboxes, router: Arc::new(Mutex::new(Router::new(workers))) }
    }

    /// The inboxes, to be served.
    pub(crate) fn inboxes(&self) -> &[Arc<Inbox>] {
        &self.inboxes
    }

    /// Gives a job to the worker of its tenant.
    pub(crate) fn submit(&self, job: &Job) -> Place {
        let tenant = job.script.tenant.clone();
        let worker = router(&self.router).route(&tenant);
        let routed = Routed { router: Arc::clone(&self.router), tenant };
        match self.inboxes[worker].push(job.clone()) {
            Ok(outcome) => Place::There(HandedOff { outcome, _routed: Some(routed) }),
            Err(rejected) => Place::Refused(refuse(&rejected, job)),
        }
    }

    /// No more jobs.
    pub(crate) fn close(&self) {
        for inbox in &self.inboxes {
            inbox.close();
        }
    }
}

impl Drop for Routed {
    fn drop(&mut self) {
        router(&self.router).done(&self.tenant);
    }
}

fn router(router: &Mutex<Router>) -> MutexGuard<'_, Router> {
    router.lock().unwrap_or_else(PoisonError::into_inner)
}
