//! [`Cloud`] and [`Store`](crate::store::Store) over Google's JSON APIs.
//!
//! One small client for all services, because a plan is about JSON in both directions: what a resource should be is
//! posted, what it is is read back and compared field by field. `docs/decisions` says why not a client crate for each.

mod bucket;
mod compute;
mod identity;
mod messaging;
mod policy;
mod rest;

use serde_json::{Value, json};
use tokio::sync::Mutex;
use uuid::Uuid;

pub use bucket::GoogleStore;
pub use rest::ClientError;

use crate::cloud::{Cloud, CloudError, Fault, Live, Owner};
use crate::resource::{Id, Resource, Spec};
use crate::stack::Stack;
use rest::{Failure, Method, Rest};

/// The resources of a stack at Google, or at the local cloud.
pub struct GoogleCloud {
    stack: String,
    project: String,
    region: String,
    rest: Rest,
    /// A policy is read, changed and written: one at a time here, and Google's etag sees to everybody else.
    policies: Mutex<()>,
}

type Answer<T> = Result<T, Failure>;

impl GoogleCloud {
    /// Clients for the endpoints of this stack.
    ///
    /// # Errors
    /// [`ClientError`]: there are no credentials.
    pub fn new(stack: &Stack) -> Result<Self, ClientError> {
        Ok(Self {
            stack: stack.name.to_string(),
            project: stack.project.clone(),
            region: stack.region.clone(),
            rest: Rest::new(&stack.endpoints)?,
            policies: Mutex::new(()),
        })
    }

    /// What marks a thing as this stack's, where a thing can have labels.
    fn labels(&self) -> Value {
        json!({ "managed-by": "moonswarm", "stack": self.stack })
    }

    /// And where it can't.
    fn mark(&self) -> String {
        format!("Moonswarm stack {}", self.stack)
    }

    fn owner(&self, found: &Value) -> Owner {
        let labels = &found["labels"];
        let labelled = labels["managed-by"] == "moonswarm" && labels["stack"] == self.stack.as_str();
        if labelled || found["description"] == self.mark().as_str() {
            return Owner::Us;
        }
        match labels["stack"].as_str() {
            Some(stack) => Owner::Other(format!("the stack `{stack}`")),
            None => Owner::Other("nobody that says so: it has no mark of this stack".to_owned()),
        }
    }

    fn live(&self, found: &Value, spec: Spec) -> Live {
        Live { spec, owner: self.owner(found) }
    }

    fn explain(operation: &'static str, id: &Id) -> impl FnOnce(Failure) -> CloudError {
        let id = id.clone();
        move |failure| CloudError { operation, id, fault: failure.fault, reason: failure.reason }
    }
}

impl Cloud for GoogleCloud {
    async fn read(&self, resource: &Resource) -> Result<Option<Live>, CloudError> {
        let Resource { id, spec, .. } = resource;
        let name = id.name.as_str();
        let found = match spec {
            Spec::Network(_)
            | Spec::Subnet(_)
            | Spec::Firewall(_)
            | Spec::Router(_)
            | Spec::Address(_)
            | Spec::Disk(_)
            | Spec::Instance(_) => self.read_compute(name, spec).await,
            Spec::ServiceAccount(_) => self.read_account(name).await,
            Spec::Secret(_) => self.read_secret(name).await,
            Spec::Bucket(_) => self.read_bucket(name).await,
            Spec::Topic(_) => self.read_topic(name).await,
            Spec::Subscription(_) => self.read_subscription(name).await,
            Spec::Binding(binding) => self.read_binding(binding).await,
            Spec::Notification(notification) => self.read_notification(notification).await,
        };
        found.map_err(Self::explain("read", id))
    }

    async fn create(&self, resource: &Resource, request: Uuid) -> Result<(), CloudError> {
        let Resource { id, spec, .. } = resource;
        let name = id.name.as_str();
        let made = match spec {
            Spec::Network(_)
            | Spec::Subnet(_)
            | Spec::Firewall(_)
            | Spec::Router(_)
            | Spec::Address(_)
            | Spec::Disk(_)
            | Spec::Instance(_) => self.create_compute(name, spec, request).await,
            Spec::ServiceAccount(account) => self.create_account(name, account).await,
            Spec::Secret(_) => self.create_secret(name).await,
            Spec::Bucket(bucket) => self.create_bucket(name, bucket).await,
            Spec::Topic(topic) => self.create_topic(name, topic).await,
            Spec::Subscription(subscription) => self.create_subscription(name, subscription).await,
            Spec::Binding(binding) => self.change_binding(binding, true).await,
            Spec::Notification(notification) => self.create_notification(notification).await,
        };
        made.map_err(Self::explain("make", id))
    }

    async fn update(&self, resource: &Resource, fields: &[String], request: Uuid) -> Result<(), CloudError> {
        let Resource { id, spec, .. } = resource;
        let name = id.name.as_str();
        let changed = match spec {
            Spec::Network(_) | Spec::Subnet(_) | Spec::Firewall(_) | Spec::Router(_) | Spec::Disk(_) => {
                self.update_compute(name, spec, request).await
            }
            Spec::Instance(instance) => self.update_instance(name, instance, fields).await,
            Spec::ServiceAccount(account) => self.update_account(name, account).await,
            Spec::Bucket(bucket) => self.update_bucket(name, bucket).await,
            Spec::Topic(topic) => self.update_topic(name, topic).await,
            Spec::Subscription(subscription) => self.update_subscription(name, subscription).await,
            Spec::Address(_) | Spec::Secret(_) | Spec::Binding(_) | Spec::Notification(_) => {
                Err(Failure { fault: Fault::Refused, reason: "nothing of it can be changed".to_owned() })
            }
        };
        changed.map_err(Self::explain("change", id))
    }

    async fn delete(&self, resource: &Resource, _request: Uuid) -> Result<(), CloudError> {
        let Resource { id, spec, .. } = resource;
        let name = id.name.as_str();
        let deleted = match spec {
            Spec::Network(_)
            | Spec::Subnet(_)
            | Spec::Firewall(_)
            | Spec::Router(_)
            | Spec::Address(_)
            | Spec::Disk(_)
            | Spec::Instance(_) => self.delete_compute(name, spec).await,
            Spec::ServiceAccount(_) => self.rest.gone(Method::DELETE, &self.account_url(name)).await,
            Spec::Secret(_) => self.rest.gone(Method::DELETE, &self.secret_url(name)).await,
            Spec::Bucket(_) => self.delete_bucket(name).await,
            Spec::Topic(_) => self.rest.gone(Method::DELETE, &self.topic_url(name)).await,
            Spec::Subscription(_) => self.rest.gone(Method::DELETE, &self.subscription_url(name)).await,
            Spec::Binding(binding) => self.change_binding(binding, false).await,
            Spec::Notification(notification) => self.delete_notification(notification).await,
        };
        deleted.map_err(Self::explain("delete", id))
    }
}

/// The last part of a URL: how things refer to each other.
fn last(url: &Value) -> &str {
    url.as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default()
}

/// Numbers of 64 bits come as text.
fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default()
}

/// A spec out of what was read, in the words of templates.
fn spec(value: Value) -> Answer<Spec> {
    serde_json::from_value(value)
        .map_err(|err| Failure { fault: Fault::Refused, reason: format!("the answer can't be understood: {err}") })
}
