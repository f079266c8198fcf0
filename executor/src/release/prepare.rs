//! From an offer to a release that is ready to run. Pure: no I/O, no clock; the same offer on the same base gives the
//! same release or the same refusal.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use contract::release::{self, Entry, Scripts, check_digest};
use contract::{ScriptName, TenantName, Version};
use http::HeaderValue;

use super::active::Tenants;
use super::layers::{LAYERS_MAX, Layers};
use super::{Active, Change, Offer, Refusal, Script, Tenant, Terms, Trust, settle};
use crate::strategy::Share;

/// The releases at hand.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The one that answers.
    pub active: Option<Arc<Active>>,
    /// Those prepared and not yet activated.
    pub staged: Vec<Arc<Active>>,
}

impl Known {
    fn all(&self) -> impl Iterator<Item = &Arc<Active>> {
        self.active.iter().chain(&self.staged)
    }

    /// A script that was compiled before from the same source under the same name.
    fn compiled(&self, tenant: &str, script: &str, version: &Version) -> Option<&Arc<Script>> {
        let known = self.all().filter_map(|release| release.tenants.get(tenant)?.get(script));
        known.into_iter().find(|known| known.version == *version)
    }

    /// On which terms the tenant's scripts ran last.
    pub(super) fn terms(&self, tenant: &TenantName) -> Option<&Arc<Terms>> {
        self.all().find_map(|release| Some(&release.tenants.get(tenant)?.terms))
    }

    /// What the tenant's scripts have in common: a new version is no new tenant.
    fn share(&self, tenant: &TenantName) -> Option<Arc<Share>> {
        self.all().find_map(|release| share(release.tenants.get(tenant)?))
    }
}

/// Checks `offer` from number to digest, applies its changes to their base, and compiles what was not compiled before.
///
/// # Errors
/// [`Refusal`]; `known` is as it was.
pub fn prepare(trust: &Trust, known: &Known, offer: Offer) -> Result<Active, Refusal> {
    let Offer { verified, base: base_number, changes } = offer;
    let (signed, statement) = verified.into_parts();
    let number = statement.number;
    if let Some(active) = known.active.as_ref().filter(|active| number <= active.number()) {
        return Err(Refusal::NotNewer { number, active: active.number() });
    }
    let base = find_base(known, base_number, number)?;

    // What is signed is checked before anything is compiled: compiling is what costs.
    let mut scripts = base.map(|base| base.scripts.clone()).unwrap_or_default();
    for change in &changes {
        check_source(change)?;
        note(&mut scripts, change);
    }
    check_digest(&statement, &scripts).map_err(|err| match base {
        Some(_) => Refusal::WrongBase { base: base_number, err },
        None => Refusal::Unverified(err),
    })?;

    let mut tenants = base.map(|base| base.tenants.clone()).unwrap_or_default();
    let changed: BTreeSet<TenantName> = changes.iter().map(|change| change.tenant.clone()).collect();
    for change in changes {
        apply(trust, known, &mut tenants, change)?;
    }
    let layers = layer(base, &tenants, &changed)?;
    let widest = settle::settle(known, base, &mut tenants, &changed);
    let number_header = HeaderValue::from(number);
    Ok(Active { statement, signed, scripts, tenants, layers, widest, number_header, served: OnceLock::new() })
}

/// The middleware of the base, with that of `changed` tenants as it is now.
fn layer(
    base: Option<&Arc<Active>>,
    tenants: &Tenants,
    changed: &BTreeSet<TenantName>,
) -> Result<Option<Arc<Layers>>, Refusal> {
    let mut layers = base.and_then(|base| base.layers.clone()).unwrap_or_default();
    for tenant in changed {
        Arc::make_mut(&mut layers).update(tenant, tenants.get(tenant).map(|tenant| &**tenant));
        if let Some(script) = layers.surplus(tenant) {
            let (tenant, script) = (tenant.clone(), script.name.clone());
            return Err(Refusal::TooManyLayers { tenant, script, max: LAYERS_MAX });
        }
    }
    Ok((!layers.is_empty()).then_some(layers))
}

fn share(of_tenant: &Arc<Tenant>) -> Option<Arc<Share>> {
    of_tenant.values().next().map(|script| Arc::clone(&script.share))
}

fn find_base(known: &Known, base: u64, number: u64) -> Result<Option<&Arc<Active>>, Refusal> {
    if base == 0 {
        return Ok(None);
    }
    known.all().find(|release| release.number() == base).map(Some).ok_or(Refusal::UnknownBase { number, base })
}

fn check_source(change: &Change) -> Result<(), Refusal> {
    let Some(content) = &change.content else { return Ok(()) };
    let (tenant, script) = (change.tenant.clone(), change.script.clone());
    if Version::of(&content.source) != content.entry.version {
        return Err(Refusal::WrongSource { tenant, script, version: content.entry.version.to_string() });
    }
    if content.source.len() != content.entry.size as usize {
        let (bytes, size) = (content.source.len(), content.entry.size);
        return Err(Refusal::WrongSize { tenant, script, bytes, size });
    }
    Ok(())
}

fn note(scripts: &mut Scripts, Change { tenant, script, content }: &Change) {
    if let Some(content) = content {
        release::set(scripts, tenant.clone(), script.clone(), content.entry.clone());
    } else {
        release::remove(scripts, tenant, script);
    }
}

fn apply(trust: &Trust, known: &Known, tenants: &mut Tenants, change: Change) -> Result<(), Refusal> {
    let Change { tenant, script, content } = change;
    let Some(content) = content else {
        if let Some(of_tenant) = tenants.get_mut(&tenant) {
            Arc::make_mut(of_tenant).remove(&script);
            if of_tenant.is_empty() {
                tenants.remove(&tenant);
            }
        }
        return Ok(());
    };
    let compiled = match known.compiled(tenant.as_str(), script.as_str(), &content.entry.version) {
        Some(compiled) => Arc::clone(compiled),
        None => {
            let share = known.share(&tenant).or_else(|| tenants.get(&tenant).and_then(share)).unwrap_or_default();
            let file = file_name(&content.entry, &script);
            // Its version was checked to be the one of the entry.
            let compiled =
                Script::compile(tenant.clone(), script.clone(), &file, content.source, &trust.workshop, share)
                    .map_err(|refusal| Refusal::Gate { tenant: tenant.clone(), script: script.clone(), refusal })?;
            Arc::new(compiled)
        }
    };
    Arc::make_mut(tenants.entry(tenant).or_default()).insert(script, compiled);
    Ok(())
}

/// The script's file as its author knows it: the last part of the bucket object.
fn file_name(entry: &Entry, script: &ScriptName) -> String {
    match entry.object.rsplit('/').next() {
        Some(file) if !file.is_empty() => file.to_owned(),
        _ => format!("{script}.luau"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::testing::{Signer, remove, write};

    fn version_of<'a>(release: &'a Active, tenant: &str, script: &str) -> &'a str {
        release.find(tenant, script).unwrap().version.as_str()
    }

    fn running(release: Active) -> Known {
        Known { active: Some(Arc::new(release)), staged: Vec::new() }
    }

    #[test]
    fn a_whole_release_holds_every_script() {
        let signer = Signer::new();
        let offer = signer.offer(1, 0, vec![write("acme", "risk", "return 1"), write("zoo", "ape", "return 2")]);

        let release = prepare(&signer.trust(), &Known::default(), offer).unwrap();

        assert_eq!((release.number(), release.tenant_count()), (1, 2));
        assert_eq!(version_of(&release, "acme", "risk"), Version::of(b"return 1").as_str());
        assert_eq!(release.find("acme", "ape").unwrap_err(), crate::release::Missing::Script);
        assert_eq!(release.find("nobody", "ape").unwrap_err(), crate::release::Missing::Tenant);
    }

    #[test]
    fn changes_apply_to_their_base_and_leave_it_as_it_was() {
        let mut signer = Signer::new();
        let trust = signer.trust();
        let whole =
            vec![write("acme", "risk", "return 1"), write("acme", "rate", "return 2"), write("zoo", "ape", "return 3")];
        let known = running(prepare(&trust, &Known::default(), signer.offer_and_keep(1, 0, whole)).unwrap());

        let changes = vec![write("acme", "risk", "return 10"), remove("zoo", "ape")];
        let release = prepare(&trust, &known, signer.offer(2, 1, changes)).unwrap();

        assert_eq!(version_of(&release, "acme", "risk"), Version::of(b"return 10").as_str());
        assert_eq!(version_of(&release, "acme", "rate"), Version::of(b"return 2").as_str());
        assert!(!release.has_tenant("zoo"));
        assert!(known.active.unwrap().has_tenant("zoo"));
    }

    #[test]
    fn a_base_may_be_a_release_that_is_only_prepared() {
        let mut signer = Signer::new();
        let trust = signer.trust();
        let first = signer.offer_and_keep(1, 0, vec![write("acme", "risk", "return 1")]);
        let staged = prepare(&trust, &Known::default(), first).unwrap();
        let known = Known { active: None, staged: vec![Arc::new(staged)] };

        let release = prepare(&trust, &known, signer.offer(2, 1, vec![write("acme", "rate", "return 2")])).unwrap();

        assert_eq!(contract::release::count(release.scripts()), 2);
    }

    #[test]
    fn what_did_not_change_is_not_compiled_again() {
        let mut signer = Signer::new();
        let trust = signer.trust();
        let scripts = vec![write("acme", "risk", "return 1"), write("acme", "rate", "return 2")];
        let known = running(prepare(&trust, &Known::default(), signer.offer_and_keep(1, 0, scripts.clone())).unwrap());

        let release = prepare(&trust, &known, signer.offer(2, 0, scripts)).unwrap();

        let before = known.active.as_ref().unwrap().find("acme", "risk").unwrap();
        assert!(Arc::ptr_eq(before, release.find("acme", "risk").unwrap()));
    }

    #[test]
    fn all_scripts_and_versions_of_a_tenant_have_one_share() {
        let mut signer = Signer::new();
        let trust = signer.trust();
        let scripts =
            vec![write("acme", "risk", "return 1"), write("acme", "rate", "return 2"), write("zoo", "ape", "return 3")];
        let known = running(prepare(&trust, &Known::default(), signer.offer_and_keep(1, 0, scripts)).unwrap());

        let release = prepare(&trust, &known, signer.offer(2, 1, vec![write("acme", "risk", "return 4")])).unwrap();

        let share = |tenant: &str, script: &str| Arc::clone(&release.find(tenant, script).unwrap().share);
        assert!(Arc::ptr_eq(&share("acme", "risk"), &share("acme", "rate")));
        assert!(!Arc::ptr_eq(&share("acme", "risk"), &share("zoo", "ape")));
    }

    const SLOW: &str = "return function() return { limits = { cpu = '7ms' } } end";

    fn cpu_ms(release: &Active, tenant: &str) -> u128 {
        release.tenant(tenant).unwrap().terms.limits.cpu.as_millis()
    }

    #[test]
    fn a_release_has_the_policies_that_are_in_it() {
        let mut signer = Signer::new();
        let trust = signer.trust();
        let scripts = vec![write("acme", "risk", "return 1"), write("zoo", "ape", "return 3")];
        let known = running(prepare(&trust, &Known::default(), signer.offer_and_keep(1, 0, scripts)).unwrap());

        let offer = signer.offer_and_keep(2, 1, vec![write("acme", "@policy", SLOW)]);
        let with_own = prepare(&trust, &known, offer).unwrap();
        assert_eq!((cpu_ms(&with_own, "acme"), cpu_ms(&with_own, "zoo")), (7, 50));
        assert_eq!(cpu_ms(known.active.as_ref().unwrap(), "acme"), 50, "a release that is there does not change");

        let stack = "return function() return { defaults = { limits = { cpu = '9ms' } } } end";
        let known = running(with_own);
        let offer = signer.offer_and_keep(3, 2, vec![write("@stack", "@policy", stack), write("new", "x", "return 1")]);
        let with_both = prepare(&trust, &known, offer).unwrap();
        assert_eq!(["acme", "zoo", "new"].map(|tenant| cpu_ms(&with_both, tenant)), [7, 9, 9]);

        let known = running(with_both);
        let offer = signer.offer_and_keep(4, 3, vec![remove("@stack", "@policy"), remove("acme", "@policy")]);
        let without = prepare(&trust, &known, offer).unwrap();
        assert_eq!(["acme", "zoo", "new"].map(|tenant| cpu_ms(&without, tenant)), [50, 50, 50]);
    }

    #[test]
    fn terms_that_say_the_same_are_the_same_and_go_on_counting() {
        let mut signer = Signer::new();
        let trust = signer.trust();
        let scripts = vec![write("acme", "risk", "return 1"), write("acme", "@policy", SLOW)];
        let known = running(prepare(&trust, &Known::default(), signer.offer_and_keep(1, 0, scripts.clone())).unwrap());
        let before = Arc::clone(&known.active.as_ref().unwrap().tenant("acme").unwrap().terms);

        let change = vec![write("acme", "risk", "return 2"), write("acme", "@policy", format!("{SLOW} -- again"))];
        for offer in [signer.offer(2, 1, change), signer.offer(2, 0, scripts)] {
            let release = prepare(&trust, &known, offer).unwrap();
            assert!(Arc::ptr_eq(&before, &release.tenant("acme").unwrap().terms));
        }
    }

    #[test]
    fn a_policy_that_is_none_is_refused_with_its_field() {
        let signer = Signer::new();
        let offer = signer.offer(1, 0, vec![write("acme", "@policy", "return function() return { limits = 5 } end")]);

        let refusal = prepare(&signer.trust(), &Known::default(), offer).unwrap_err();

        assert_eq!(refusal.code(), "script_refused");
        insta::assert_snapshot!(telemetry::chain(&refusal), @"`acme/@policy` is refused: @policy.luau: `limits`: invalid type: integer `5`, expected a table");
    }

    #[test]
    fn an_unknown_base_asks_for_the_whole_release() {
        let signer = Signer::new();
        let offer = signer.offer(8, 7, vec![write("acme", "risk", "return 1")]);

        let refusal = prepare(&signer.trust(), &Known::default(), offer).unwrap_err();

        assert_eq!(refusal.code(), "unknown_base");
        insta::assert_snapshot!(refusal, @"release 8 is given as changes of release 7, which is not here; send the whole release");
    }

    #[test]
    fn a_base_with_other_content_asks_for_the_whole_release() {
        let mut signer = Signer::new();
        let trust = signer.trust();
        let known = {
            let other = signer.offer(1, 0, vec![write("acme", "risk", "return 'other'")]);
            running(prepare(&trust, &Known::default(), other).unwrap())
        };
        signer.offer_and_keep(1, 0, vec![write("acme", "risk", "return 1")]);

        let refusal = prepare(&trust, &known, signer.offer(2, 1, vec![write("acme", "rate", "return 2")])).unwrap_err();

        assert_eq!(refusal.code(), "unknown_base");
    }

    #[test]
    fn scripts_that_were_not_signed_are_refused() {
        let signer = Signer::new();
        let mut offer = signer.offer(1, 0, vec![write("acme", "risk", "return 1")]);
        offer.changes.push(write("acme", "more", "return 2"));

        let refusal = prepare(&signer.trust(), &Known::default(), offer).unwrap_err();

        assert_eq!(refusal.code(), "bad_signature");
    }

    #[test]
    fn a_number_that_is_not_newer_is_refused() {
        let mut signer = Signer::new();
        let trust = signer.trust();
        let first = signer.offer_and_keep(5, 0, vec![write("acme", "risk", "return 1")]);
        let known = running(prepare(&trust, &Known::default(), first).unwrap());

        for number in [4, 5] {
            let refusal = prepare(&trust, &known, signer.offer(number, 0, Vec::new())).unwrap_err();
            assert_eq!(refusal.code(), "conflict");
            assert!(refusal.to_string().contains("is not newer than release 5"), "{refusal}");
        }
    }

    #[test]
    fn a_source_that_is_not_its_version_or_size_is_refused() {
        let signer = Signer::new();
        let mut offer = signer.offer(1, 0, vec![write("acme", "risk", "return 1")]);
        let content = offer.changes[0].content.as_mut().unwrap();
        let right = std::mem::replace(&mut content.source, b"return 2".as_slice().into());

        let refusal = prepare(&signer.trust(), &Known::default(), offer.clone()).unwrap_err();
        assert_eq!(refusal.code(), "bad_signature");
        assert_eq!(refusal.script().unwrap().1.as_str(), "risk");

        let content = offer.changes[0].content.as_mut().unwrap();
        (content.source, content.entry.size) = (right, 9);
        let refusal = prepare(&signer.trust(), &Known::default(), offer).unwrap_err();
        insta::assert_snapshot!(refusal, @"source of `acme/risk` has 8 bytes, its release says 9");
    }

    #[test]
    fn a_syntax_error_names_script_file_and_line() {
        let signer = Signer::new();
        let offer = signer.offer(1, 0, vec![write("acme", "risk", "local x =\nreturn }")]);

        let refusal = prepare(&signer.trust(), &Known::default(), offer).unwrap_err();

        assert_eq!(refusal.code(), "script_refused");
        let text = telemetry::chain(&refusal);
        assert!(text.starts_with("`acme/risk` is refused: ") && text.contains("risk.luau:2:"), "{text}");
    }

    #[test]
    fn a_package_is_compiled_whole_and_its_faults_name_the_module() {
        let package = |answer: &str| {
            let mut tar = tar::Builder::new(Vec::new());
            for (path, source) in [("init.luau", "return require('./rules/vip')"), ("rules/vip.luau", answer)] {
                let mut header = tar::Header::new_ustar();
                header.set_size(source.len() as u64);
                tar.append_data(&mut header, path, source.as_bytes()).unwrap();
            }
            tar.into_inner().unwrap()
        };
        let signer = Signer::new();

        let offer = signer.offer(1, 0, vec![write("acme", "risk", package("return function() return 1 end"))]);
        let release = prepare(&signer.trust(), &Known::default(), offer).unwrap();
        let paths: Vec<&str> = release.find("acme", "risk").unwrap().program.paths().collect();
        assert_eq!(paths, ["init.luau", "rules/vip.luau"]);

        let offer = signer.offer(1, 0, vec![write("acme", "risk", package("\nreturn }"))]);
        let refusal = prepare(&signer.trust(), &Known::default(), offer).unwrap_err();
        assert!(telemetry::chain(&refusal).contains("rules/vip.luau:2:"), "{}", telemetry::chain(&refusal));
    }
}
