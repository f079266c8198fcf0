//! Machines and their disks.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Id, Kind, Name};

/// A disk that outlives the machine it is attached to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Where it is.
    pub zone: String,
    /// `pd-balanced`, `pd-ssd`.
    pub disk_type: String,
    /// Can grow, never shrink.
    pub size_gb: u32,
}

impl Disk {
    pub(super) fn references(&self) -> Vec<Id> {
        Vec::new()
    }
}

/// What a machine is in the Swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Votes.
    Manager,
    /// Works.
    Worker,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manager => "manager",
            Self::Worker => "worker",
        })
    }
}

/// A machine without a public address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// What it is in the Swarm.
    pub role: Role,
    /// Where it is.
    pub zone: String,
    /// `e2-medium`.
    pub machine_type: String,
    /// `projects/debian-cloud/global/images/family/debian-12`.
    pub image: String,
    /// Its own disk, thrown away with it.
    pub boot_disk_gb: u32,
    /// Where its address is from.
    pub subnet: Name,
    /// The region of the subnet.
    pub region: String,
    /// The reserved address it has; any of the subnet otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Name>,
    /// Who it acts as.
    pub service_account: Name,
    /// The disk with what has to outlive it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_disk: Option<Name>,
    /// What programs on it can ask for, the startup script among them. Never a secret.
    pub metadata: BTreeMap<String, String>,
}

impl Instance {
    pub(super) fn references(&self) -> Vec<Id> {
        let always = [Id::new(Kind::Subnet, &self.subnet), Id::new(Kind::ServiceAccount, &self.service_account)];
        let address = self.address.iter().map(|name| Id::new(Kind::Address, name));
        let disk = self.data_disk.iter().map(|name| Id::new(Kind::Disk, name));
        always.into_iter().chain(address).chain(disk).collect()
    }
}
