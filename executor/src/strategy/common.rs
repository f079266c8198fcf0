//! What all worker threads of the process share.

use std::sync::Arc;

use sandbox::{Engine, Limits};

use super::asks::Services;
use super::host::VmHost;
use super::warden::Warden;
use crate::metrics::Metrics;
use crate::release::Serving;

/// What a worker thread needs to run scripts. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) serving: Arc<Serving>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) limits: Limits,
    pub(crate) warden: Arc<Warden>,
    pub(crate) services: Services,
}

impl Common {
    /// The counters.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        self.serving.metrics()
    }

    /// A place for VMs on the calling thread.
    pub(crate) fn host(&self) -> VmHost {
        let metrics = self.metrics();
        VmHost::new(Arc::clone(&self.engine), self.services.clone(), metrics.vms.clone(), metrics.restarts("panic"))
    }

    /// Drops the VMs that are not needed and tells the board of the others.
    pub(crate) fn upkeep(&self, worker: &str, host: &VmHost) {
        let active = self.serving.active();
        let vms = host.sweep(|tenant| active.as_ref().is_some_and(|active| active.has_tenant(tenant)));
        self.metrics().board.publish(worker, vms);
    }
}
