//! Roles: read a policy, change one member of one role, write it back if nobody did in between.

use serde_json::{Value, json};

use super::{Answer, GoogleCloud, Method};
use crate::cloud::{Live, Owner};
use crate::resource::{Binding, Kind, Member, Spec, Target};

/// How a service reads and writes a policy.
struct Door {
    get: (Method, String, Value),
    set: (Method, String),
    /// The policy is the whole body, not a field of it.
    bare: bool,
}

impl GoogleCloud {
    fn door(&self, on: &Target) -> Door {
        let posts = |url: String| Door {
            get: (Method::POST, format!("{url}:getIamPolicy"), json!({ "options": { "requestedPolicyVersion": 3 } })),
            set: (Method::POST, format!("{url}:setIamPolicy")),
            bare: false,
        };
        let gets = |url: String, query: &str| Door {
            get: (Method::GET, format!("{url}:getIamPolicy{query}"), Value::Null),
            set: (Method::POST, format!("{url}:setIamPolicy")),
            bare: false,
        };
        let version = "?options.requestedPolicyVersion=3";
        let Target::Resource(id) = on else {
            return posts(format!("{}/v3/projects/{}", self.rest.bases.resource_manager, self.project));
        };
        let name = id.name.as_str();
        match id.kind {
            Kind::ServiceAccount => {
                let url = self.account_url(name);
                let get = (Method::POST, format!("{url}:getIamPolicy{version}"), Value::Null);
                Door { get, ..posts(url) }
            }
            Kind::Secret => gets(self.secret_url(name), version),
            Kind::Topic => gets(self.topic_url(name), ""),
            Kind::Subscription => gets(self.subscription_url(name), ""),
            // A target is one of these or a bucket.
            _ => {
                let url = format!("{}/iam", self.bucket_url(name));
                Door {
                    get: (Method::GET, format!("{url}?optionsRequestedPolicyVersion=3"), Value::Null),
                    set: (Method::PUT, url),
                    bare: true,
                }
            }
        }
    }

    async fn member(&self, member: &Member) -> Answer<String> {
        let email = match member {
            Member::ServiceAccount(name) => self.email(name.as_str()),
            Member::StorageAgent => self.storage_agent().await?,
            Member::PubsubAgent => self.pubsub_agent().await?,
        };
        Ok(format!("serviceAccount:{email}"))
    }

    pub(super) async fn read_binding(&self, binding: &Binding) -> Answer<Option<Live>> {
        let (method, url, body) = self.door(&binding.on).get;
        let policy = match self.rest.call(method, &url, body).await {
            Ok(policy) => policy,
            // Without the thing there is no role on it.
            Err(failure) if failure.is_missing() => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let member = self.member(&binding.member).await?;
        let live = Live { spec: Spec::Binding(binding.clone()), owner: Owner::Unmarked };
        Ok(has(&policy, &binding.role, &member).then_some(live))
    }

    /// Gives or takes a role.
    pub(super) async fn change_binding(&self, binding: &Binding, wanted: bool) -> Answer<()> {
        let _one_at_a_time = self.policies.lock().await;
        let door = self.door(&binding.on);
        let (method, url, body) = door.get;
        let mut policy = match self.rest.call(method, &url, body).await {
            Err(failure) if failure.is_missing() && !wanted => return Ok(()),
            result => result?,
        };
        let member = self.member(&binding.member).await?;
        if has(&policy, &binding.role, &member) == wanted {
            return Ok(());
        }
        change(&mut policy, &binding.role, &member, wanted);
        let body = if door.bare { policy } else { json!({ "policy": policy }) };
        let (method, url) = door.set;
        // An account that was only just made is not known to every service yet.
        self.rest.call(method, &url, body).await.map(drop).map_err(|failure| failure.passing_if(wanted))
    }
}

/// Roles under a condition are somebody else's business.
fn unconditional(binding: &Value, role: &str) -> bool {
    binding["role"] == role && binding["condition"].is_null()
}

fn has(policy: &Value, role: &str, member: &str) -> bool {
    let bindings = policy["bindings"].as_array().map(Vec::as_slice).unwrap_or_default();
    let holds = |binding: &Value| binding["members"].as_array().is_some_and(|all| all.iter().any(|one| one == member));
    bindings.iter().any(|binding| unconditional(binding, role) && holds(binding))
}

fn change(policy: &mut Value, role: &str, member: &str, wanted: bool) {
    if !policy["bindings"].is_array() {
        policy["bindings"] = json!([]);
    }
    let Some(bindings) = policy["bindings"].as_array_mut() else { return };
    if !bindings.iter().any(|binding| unconditional(binding, role)) {
        bindings.push(json!({ "role": role, "members": [] }));
    }
    for binding in bindings.iter_mut().filter(|binding| unconditional(binding, role)) {
        if let Some(members) = binding["members"].as_array_mut() {
            members.retain(|one| one != member);
            if wanted {
                members.push(member.into());
            }
        }
    }
    bindings.retain(|binding| binding["members"].as_array().is_none_or(|members| !members.is_empty()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_member_of_one_role_is_touched() {
        let condition = json!({ "expression": "true" });
        let mut policy = json!({ "etag": "e", "bindings": [
            { "role": "a", "members": ["x"], "condition": condition },
            { "role": "b", "members": ["x", "y"] },
        ] });
        let before = policy.clone();

        change(&mut policy, "a", "x", true);
        assert!(has(&policy, "a", "x"));
        assert_eq!(policy["bindings"].as_array().map(Vec::len), Some(3));
        change(&mut policy, "a", "x", false);

        assert_eq!(policy, before, "etag and the rest are as they were");
        assert!(!has(&policy, "a", "x"), "under a condition is not the same");
    }

    #[test]
    fn an_empty_policy_gets_its_first_role() {
        let mut policy = json!({ "etag": "e" });

        change(&mut policy, "a", "x", true);

        assert_eq!(policy, json!({ "etag": "e", "bindings": [{ "role": "a", "members": ["x"] }] }));
    }
}
