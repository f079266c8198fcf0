//! Middleware of a release: which scripts the calls of others go through, and in which order.

use std::collections::HashMap;
use std::sync::Arc;

use contract::TenantName;

use super::{Script, Tenant};

/// Layers that one tenant, or the operator, may have: each call goes through them.
pub(super) const LAYERS_MAX: usize = 16;

/// The layers around one call, outermost first.
pub type Around = Arc<[Arc<Script>]>;

/// All layers of a release. Changes are made to a copy.
#[derive(Debug, Clone, Default)]
pub(super) struct Layers {
    /// Those of each tenant that has some, innermost first. Those of [`TenantName::STACK`] are around everybody's calls.
    tenants: HashMap<TenantName, Vec<Arc<Script>>>,
}

impl Layers {
    /// Takes note of what a tenant has now.
    pub(super) fn update(&mut self, tenant: &TenantName, scripts: Option<&Tenant>) {
        let scripts = scripts.into_iter().flat_map(|scripts| scripts.values());
        let mut layers: Vec<_> =
            scripts.filter(|script| script.manifest.is_middleware() && !script.name.is_reserved()).cloned().collect();
        layers.sort_by(|one, other| {
            (one.manifest.layer.order, &one.name).cmp(&(other.manifest.layer.order, &other.name))
        });
        if layers.is_empty() {
            self.tenants.remove(tenant);
        } else {
            self.tenants.insert(tenant.clone(), layers);
        }
    }

    /// Whether there is none at all.
    pub(super) fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }

    /// A tenant's layer that is one too many, if there is one.
    pub(super) fn surplus(&self, tenant: &TenantName) -> Option<&Arc<Script>> {
        self.tenants.get(tenant)?.get(LAYERS_MAX)
    }

    /// Those around calls of `script`; `None` if there are none. The operator's are the base: they see what the tenant's
    /// have let pass, as the script will get it.
    pub(super) fn around(&self, script: &Script) -> Option<Around> {
        let of = |tenant: &str| self.tenants.get(tenant).into_iter().flatten().rev();
        let covering = of(script.tenant.as_str())
            .chain(of(TenantName::STACK))
            .filter(|layer| layer.manifest.layer.covers(script.tenant.as_str(), script.name.as_str()));
        let around: Vec<_> = covering.cloned().collect();
        (!around.is_empty()).then(|| around.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::testing::{Signer, remove, write};
    use crate::release::{Active, Known, prepare};

    const RULE: &str = "return function() return 1 end";

    fn layer(rest: &str) -> String {
        format!("return {{ before = function() end, {rest} }}")
    }

    fn around(release: &Active, tenant: &str, script: &str) -> String {
        let around = release.layers(release.find(tenant, script).unwrap());
        let names = around.iter().flat_map(|layers| layers.iter());
        names.map(|layer| format!("{}/{}", layer.tenant, layer.name)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_operators_layers_are_the_base_and_the_highest_order_is_outermost() {
        let signer = Signer::new();
        let scripts = vec![
            write("acme", "risk", RULE),
            write("zoo", "risk", RULE),
            write("acme", "a", layer("")),
            write("acme", "b", layer("")),
            write("acme", "late", layer("middleware = { order = -1 }")),
            write("acme", "first", layer("middleware = { order = 10 }")),
            write("@stack", "audit", layer("middleware = { order = 99 }")),
            write("@stack", "limits", layer("")),
        ];

        let release = prepare(&signer.trust(), &Known::default(), signer.offer(1, 0, scripts)).unwrap();

        assert_eq!(around(&release, "acme", "risk"), "acme/first acme/b acme/a acme/late @stack/audit @stack/limits");
        assert_eq!(around(&release, "zoo", "risk"), "@stack/audit @stack/limits");
    }

    #[test]
    fn a_layer_is_around_the_scripts_and_tenants_that_it_names() {
        let signer = Signer::new();
        let scripts = vec![
            write("acme", "risk", RULE),
            write("acme", "loan-eu", RULE),
            write("zoo", "risk", RULE),
            write("acme", "own", layer("middleware = { scripts = { \"loan-*\" } }")),
            write("@stack", "base", layer("middleware = { tenants = { \"zoo\" }, scripts = { \"risk\" } }")),
        ];

        let release = prepare(&signer.trust(), &Known::default(), signer.offer(1, 0, scripts)).unwrap();

        assert_eq!(around(&release, "acme", "risk"), "");
        assert_eq!(around(&release, "acme", "loan-eu"), "acme/own");
        assert_eq!(around(&release, "zoo", "risk"), "@stack/base");
    }

    #[test]
    fn layers_come_and_go_with_releases_and_are_those_of_their_release() {
        let mut signer = Signer::new();
        let trust = signer.trust();
        let whole = vec![write("acme", "risk", RULE), write("acme", "own", layer(""))];
        let first = prepare(&trust, &Known::default(), signer.offer_and_keep(1, 0, whole)).unwrap();
        let known = Known { active: Some(Arc::new(first)), staged: Vec::new() };

        let changes = vec![remove("acme", "own"), write("@stack", "base", layer(""))];
        let second = prepare(&trust, &known, signer.offer_and_keep(2, 1, changes)).unwrap();

        assert_eq!(around(&second, "acme", "risk"), "@stack/base");
        assert_eq!(around(known.active.as_ref().unwrap(), "acme", "risk"), "acme/own");
        let base = second.tenants[TenantName::STACK].values().next().map(Arc::clone).unwrap();
        let known = Known { active: Some(Arc::new(second)), staged: Vec::new() };
        let third = prepare(&trust, &known, signer.offer(3, 2, vec![write("acme", "risk", "return 1")])).unwrap();
        assert!(Arc::ptr_eq(&base, &third.layers(third.find("acme", "risk").unwrap()).unwrap()[0]));
    }

    #[test]
    fn without_middleware_there_is_nothing_to_look_at() {
        let signer = Signer::new();
        let offer = signer.offer(1, 0, vec![write("acme", "risk", RULE)]);

        let release = prepare(&signer.trust(), &Known::default(), offer).unwrap();

        assert!(release.layers.is_none());
    }

    #[test]
    fn more_layers_than_a_call_should_go_through_are_refused() {
        let signer = Signer::new();
        let scripts = (0..=LAYERS_MAX).map(|index| write("acme", &format!("l{index:02}"), layer("")));

        let refusal = prepare(&signer.trust(), &Known::default(), signer.offer(1, 0, scripts.collect())).unwrap_err();

        assert_eq!(refusal.code(), "script_refused");
        insta::assert_snapshot!(telemetry::chain(&refusal), @"`acme/l16` is one too many: tenant `acme` may have 16 scripts with `before` or `after`");
    }

    #[test]
    fn the_operators_scripts_are_nobodys_to_call() {
        let signer = Signer::new();
        let offer = signer.offer(1, 0, vec![write("@stack", "base", layer(""))]);

        let release = prepare(&signer.trust(), &Known::default(), offer).unwrap();

        assert_eq!(release.find("@stack", "base").unwrap_err(), crate::release::Missing::Tenant);
        assert!(release.tenant("@stack").is_none());
    }
}
