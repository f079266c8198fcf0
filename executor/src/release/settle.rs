//! Which terms hold for which tenant of a release that is being prepared.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use contract::policy::{Document, Effective, Layers};
use contract::{ScriptName, TenantName};
use sandbox::Limits;

use super::active::Widest;
use super::{Active, Known, Script, Tenant, Terms};
use crate::strategy::stuck_after;

/// Gives each of `tenants` its terms, where the policies that they come from are other than in `base`, of which
/// `tenants` is a copy with other scripts in the tenants `changed`.
pub(super) fn settle(
    known: &Known,
    base: Option<&Arc<Active>>,
    tenants: &mut HashMap<TenantName, Arc<Tenant>>,
    changed: &BTreeSet<TenantName>,
) -> Widest {
    let stack = policy(tenants, TenantName::STACK).cloned();
    let same_stack = base.is_some_and(|base| match (base.stack_policy(), &stack) {
        (Some(before), Some(now)) => Arc::ptr_eq(before, now),
        (before, now) => before.is_none() && now.is_none(),
    });
    let mut widest =
        base.map(|base| base.widest).filter(|_| same_stack).unwrap_or_else(|| Widest::of(&Limits::default()));
    let concerned: Vec<TenantName> = match same_stack {
        true => changed.iter().filter(|tenant| tenants.contains_key(*tenant)).cloned().collect(),
        false => tenants.keys().cloned().collect(),
    };
    let stack = stack.as_ref().and_then(|script| script.policy.as_ref()?.as_stack());
    for name in concerned {
        let own =
            policy(tenants, name.as_str()).and_then(|script| script.policy.as_ref()).and_then(Document::as_tenant);
        let effective = Layers { stack, own }.merge(&name);
        let tenant = tenants.get_mut(&name).expect("it is one of them");
        let terms = terms(known, &name, tenant, effective);
        widest = widest.with(&terms.limits);
        if !Arc::ptr_eq(&terms, &tenant.terms) {
            Arc::make_mut(tenant).terms = terms;
        }
    }
    widest
}

/// The policy script of a tenant.
fn policy<'t>(tenants: &'t HashMap<TenantName, Arc<Tenant>>, tenant: &str) -> Option<&'t Arc<Script>> {
    tenants.get(tenant)?.get(ScriptName::POLICY)
}

/// Terms that say `effective`; those that held before, if they say the same.
fn terms(known: &Known, name: &TenantName, tenant: &Tenant, effective: Effective) -> Arc<Terms> {
    if tenant.terms.effective == effective {
        // The terms of a tenant that is new here are nobody's.
        return known.terms(name).filter(|before| before.effective == effective).unwrap_or(&tenant.terms).clone();
    }
    match known.terms(name) {
        Some(before) if before.effective == effective => Arc::clone(before),
        before => Arc::new(Terms::new(effective, before.map(Arc::as_ref))),
    }
}

impl Widest {
    fn of(limits: &Limits) -> Self {
        Self { input_bytes: 0, stay: Duration::ZERO }.with(limits)
    }

    fn with(self, limits: &Limits) -> Self {
        Self { input_bytes: self.input_bytes.max(limits.input_bytes), stay: self.stay.max(stuck_after(limits)) }
    }
}
