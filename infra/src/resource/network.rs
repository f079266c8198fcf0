//! Networks and what stands in them.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::{Id, Kind, Name};

/// A private network without ranges of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Bytes of the largest packet.
    pub mtu: u16,
}

impl Network {
    pub(super) fn references(&self) -> Vec<Id> {
        Vec::new()
    }
}

/// A range of addresses in a region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    /// Where it belongs.
    pub network: Name,
    /// Its region.
    pub region: String,
    /// Its addresses.
    pub range: Ipv4Net,
    /// Machines without a public address reach Google's services.
    pub private_google_access: bool,
}

impl Subnet {
    pub(super) fn references(&self) -> Vec<Id> {
        vec![Id::new(Kind::Network, &self.network)]
    }
}

/// What may come in. What no rule allows doesn't.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firewall {
    /// Where it holds.
    pub network: Name,
    /// Protocols and ports.
    pub allow: Vec<Allow>,
    /// From these addresses.
    #[serde(default)]
    pub from_ranges: Vec<Ipv4Net>,
    /// From machines of these accounts.
    #[serde(default)]
    pub from_accounts: Vec<Name>,
    /// To machines of these accounts.
    pub to_accounts: Vec<Name>,
}

/// A protocol and its ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// `tcp`, `udp`, `icmp`, `esp`.
    pub protocol: String,
    /// `22` or `8000-8100`; none means all.
    #[serde(default)]
    pub ports: Vec<String>,
}

impl Firewall {
    pub(super) fn references(&self) -> Vec<Id> {
        let accounts = self.from_accounts.iter().chain(&self.to_accounts);
        let accounts = accounts.map(|name| Id::new(Kind::ServiceAccount, name));
        std::iter::once(Id::new(Kind::Network, &self.network)).chain(accounts).collect()
    }
}

/// A router with the NAT by which machines without a public address reach the world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Router {
    /// Where it belongs.
    pub network: Name,
    /// Its region.
    pub region: String,
    /// The name of its NAT, for all subnets of the region.
    pub nat: Name,
}

impl Router {
    pub(super) fn references(&self) -> Vec<Id> {
        vec![Id::new(Kind::Network, &self.network)]
    }
}

/// An address of a subnet that is kept for one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// Where it belongs.
    pub subnet: Name,
    /// The region of the subnet.
    pub region: String,
    /// The address.
    pub address: Ipv4Addr,
}

impl Address {
    pub(super) fn references(&self) -> Vec<Id> {
        vec![Id::new(Kind::Subnet, &self.subnet)]
    }
}
