//! On which terms a script runs: what its manifest declares, within what the executor has to give.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use contract::{Code, TenantName};
use sandbox::{Capability, Fault, Grants, Limits, State};

use super::job::fault;
use crate::outbound::HttpGrant;
use crate::release::{Script, Terms};

/// `limits`, where the script does not ask for less.
pub(super) fn limits<'a>(script: &Script, limits: &'a Limits) -> Cow<'a, Limits> {
    let own = &script.manifest.limits;
    if *own == sandbox::OwnLimits::default() { Cow::Borrowed(limits) } else { Cow::Owned(own.narrow(limits)) }
}

/// What is harmless, and what the script declares beyond. The operator's scripts have no others to run.
pub(super) fn grants(script: &Script) -> Grants {
    let declared = script.manifest.capabilities.iter().copied();
    let granted = declared.filter(|&capability| capability != Capability::Run || !script.tenant.is_stack());
    granted.fold(Grants::HARMLESS, Grants::with)
}

/// A place among the executions of a script or tenant that may be under way at once, until it is dropped.
pub(super) struct Place<'a>(Option<&'a AtomicU32>);

impl<'a> Place<'a> {
    /// Takes one; scripts that do not bound their executions always have one.
    ///
    /// # Errors
    /// `overloaded`.
    pub(super) fn of_script(script: &'a Script) -> Result<Self, Fault> {
        Self::take(&script.running, script.manifest.limits.concurrency, |places| {
            let (tenant, name) = (&script.tenant, &script.name);
            format!("`{tenant}/{name}` allows {places} executions at once, and as many are under way here")
        })
    }

    /// Takes one; tenants without a policy that bounds them always have one here.
    ///
    /// # Errors
    /// `overloaded`.
    pub(super) fn of_tenant(terms: &'a Terms, tenant: &TenantName) -> Result<Self, Fault> {
        Self::take(&terms.running, terms.places(), |_| {
            let places = terms.effective.concurrency;
            format!("tenant `{tenant}` may have {places} at once, and as many executions are under way here")
        })
    }

    fn take(running: &'a AtomicU32, places: Option<u32>, told: impl FnOnce(u32) -> String) -> Result<Self, Fault> {
        let Some(places) = places else { return Ok(Self(None)) };
        let taken = Self(Some(running));
        if running.fetch_add(1, Ordering::Relaxed) >= places {
            return Err(fault(Code::Overloaded, told(places)));
        }
        Ok(taken)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(running) = self.0 {
            running.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What stays of the script between executions. Of the operator's nothing does, for they run for all tenants.
pub(super) fn state(script: &Script, terms: &Terms) -> State {
    if script.tenant.is_stack() { State::Fresh } else { terms.state(script) }
}

/// Whom the script may ask over HTTP. Most tenants have no list of their own; those that do ask for it each time, because
/// scripts outlive policies.
pub(super) fn http<'a>(script: &'a Script, terms: &Terms) -> Cow<'a, HttpGrant> {
    if terms.hosts.is_empty() {
        return Cow::Borrowed(&script.http);
    }
    Cow::Owned(HttpGrant { within: Arc::clone(&terms.hosts), ..script.http.clone() })
}
