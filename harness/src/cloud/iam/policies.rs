//! Who may do what on which resource: policies with etags, that hold some time after they were set.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::roles;

/// What Google gives as etag of a policy that was never set.
const ETAG_NEVER_SET: &str = "ACAB";

/// Why a policy is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cloud) enum PolicyError {
    /// Somebody set it since it was read.
    Stale,
    /// What is wrong with it.
    Invalid(String),
}

#[derive(Debug, Default)]
pub(super) struct Policies {
    by_resource: BTreeMap<String, Vec<Revision>>,
    delay: Duration,
    revision_last: u64,
}

/// A policy and since when it holds.
#[derive(Debug)]
struct Revision {
    holds_from: Instant,
    number: u64,
    policy: Value,
}

impl Policies {
    pub(super) fn set_delay(&mut self, delay: Duration) {
        self.delay = delay;
    }

    /// The policy that was set last, whether it holds already or not.
    pub(super) fn get(&self, resource: &str) -> Value {
        let last = self.by_resource.get(resource).and_then(|revisions| revisions.last());
        last.map_or_else(|| json!({ "version": 1, "etag": ETAG_NEVER_SET }), |revision| revision.policy.clone())
    }

    pub(super) fn set(&mut self, resource: &str, given: &Value, now: Instant) -> Result<Value, PolicyError> {
        let etag = given["etag"].as_str().unwrap_or_default();
        if !etag.is_empty() && self.get(resource)["etag"] != etag {
            return Err(PolicyError::Stale);
        }
        let bindings = check(given)?;
        self.revision_last += 1;
        let number = self.revision_last;
        let version = if bindings.iter().any(|binding| binding.get("condition").is_some()) { 3 } else { 1 };
        let mut policy =
            json!({ "version": version, "etag": BASE64.encode(&[&[7, 6], &number.to_be_bytes()[2..]].concat()) });
        if !bindings.is_empty() {
            policy["bindings"] = bindings.into();
        }
        let revisions = self.by_resource.entry(resource.to_owned()).or_default();
        // Of those that hold already only the youngest matters.
        if let Some(current) = revisions.iter().rposition(|revision| revision.holds_from <= now) {
            revisions.drain(..current);
        }
        revisions.push(Revision { holds_from: now + self.delay, number, policy: policy.clone() });
        Ok(policy)
    }

    pub(super) fn forget(&mut self, resource: &str) {
        self.by_resource.remove(resource);
    }

    /// Whether a policy of one of the resources grants the permission now.
    pub(super) fn allow(&self, resources: &[String], member: &str, permission: &str, now: Instant) -> bool {
        let target = resources.first().map_or("", String::as_str);
        resources.iter().any(|resource| {
            let revisions = self.by_resource.get(resource).map(Vec::as_slice).unwrap_or_default();
            let holds = revisions.iter().filter(|revision| revision.holds_from <= now).max_by_key(|found| found.number);
            let bindings = holds.and_then(|revision| revision.policy["bindings"].as_array());
            bindings.into_iter().flatten().any(|binding| {
                let members = binding["members"].as_array().map(Vec::as_slice).unwrap_or_default();
                let named = members.iter().any(|found| found == member || found == "allUsers");
                named
                    && condition_holds(binding.get("condition"), target)
                    && roles::grants(&binding["role"], permission)
            })
        })
    }
}

/// All members that a policy names.
pub(super) fn members(policy: &Value) -> impl Iterator<Item = &str> {
    let bindings = policy["bindings"].as_array().into_iter().flatten();
    bindings.flat_map(|binding| binding["members"].as_array().into_iter().flatten()).filter_map(Value::as_str)
}

/// The bindings, if they can be taken; ones without members are left out, as at Google.
fn check(policy: &Value) -> Result<Vec<Value>, PolicyError> {
    const KINDS: [&str; 9] = [
        "user:",
        "serviceAccount:",
        "group:",
        "domain:",
        "principal:",
        "principalSet:",
        "projectOwner:",
        "projectEditor:",
        "projectViewer:",
    ];
    let bindings = policy["bindings"].as_array().cloned().unwrap_or_default();
    for binding in &bindings {
        let role = binding["role"].as_str().unwrap_or_default();
        if !roles::is_known(role) {
            return Err(PolicyError::Invalid(format!("Role {role} is not supported for this resource.")));
        }
    }
    let known = |member: &str| {
        KINDS.iter().any(|kind| member.starts_with(kind)) || matches!(member, "allUsers" | "allAuthenticatedUsers")
    };
    if let Some(bad) = members(policy).find(|member| !known(member)) {
        return Err(PolicyError::Invalid(format!("The member {bad} is of an unknown type.")));
    }
    let has_members = |binding: &Value| binding["members"].as_array().is_some_and(|members| !members.is_empty());
    Ok(bindings.into_iter().filter(has_members).collect())
}

/// Conditions on the start of the resource's name are understood; any other grants nothing here.
fn condition_holds(condition: Option<&Value>, resource: &str) -> bool {
    let Some(condition) = condition.filter(|condition| !condition.is_null()) else { return true };
    let expression = condition["expression"].as_str().unwrap_or_default().trim();
    let prefix = expression.strip_prefix("resource.name.startsWith(\"").and_then(|rest| rest.strip_suffix("\")"));
    prefix.is_some_and(|prefix| resource.starts_with(prefix.trim_start_matches("//")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(role: &str) -> Value {
        json!({ "bindings": [{ "role": role, "members": ["serviceAccount:a@p.iam.gserviceaccount.com"] }] })
    }

    fn may(policies: &Policies, resource: &str, permission: &str, now: Instant) -> bool {
        let member = "serviceAccount:a@p.iam.gserviceaccount.com";
        policies.allow(&[resource.to_owned(), "projects/p".to_owned()], member, permission, now)
    }

    #[test]
    fn a_policy_is_told_at_once_and_holds_after_the_delay() {
        let (mut policies, now) = (Policies::default(), Instant::now());
        policies.set_delay(Duration::from_secs(60));

        policies.set("projects/p/topics/t", &binding("roles/pubsub.publisher"), now).unwrap();

        assert_eq!(policies.get("projects/p/topics/t")["bindings"][0]["role"], "roles/pubsub.publisher");
        assert!(!may(&policies, "projects/p/topics/t", "pubsub.topics.publish", now));
        assert!(may(&policies, "projects/p/topics/t", "pubsub.topics.publish", now + Duration::from_secs(60)));
    }

    #[test]
    fn taking_a_role_away_holds_after_the_delay_too() {
        let (mut policies, now) = (Policies::default(), Instant::now());
        policies.set("projects/p", &binding("roles/pubsub.publisher"), now).unwrap();
        policies.set_delay(Duration::from_secs(60));

        policies.set("projects/p", &json!({}), now).unwrap();

        assert!(may(&policies, "projects/p/topics/t", "pubsub.topics.publish", now));
        assert!(!may(&policies, "projects/p/topics/t", "pubsub.topics.publish", now + Duration::from_secs(60)));
    }

    #[test]
    fn an_old_etag_is_refused() {
        let (mut policies, now) = (Policies::default(), Instant::now());
        let read = policies.get("projects/p");
        policies.set("projects/p", &binding("roles/viewer"), now).unwrap();

        let mut mine = binding("roles/editor");
        mine["etag"] = read["etag"].clone();

        assert_eq!(policies.set("projects/p", &mine, now), Err(PolicyError::Stale));
    }

    #[test]
    fn conditions_that_are_not_understood_grant_nothing() {
        let (mut policies, now) = (Policies::default(), Instant::now());
        let mut conditional = binding("roles/secretmanager.secretAccessor");
        conditional["bindings"][0]["condition"] =
            json!({ "expression": "resource.name.startsWith(\"projects/p/secrets/a\")" });
        policies.set("projects/p", &conditional, now).unwrap();

        assert!(may(&policies, "projects/p/secrets/a", "secretmanager.versions.access", now));
        assert!(!may(&policies, "projects/p/secrets/b", "secretmanager.versions.access", now));
        conditional["bindings"][0]["condition"]["expression"] = "request.time < now".into();
        policies.set("projects/p", &conditional, now).unwrap();
        assert!(!may(&policies, "projects/p/secrets/a", "secretmanager.versions.access", now));
    }

    #[test]
    fn unknown_roles_and_members_are_refused() {
        let (mut policies, now) = (Policies::default(), Instant::now());
        let stranger = json!({ "bindings": [{ "role": "roles/viewer", "members": ["ada"] }] });

        assert!(matches!(policies.set("projects/p", &binding("roles/none"), now), Err(PolicyError::Invalid(_))));
        assert!(matches!(policies.set("projects/p", &stranger, now), Err(PolicyError::Invalid(_))));
    }
}
