//! Who may do what.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Id, Kind, Name};

/// The account that programs on a machine act as.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceAccount {
    /// For people.
    pub display_name: String,
}

impl ServiceAccount {
    pub(super) fn references(&self) -> Vec<Id> {
        Vec::new()
    }
}

/// A place for a secret. What is in it is never written down here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secret {}

impl Secret {
    pub(super) fn references(&self) -> Vec<Id> {
        Vec::new()
    }
}

/// One role for one member on one thing. Other roles and members of the thing are left alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// What the role is for.
    pub on: Target,
    /// `roles/storage.objectViewer`.
    pub role: String,
    /// Who gets it.
    pub member: Member,
}

impl Binding {
    pub(super) fn references(&self) -> Vec<Id> {
        let on = match &self.on {
            Target::Project => None,
            Target::Resource(id) => Some(id.clone()),
        };
        let member = match &self.member {
            Member::ServiceAccount(name) => Some(Id::new(Kind::ServiceAccount, name)),
            Member::StorageAgent | Member::PubsubAgent => None,
        };
        on.into_iter().chain(member).collect()
    }
}

/// What has a policy: `project`, or a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    /// The whole project.
    Project,
    /// A bucket, topic, subscription, secret or service account.
    Resource(Id),
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        const POLICIES: &[Kind] = &[Kind::Bucket, Kind::Topic, Kind::Subscription, Kind::Secret, Kind::ServiceAccount];
        match text.parse::<Id>() {
            _ if text == "project" => Ok(Self::Project),
            Ok(id) if POLICIES.contains(&id.kind) => Ok(Self::Resource(id)),
            _ => Err(format!(
                "`{text}` has no policy, expected `project` or one of bucket/, topic/, subscription/, secret/, \
                 service_account/ with a NAME"
            )),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Project => f.write_str("project"),
            Self::Resource(id) => id.fmt(f),
        }
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

/// Who can be given a role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Member {
    /// `service_account/NAME`: an account of this project.
    ServiceAccount(Name),
    /// `storage-agent`: the account by which Cloud Storage publishes notifications.
    StorageAgent,
    /// `pubsub-agent`: the account by which Pub/Sub moves dead letters.
    PubsubAgent,
}

impl TryFrom<String> for Member {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.parse::<Id>() {
            _ if text == "storage-agent" => Ok(Self::StorageAgent),
            _ if text == "pubsub-agent" => Ok(Self::PubsubAgent),
            Ok(Id { kind: Kind::ServiceAccount, name }) => Ok(Self::ServiceAccount(name)),
            _ => Err(format!(
                "`{text}` is no member, expected `service_account/NAME`, `storage-agent` or `pubsub-agent`"
            )),
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServiceAccount(name) => write!(f, "service_account/{name}"),
            Self::StorageAgent => f.write_str("storage-agent"),
            Self::PubsubAgent => f.write_str("pubsub-agent"),
        }
    }
}

impl From<Member> for String {
    fn from(member: Member) -> Self {
        member.to_string()
    }
}
