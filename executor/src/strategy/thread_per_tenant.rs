//! `--strategy thread-per-tenant`: each tenant's scripts run on a thread of their own, made on first use and ended when
//! unused.
//!
//! The kernel shares the cores out between tenants, and all of a tenant's executions meet in one VM. Each costs a
//! hand-off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::{Code, TenantName};

use super::clock::{nanos, now_ns};
use super::common::Common;
use super::inbox::{Inbox, Rejected};
use super::job::{Job, fault};
use super::{HandedOff, Place, Strategy, refuse, vm_thread};

/// A thread without jobs for this long ends.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// The threads, by tenant.
pub(crate) struct ThreadPerTenant {
    threads: Mutex<HashMap<TenantName, Arc<Inbox>>>,
    threads_max: usize,
    common: Common,
}

impl ThreadPerTenant {
    /// No thread yet, and never more than `threads_max`.
    pub(crate) fn new(threads_max: usize, common: &Common) -> Self {
        Self { threads: Mutex::default(), threads_max, common: common.clone() }
    }

    /// A thread for `tenant`, and room for it.
    fn add(&self, threads: &mut HashMap<TenantName, Arc<Inbox>>, tenant: &TenantName) -> Result<Arc<Inbox>, String> {
        let now = now_ns();
        threads.retain(|_, inbox| !inbox.close_if_unused(now.saturating_sub(nanos(IDLE_MAX))));
        if threads.len() >= self.threads_max {
            let unused = threads.iter().filter_map(|(tenant, inbox)| Some((inbox.unused_since_ns()?, tenant.clone())));
            let longest = unused.min().filter(|(_, tenant)| threads[tenant].close_if_unused(u64::MAX));
            let (_, tenant) = longest.ok_or_else(|| {
                format!("each of the {} threads for tenants is busy with another tenant", self.threads_max)
            })?;
            threads.remove(&tenant);
        }
        let inbox = Arc::default();
        vm_thread::spawn(&format!("tenant-{tenant}"), &inbox, &self.common, 0)
            .map_err(|err| format!("no thread can be had for tenant `{tenant}`: {err}"))?;
        threads.insert(tenant.clone(), Arc::clone(&inbox));
        Ok(inbox)
    }

    fn threads(&self) -> MutexGuard<'_, HashMap<TenantName, Arc<Inbox>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Strategy for ThreadPerTenant {
    fn place(&self, job: &Job) -> Place {
        let tenant = &job.script.tenant;
        let mut threads = self.threads();
        let mut pushed = threads.get(tenant).map_or(Err(Rejected::Closed), |inbox| inbox.push(job.clone()));
        // Closed: the thread could not begin, or there was none.
        if let Err(Rejected::Closed) = pushed {
            pushed = match self.add(&mut threads, tenant) {
                Ok(inbox) => inbox.push(job.clone()),
                Err(why) => return Place::Refused(fault(Code::Overloaded, why)),
            };
        }
        match pushed {
            Ok(outcome) => Place::There(HandedOff { outcome, _routed: None }),
            Err(rejected) => Place::Refused(refuse(&rejected, job)),
        }
    }

    fn close(&self) {
        for (_, inbox) in self.threads().drain() {
            inbox.close();
        }
    }
}
