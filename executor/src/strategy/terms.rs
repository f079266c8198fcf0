//! On which terms a script runs: what its manifest declares, within what the executor has to give.

use std::borrow::Cow;

use sandbox::{Capability, Grants, Limits, State};

use super::asks::Services;
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

/// What stays of the script between executions.
pub(super) fn state(script: &Script) -> State {
    script.manifest.state
}
