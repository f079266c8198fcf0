//! On which terms a script runs: what its manifest declares, within what the executor has to give.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, Ordering};

use contract::Code;
use sandbox::{Capability, Fault, Grants, Limits, State};

use super::asks::Services;
use super::job::fault;
use crate::release::Script;

/// `limits`, where the script does not ask for less.
pub(super) fn limits<'a>(script: &Script, limits: &'a Limits) -> Cow<'a, Limits> {
    let own = &script.manifest.limits;
    if *own == sandbox::OwnLimits::default() { Cow::Borrowed(limits) } else { Cow::Owned(own.narrow(limits)) }
}

/// What is harmless, and of what the script declares beyond what there is.
pub(super) fn grants(script: &Script, services: &Services) -> Grants {
    let declared = script.manifest.capabilities.iter().copied();
    declared.fold(Grants::HARMLESS, |grants, capability| match capability {
        Capability::Http if services.outbound.is_none() => grants,
        Capability::Run if !services.runs => grants,
        capability => grants.with(capability),
    })
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

/// What stays of the script between executions.
pub(super) fn state(script: &Script) -> State {
    script.manifest.state
}
