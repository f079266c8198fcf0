//! What must change so that the release says what the bucket holds. Pure: no I/O, no clock.
//!
//! Two rules carry everything: a larger generation is newer, and an older one never replaces a newer one.

use std::collections::BTreeMap;

use contract::ids::{NameError, ScriptName, TenantName, script_of};
use contract::release::{Entry, Scripts};

use crate::bucket::ObservedObject;

/// A change of one script, ready for a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The script is to run this.
    Set(Entry),
    /// The script is to go, if it is still what came from this generation.
    Remove {
        /// The generation that was seen to be gone.
        generation: i64,
    },
}

/// How a change stands to the scripts of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It changes them.
    New,
    /// It is already so.
    Already,
    /// Something newer is there: the entry, or nothing where it was removed since.
    Superseded(Option<Entry>),
}

/// Generations at which scripts were removed, so that a late word about them does not bring them back.
pub type Tombstones = BTreeMap<(TenantName, ScriptName), i64>;

/// Judges a change of one script against what is current.
pub fn standing(change: &Change, running: Option<&Entry>, removed_at: Option<i64>) -> Standing {
    match (change, running) {
        (Change::Set(entry), Some(running)) if entry.generation > running.generation => Standing::New,
        (Change::Set(entry), Some(running)) if entry.generation == running.generation => Standing::Already,
        (Change::Set(_), Some(running)) => Standing::Superseded(Some(running.clone())),
        (Change::Set(entry), None) if removed_at.is_some_and(|removed| entry.generation <= removed) => {
            Standing::Superseded(None)
        }
        (Change::Set(_), None) => Standing::New,
        (Change::Remove { generation }, Some(running)) if running.generation <= *generation => Standing::New,
        (Change::Remove { .. }, Some(running)) => Standing::Superseded(Some(running.clone())),
        (Change::Remove { .. }, None) => Standing::Already,
    }
}

/// An object to read, to judge and to release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Whose script it holds.
    pub tenant: TenantName,
    /// Which.
    pub script: ScriptName,
    /// The object.
    pub object: ObservedObject,
}

/// A script whose object is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// Whose.
    pub tenant: TenantName,
    /// Which.
    pub script: ScriptName,
    /// The generation that ran.
    pub generation: i64,
}

/// What to do about a look at the bucket.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Read these, by name and generation.
    pub fetch: Vec<Fetch>,
    /// Remove these.
    pub remove: Vec<Removal>,
    /// Objects where scripts lie whose names are not allowed.
    pub misnamed: Vec<(String, NameError)>,
    /// Why nothing is removed although objects are missing.
    pub guard: Option<String>,
}

/// What a look at the whole bucket saw.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Every live object that may hold a script.
    pub objects: &'a [ObservedObject],
    /// Whether the release pointer was there.
    pub pointer: bool,
}

/// Plans for the whole bucket. `current` must have been taken before the bucket was looked at: only then is an object
/// that is missing really gone. `refused` tells at which generation an object was refused.
pub fn plan(current: &Scripts, seen: Seen<'_>, refused: impl Fn(&str) -> Option<i64>) -> Plan {
    let (newest, misnamed) = newest(seen.objects);
    let mut plan = Plan { misnamed, ..Plan::default() };
    plan.fetch = fetches(current, &newest, refused);
    plan.remove = removals(current, &newest);
    if plan.remove.is_empty() {
        return plan;
    }
    let running = contract::release::count(current);
    plan.guard = if !seen.pointer {
        Some(format!("the release pointer is gone; {running} scripts keep running, none is removed"))
    } else if newest.is_empty() {
        Some(format!("no script is in the bucket; {running} scripts keep running, none is removed"))
    } else {
        None
    };
    if plan.guard.is_some() {
        plan.remove.clear();
    }
    plan
}

/// Plans for one script. `objects` are all live objects that may hold it. It is removed only if `deleted` (the
/// generation that a notification says was deleted) is the one that runs: a bucket that is gone looks empty, too.
pub fn plan_script(
    tenant: &TenantName,
    script: &ScriptName,
    running: Option<&Entry>,
    objects: &[ObservedObject],
    deleted: Option<i64>,
    refused: impl Fn(&str) -> Option<i64>,
) -> Plan {
    let mut current = Scripts::new();
    if let Some(running) = running {
        current.entry(tenant.clone()).or_default().insert(script.clone(), running.clone());
    }
    let (newest, _) = newest(objects);
    let mut plan = Plan { fetch: fetches(&current, &newest, refused), ..Plan::default() };
    if running.is_some_and(|running| deleted == Some(running.generation)) {
        plan.remove = removals(&current, &newest);
    }
    plan
}

type Newest<'a> = BTreeMap<(TenantName, ScriptName), &'a ObservedObject>;

/// The newest object of each script; a script may have several, such as `.luau` and `.zip`.
fn newest(objects: &[ObservedObject]) -> (Newest<'_>, Vec<(String, NameError)>) {
    let mut newest = Newest::new();
    let mut misnamed = Vec::new();
    for object in objects {
        match script_of(&object.name) {
            Ok(Some(key)) => {
                let best = newest.entry(key).or_insert(object);
                if object.generation > best.generation {
                    *best = object;
                }
            }
            Ok(None) => {}
            Err(err) => misnamed.push((object.name.clone(), err)),
        }
    }
    (newest, misnamed)
}

fn fetches(current: &Scripts, newest: &Newest<'_>, refused: impl Fn(&str) -> Option<i64>) -> Vec<Fetch> {
    newest
        .iter()
        .filter(|((tenant, script), object)| {
            let running = current.get(tenant).and_then(|of_tenant| of_tenant.get(script));
            let newer = running.is_none_or(|running| object.generation > running.generation);
            newer && refused(&object.name).is_none_or(|refused| object.generation > refused)
        })
        .map(|((tenant, script), object)| Fetch {
            tenant: tenant.clone(),
            script: script.clone(),
            object: (*object).clone(),
        })
        .collect()
}

fn removals(current: &Scripts, newest: &Newest<'_>) -> Vec<Removal> {
    let running =
        current.iter().flat_map(|(tenant, scripts)| scripts.iter().map(move |(script, entry)| (tenant, script, entry)));
    running
        .filter(|(tenant, script, _)| !newest.contains_key(&((*tenant).clone(), (*script).clone())))
        .map(|(tenant, script, entry)| Removal {
            tenant: tenant.clone(),
            script: script.clone(),
            generation: entry.generation,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::Version;

    fn entry(object: &str, generation: i64) -> Entry {
        Entry {
            version: Version::of(object.as_bytes()),
            generation,
            object: object.to_owned(),
            size: 1,
            pushed_at_ms: 0,
            pushed_by: "ada".to_owned(),
        }
    }

    fn running(scripts: &[(&str, i64)]) -> Scripts {
        let mut all = Scripts::new();
        for (object, generation) in scripts {
            let (tenant, script) = script_of(object).unwrap().unwrap();
            contract::release::set(&mut all, tenant, script, entry(object, *generation));
        }
        all
    }

    fn objects(objects: &[(&str, i64)]) -> Vec<ObservedObject> {
        let object = |(name, generation): &(&str, i64)| ObservedObject {
            name: (*name).to_owned(),
            generation: *generation,
            size: 1,
            written_at_ms: 0,
            metadata: BTreeMap::new(),
        };
        objects.iter().map(object).collect()
    }

    /// The plan in one line per step.
    #[track_caller]
    fn check(current: &[(&str, i64)], seen: &[(&str, i64)], refused: &[(&str, i64)], expected: &[&str]) {
        let refused_at = |object: &str| refused.iter().find(|(name, _)| *name == object).map(|(_, at)| *at);
        let plan = plan(&running(current), Seen { objects: &objects(seen), pointer: true }, refused_at);
        assert_eq!(lines(&plan), expected);
    }

    fn lines(plan: &Plan) -> Vec<String> {
        let mut lines: Vec<String> =
            plan.fetch.iter().map(|fetch| format!("fetch {}#{}", fetch.object.name, fetch.object.generation)).collect();
        lines.extend(
            plan.remove.iter().map(|gone| format!("remove {}/{}#{}", gone.tenant, gone.script, gone.generation)),
        );
        lines.extend(plan.misnamed.iter().map(|(object, _)| format!("misnamed {object}")));
        lines.extend(plan.guard.iter().map(|guard| format!("guard: {guard}")));
        lines
    }

    const RISK: &str = "tenants/acme/scripts/risk.luau";
    const RISK_LUA: &str = "tenants/acme/scripts/risk.lua";
    const PRICE: &str = "tenants/acme/scripts/price.luau";

    #[test]
    fn what_is_already_so_needs_nothing() {
        check(&[(RISK, 5)], &[(RISK, 5)], &[], &[]);
        check(&[], &[], &[], &[]);
    }

    #[test]
    fn a_newer_generation_and_a_new_object_are_fetched() {
        check(
            &[(RISK, 5)],
            &[(RISK, 6), (PRICE, 1)],
            &[],
            &["fetch tenants/acme/scripts/price.luau#1", "fetch tenants/acme/scripts/risk.luau#6"],
        );
    }

    #[test]
    fn an_older_generation_never_replaces_a_newer_one() {
        check(&[(RISK, 5)], &[(RISK, 4)], &[], &[]);
    }

    #[test]
    fn of_two_objects_of_one_script_the_newer_wins() {
        check(&[], &[(RISK, 4), (RISK_LUA, 7)], &[], &["fetch tenants/acme/scripts/risk.lua#7"]);
        check(&[(RISK_LUA, 7)], &[(RISK, 4), (RISK_LUA, 7)], &[], &[]);
    }

    #[test]
    fn the_founding_object_is_default_latest() {
        check(&[], &[("latest.lua", 1), ("other.lua", 1)], &[], &["fetch latest.lua#1"]);
    }

    #[test]
    fn a_refused_generation_is_not_fetched_again_but_a_newer_one_is() {
        check(&[(RISK, 5)], &[(RISK, 6)], &[(RISK, 6)], &[]);
        check(&[(RISK, 5)], &[(RISK, 7)], &[(RISK, 6)], &["fetch tenants/acme/scripts/risk.luau#7"]);
    }

    #[test]
    fn one_missing_object_in_a_listing_that_stands_is_a_removal() {
        check(&[(RISK, 5), (PRICE, 6)], &[(PRICE, 6)], &[], &["remove acme/risk#5"]);
    }

    #[test]
    fn an_empty_listing_removes_nothing_and_says_so() {
        check(
            &[(RISK, 5), (PRICE, 6)],
            &[],
            &[],
            &["guard: no script is in the bucket; 2 scripts keep running, none is removed"],
        );
    }

    #[test]
    fn a_missing_pointer_removes_nothing_and_says_so() {
        let seen = objects(&[(PRICE, 6)]);

        let plan = plan(&running(&[(RISK, 5), (PRICE, 6)]), Seen { objects: &seen, pointer: false }, |_| None);

        assert_eq!(lines(&plan), ["guard: the release pointer is gone; 2 scripts keep running, none is removed"]);
    }

    #[test]
    fn names_that_are_not_allowed_are_told_and_hurt_nobody_else() {
        let long = format!("tenants/acme/scripts/{}.luau", "x".repeat(65));
        check(
            &[],
            &[("tenants/acme/scripts/a..b.luau", 1), (&long, 1), (RISK, 2)],
            &[],
            &[
                "fetch tenants/acme/scripts/risk.luau#2",
                "misnamed tenants/acme/scripts/a..b.luau",
                &format!("misnamed {long}"),
            ],
        );
    }

    #[test]
    fn one_thousand_and_one_scripts_are_all_planned() {
        let names: Vec<String> = (0..1001).map(|index| format!("tenants/acme/scripts/s{index}.luau")).collect();
        let seen: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 1)).collect();

        let plan = plan(&Scripts::new(), Seen { objects: &objects(&seen), pointer: true }, |_| None);

        assert_eq!(plan.fetch.len(), 1001);
    }

    #[track_caller]
    fn check_script(running_at: i64, seen: &[(&str, i64)], deleted: Option<i64>, expected: &[&str]) {
        let (tenant, script) = script_of(RISK).unwrap().unwrap();
        let plan = plan_script(&tenant, &script, Some(&entry(RISK, running_at)), &objects(seen), deleted, |_| None);
        assert_eq!(lines(&plan), expected);
    }

    #[test]
    fn a_script_goes_only_if_the_deletion_of_what_runs_was_told() {
        check_script(5, &[], Some(5), &["remove acme/risk#5"]);
        check_script(5, &[], Some(4), &[]);
        check_script(5, &[], None, &[]);
        check_script(5, &[(RISK_LUA, 3)], Some(5), &[]);
        check_script(5, &[(RISK, 6)], Some(5), &["fetch tenants/acme/scripts/risk.luau#6"]);
    }

    #[test]
    fn standing_follows_generations_and_tombstones() {
        let set = |generation| Change::Set(entry(RISK, generation));
        let runs = entry(RISK, 5);

        assert_eq!(standing(&set(6), Some(&runs), None), Standing::New);
        assert_eq!(standing(&set(5), Some(&runs), None), Standing::Already);
        assert_eq!(standing(&set(4), Some(&runs), None), Standing::Superseded(Some(runs.clone())));
        assert_eq!(standing(&set(4), None, None), Standing::New);
        assert_eq!(standing(&set(4), None, Some(4)), Standing::Superseded(None));
        assert_eq!(standing(&set(5), None, Some(4)), Standing::New);
        assert_eq!(standing(&Change::Remove { generation: 5 }, Some(&runs), None), Standing::New);
        assert_eq!(standing(&Change::Remove { generation: 4 }, Some(&runs), None), Standing::Superseded(Some(runs)));
        assert_eq!(standing(&Change::Remove { generation: 5 }, None, None), Standing::Already);
    }
}
