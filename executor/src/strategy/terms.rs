//! On which terms a script runs: what its manifest declares, within what the executor has to give.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, Ordering};

use contract::Code;
use sandbox::{Capability, Fault, Grants, Limits, State};

use super::job::fault;
use crate::release::Script;

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

/// A place among the executions of a script that may be under way at once, until it is dropped.
pub(super) struct Place<'a>(Option<&'a AtomicU32>);

impl<'a> Place<'a> {
    /// Takes one; scripts that do not bound their executions always have one.
    ///
    /// # Errors
    /// `overloaded`.
    pub(super) fn take(script: &'a Script) -> Result<Self, Fault> {
        let Some(places) = script.manifest.limits.concurrency else { return Ok(Self(None)) };
        let taken = Self(Some(&script.running));
        if script.running.fetch_add(1, Ordering::Relaxed) >= places {
            let (tenant, name) = (&script.tenant, &script.name);
            let detail =
                format!("`{tenant}/{name}` allows {places} executions at once, and as many are under way here");
            return Err(fault(Code::Overloaded, detail));
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
pub(super) fn state(script: &Script) -> State {
    if script.tenant.is_stack() { State::Fresh } else { script.manifest.state }
}
