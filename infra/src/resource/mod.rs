//! The cloud resources that a stack is made of, as typed values.
//!
//! A resource is known by its kind and its name in the cloud, and the name is computed, never chosen by the cloud: what
//! was made and not written down is found again by asking for it.

mod compute;
mod identity;
mod messaging;
mod names;
mod network;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use compute::{Disk, Instance, Role};
pub use identity::{Binding, Member, Secret, ServiceAccount, Target};
pub use messaging::{Bucket, DeadLetter, Event, Lifecycle, Notification, Subscription, Topic};
pub use names::{BadName, Name};
pub use network::{Address, Allow, Firewall, Network, Router, Subnet};

macro_rules! kinds {
    ($($kind:ident $text:literal),* $(,)?) => {
        /// What a resource is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Kind { $(#[doc = concat!("`", $text, "`")] $kind),* }

        impl Kind {
            /// All kinds, in the order in which they can be made.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// As it is written in templates and addresses.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $text),* }
            }
        }

        /// What a resource should look like, or does.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        pub enum Spec { $(#[doc = concat!("`", $text, "`")] $kind($kind)),* }

        impl Spec {
            /// What the resource is.
            pub fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind),* }
            }

            /// The resources that have to be there before this one, in the words of its template.
            pub fn references(&self) -> Vec<Id> {
                match self { $(Self::$kind(spec) => spec.references()),* }
            }

            /// Reads the table of one resource.
            pub(crate) fn read(
                kind: Kind,
                source: &std::sync::Arc<crate::fault::Source>,
                table: toml::Spanned<toml::de::DeTable<'_>>,
                faults: &mut Vec<crate::fault::Fault>,
            ) -> Option<Self> {
                match kind { $(Kind::$kind => crate::read::read(source, table, faults).map(Self::$kind)),* }
            }
        }
    };
}

kinds! {
    Network "network",
    Subnet "subnet",
    Firewall "firewall",
    Router "router",
    Address "address",
    ServiceAccount "service_account",
    Secret "secret",
    Bucket "bucket",
    Topic "topic",
    Subscription "subscription",
    Binding "binding",
    Notification "notification",
    Disk "disk",
    Instance "instance",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A kind and a name: `instance/local-manager-a`. Unique in a stack, and the same in every run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id {
    /// What it is.
    pub kind: Kind,
    /// Its name in the cloud.
    pub name: Name,
}

impl Id {
    /// The resource of this kind and name.
    pub fn new(kind: Kind, name: &Name) -> Self {
        Self { kind, name: name.clone() }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// A text that is no [`Id`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no resource, expected KIND/NAME, as in `instance/local-manager-a`")]
pub struct BadId(String);

impl FromStr for Id {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = || BadId(text.to_owned());
        let (kind, name) = text.split_once('/').ok_or_else(bad)?;
        let kind = Kind::ALL.iter().find(|known| known.as_str() == kind).ok_or_else(bad)?;
        Ok(Self { kind: *kind, name: name.parse().map_err(|_| bad())? })
    }
}

impl TryFrom<String> for Id {
    type Error = BadId;

    fn try_from(text: String) -> Result<Self, BadId> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.to_string()
    }
}

/// A resource as it should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// Which one.
    pub id: Id,
    /// Holds data that a mistake must not take along: destroyed only when that is said.
    #[serde(default)]
    pub protect: bool,
    /// What it should look like.
    pub spec: Spec,
}

/// The fields of a resource by their names, `metadata` by its keys: what a plan compares and shows.
pub fn fields(spec: &Spec) -> BTreeMap<String, Value> {
    let Ok(Value::Object(object)) = serde_json::to_value(spec) else { return BTreeMap::new() };
    let mut fields = BTreeMap::new();
    for (name, value) in object {
        match value {
            _ if name == "kind" => {}
            Value::Object(entries) if name == "metadata" => {
                fields.extend(entries.into_iter().map(|(key, value)| (format!("metadata.{key}"), value)));
            }
            value => {
                fields.insert(name, value);
            }
        }
    }
    fields
}

/// What a change of a field does to a resource that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Changed while it runs.
    InPlace,
    /// Stopped, changed and started again.
    Stop,
    /// Made anew.
    Replace,
}

/// What changing `field` of a resource of this kind from `old` to `new` does to it.
pub fn effect(kind: Kind, field: &str, old: Option<&Value>, new: Option<&Value>) -> Effect {
    match (kind, field) {
        (Kind::Instance, "machine_type" | "service_account") => Effect::Stop,
        (Kind::Instance, field) if field.starts_with("metadata.") => Effect::InPlace,
        (Kind::Instance, _) => Effect::Replace,
        (Kind::Disk, "size_gb") => {
            let grows = old.and_then(Value::as_u64) < new.and_then(Value::as_u64);
            if grows { Effect::InPlace } else { Effect::Replace }
        }
        (Kind::Disk | Kind::Address | Kind::Binding | Kind::Notification, _)
        | (Kind::Subnet | Kind::Firewall | Kind::Router, "network" | "region")
        | (Kind::Subnet, "range")
        | (Kind::Bucket, "location")
        | (Kind::Subscription, "topic") => Effect::Replace,
        _ => Effect::InPlace,
    }
}

/// A name of its own can stand beside the old one while it is replaced, so that nothing is missing in between.
pub fn made_before_old_is_deleted(kind: Kind) -> bool {
    matches!(kind, Kind::Binding | Kind::Notification)
}
