//! What all worker threads of the process share.

use std::sync::Arc;

use sandbox::{Engine, Limits};
use tokio::time::timeout;

use super::asks::Services;
use super::host::VmHost;
use super::lives::Lives;
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
    /// Workers that are to be waited for at the end.
    pub(crate) lives: Arc<Lives>,
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

    /// Has the scripts that keep state in the VMs of `host` put things in order, if the executor ends.
    pub(crate) async fn shut_down(&self, host: &VmHost) {
        if !self.serving.is_draining() {
            return;
        }
        match timeout(self.limits.wall, host.shut_down()).await {
            Ok(all) => all.iter().for_each(|said| said.tell(self.metrics())),
            Err(_) => tracing::warn!("OnShutdown of some scripts did not end in time"),
        }
    }

    /// Drops the VMs that are not needed and tells the board of the others.
    pub(crate) fn upkeep(&self, worker: &str, host: &VmHost) {
        let active = self.serving.active();
        let vms = host.sweep(|tenant| active.as_ref().is_some_and(|active| active.has_tenant(tenant)));
        self.metrics().board.publish(worker, vms);
    }
}
