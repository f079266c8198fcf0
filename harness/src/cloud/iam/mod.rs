//! Identity and access: policies of all services, service accounts, tokens, and the check whether a caller may.
//!
//! [`Iam`] is shared by all services. A caller who shows a token of the metadata server is that machine's service
//! account; everybody else is the operator and may do everything. Only with [`Iam::enforce`] are service accounts held to
//! their policies. A changed policy is told at once and holds after a delay, as at Google.

mod access;
mod accounts;
mod policies;
pub(super) mod rest;
mod roles;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use self::accounts::Accounts;
use self::policies::Policies;
use super::PROJECT_NUMBER;
use super::service::ServiceError;

pub(super) use self::access::{Need, need_of};
pub(super) use self::policies::PolicyError;

/// What tokens of the metadata server begin with.
const TOKEN_PREFIX: &str = "ya29.local.";

/// How long such a token is good, as at Google.
pub(super) const TOKEN_SECONDS: u64 = 3599;

/// Handle of identity and access. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Iam {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    policies: Policies,
    accounts: Accounts,
    tokens: Vec<Token>,
    enforced: bool,
}

#[derive(Debug)]
struct Token {
    text: String,
    account: String,
    until: Instant,
}

impl Iam {
    /// Holds service accounts to their policies from now on, or no more.
    pub fn enforce(&self, on: bool) {
        self.with(|shared| shared.enforced = on);
    }

    /// Policies that are changed from now on hold after this time.
    pub fn policies_hold_after(&self, delay: Duration) {
        self.with(|shared| shared.policies.set_delay(delay));
    }

    /// A token for a service account, as its machine's metadata server gives it.
    pub fn token(&self, account: &str) -> String {
        self.with(|shared| {
            let now = Instant::now();
            shared.tokens.retain(|token| token.until > now);
            let text = format!("{TOKEN_PREFIX}{}", uuid::Uuid::now_v7().simple());
            let until = now + Duration::from_secs(TOKEN_SECONDS);
            shared.tokens.push(Token { text: text.clone(), account: account.to_owned(), until });
            text
        })
    }

    /// Whether a caller may do what is needed.
    pub(super) fn check(&self, token: Option<&str>, need: Option<&Need>) -> Result<(), ServiceError> {
        let Some(token) = token.filter(|token| token.starts_with(TOKEN_PREFIX)) else { return Ok(()) };
        let now = Instant::now();
        self.with(|shared| {
            if !shared.enforced {
                return Ok(());
            }
            let known = shared.tokens.iter().find(|known| known.text == token && known.until > now);
            let Some(known) = known else {
                let message = "Request had invalid authentication credentials. Expected OAuth 2 access token.";
                return Err(ServiceError::new(401, message));
            };
            let Some(need) = need else {
                let message = "The local cloud does not know which permission this call needs, so service accounts may not.";
                return Err(ServiceError::new(403, message));
            };
            let member = format!("serviceAccount:{}", known.account);
            if shared.policies.allow(&need.resources, &member, &need.permission, now) {
                return Ok(());
            }
            let resource = need.resources.first().map_or("", String::as_str);
            Err(ServiceError::new(
                403,
                format!(
                    "{} does not have {} access. Permission '{}' denied on resource '{resource}' (or it may not exist).",
                    known.account, need.permission, need.permission
                ),
            ))
        })
    }

    /// Whether the service agent of Cloud Storage may publish to a topic; always, as long as nothing is enforced.
    pub(super) fn storage_may_publish(&self, topic: &str) -> bool {
        let member = format!("serviceAccount:{}", storage_agent());
        let project: String = topic.split('/').take(2).collect::<Vec<_>>().join("/");
        self.with(|shared| {
            let resources = [topic.to_owned(), project];
            !shared.enforced || shared.policies.allow(&resources, &member, "pubsub.topics.publish", Instant::now())
        })
    }

    /// The policy of a resource by its full name, `projects/P/topics/T`.
    pub(super) fn policy(&self, resource: &str) -> Value {
        self.with(|shared| shared.policies.get(resource))
    }

    /// Replaces a policy, if its etag is the current one (or none is given).
    pub(super) fn set_policy(&self, resource: &str, policy: &Value) -> Result<Value, PolicyError> {
        self.with(|shared| {
            for member in policies::members(policy) {
                let account = member.strip_prefix("serviceAccount:").filter(|email| !shared.accounts.may_exist(email));
                if let Some(account) = account {
                    return Err(PolicyError::Invalid(format!("Service account {account} does not exist.")));
                }
            }
            shared.policies.set(resource, policy, Instant::now())
        })
    }

    /// A resource is gone, and its policy with it.
    pub(super) fn forget_policy(&self, resource: &str) {
        self.with(|shared| shared.policies.forget(resource));
    }

    fn with<T>(&self, step: impl FnOnce(&mut Shared) -> T) -> T {
        step(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Who Cloud Storage is when it publishes notifications.
pub(super) fn storage_agent() -> String {
    format!("service-{PROJECT_NUMBER}@gs-project-accounts.iam.gserviceaccount.com")
}
