//! The network of a run: a bridge with a /24 of its own. The local cloud listens on its gateway address.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};
use bollard::Docker;
use bollard::models::{
    EndpointIpamConfig, EndpointSettings, Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest,
    NetworkDisconnectRequest,
};
use bollard::query_parameters::ListNetworksOptions;

use super::engine::Engine;
use super::run::Run;

/// The /16 that runs take their networks from. Docker's own pools are 172.16/12 and 192.168/16, Swarm's start at 10.0.
const POOL: [u8; 2] = [10, 213];
/// Another run may take the network between our look and our step.
const ATTEMPTS: usize = 8;

/// A network that a run made.
#[derive(Debug, Clone)]
pub struct Network {
    docker: Docker,
    name: String,
    subnet: Subnet,
}

impl Network {
    /// Makes the network `RUN-net` on the first /24 that neither Docker nor this machine uses.
    ///
    /// # Errors
    /// The engine refuses, or no /24 is free.
    pub(super) async fn create(engine: &Engine, run: &Run) -> Result<Self> {
        let docker = engine.docker();
        let name = format!("{}-net", run.id());
        let mut taken = subnets_in_use(docker).await?;
        for _ in 0..ATTEMPTS {
            let Some(subnet) = free_subnet(&taken) else {
                bail!("no free network in {}.{}.0.0/16: remove networks with `docker network prune`", POOL[0], POOL[1]);
            };
            let request = NetworkCreateRequest {
                name: name.clone(),
                driver: Some("bridge".to_owned()),
                ipam: Some(Ipam {
                    config: Some(vec![IpamConfig {
                        subnet: Some(subnet.to_string()),
                        gateway: Some(subnet.host(1).to_string()),
                        ..IpamConfig::default()
                    }]),
                    ..Ipam::default()
                }),
                labels: Some(run.labels()),
                ..NetworkCreateRequest::default()
            };
            match docker.create_network(request).await {
                Ok(_) => return Ok(Self { docker: docker.clone(), name, subnet }),
                Err(error) if is_overlap(&error) => taken.push(subnet),
                Err(error) => return Err(error).with_context(|| format!("create network `{name}` on {subnet}")),
            }
        }
        bail!("create network `{name}`: other runs took {ATTEMPTS} free networks in a row; run again")
    }

    /// The network's name in the outer engine.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host's address on this network, which nodes and their containers reach.
    pub fn gateway(&self) -> Ipv4Addr {
        self.subnet.host(1)
    }

    /// The address of the node with this number, from 1. It is given, not taken: a node keeps it over restarts, and
    /// Swarm's members know each other by address.
    pub(super) fn node_address(&self, number: u8) -> Ipv4Addr {
        self.subnet.host(10 + number)
    }

    pub(super) async fn remove(self) -> Result<()> {
        self.docker.remove_network(&self.name).await.with_context(|| format!("remove network `{}`", self.name))
    }

    /// Attaches a container under an address.
    pub(super) async fn attach(&self, container: &str, address: Ipv4Addr) -> Result<()> {
        let endpoint = EndpointSettings {
            ipam_config: Some(EndpointIpamConfig { ipv4_address: Some(address.to_string()), ..Default::default() }),
            ..EndpointSettings::default()
        };
        let request = NetworkConnectRequest { container: container.to_owned(), endpoint_config: Some(endpoint) };
        let connected = self.docker.connect_network(&self.name, request).await;
        connected.with_context(|| format!("connect a node to `{}` as {address}", self.name))
    }

    /// Takes a container off the network, as if its cable were pulled.
    pub(super) async fn detach(&self, container: &str) -> Result<()> {
        let request = NetworkDisconnectRequest { container: container.to_owned(), force: Some(true) };
        let disconnected = self.docker.disconnect_network(&self.name, request).await;
        disconnected.with_context(|| format!("disconnect a node from `{}`", self.name))
    }
}

/// Docker answers 403 "Pool overlaps with other one on this address space".
fn is_overlap(error: &bollard::errors::Error) -> bool {
    matches!(error, bollard::errors::Error::DockerResponseServerError { message, .. } if message.contains("overlaps"))
}

async fn subnets_in_use(docker: &Docker) -> Result<Vec<Subnet>> {
    let networks = docker.list_networks(None::<ListNetworksOptions>).await.context("list Docker's networks")?;
    let configs = networks.into_iter().filter_map(|network| network.ipam?.config).flatten();
    let mut taken: Vec<Subnet> = configs.filter_map(|config| Subnet::parse(&config.subnet?)).collect();
    taken.extend(routes(&fs_err::read_to_string("/proc/net/route").unwrap_or_default()));
    Ok(taken)
}

/// The networks this machine has routes to, but not the default route, which leads everywhere.
fn routes(table: &str) -> Vec<Subnet> {
    let row = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let number = |field: &str| Some(u32::from_str_radix(field, 16).ok()?.swap_bytes());
        let destination = number(fields.next()?)?;
        let mask = number(fields.nth(5)?)?;
        (mask != 0).then_some(Subnet { base: destination, length: mask.leading_ones() })
    };
    table.lines().skip(1).filter_map(row).collect()
}

fn free_subnet(taken: &[Subnet]) -> Option<Subnet> {
    let candidates =
        (0..=u8::MAX).map(|third| Subnet { base: u32::from_be_bytes([POOL[0], POOL[1], third, 0]), length: 24 });
    candidates.into_iter().find(|candidate| !taken.iter().any(|other| candidate.overlaps(*other)))
}

/// An IPv4 network, `10.213.0.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Subnet {
    base: u32,
    length: u32,
}

impl Subnet {
    fn parse(text: &str) -> Option<Self> {
        let (base, length) = text.split_once('/')?;
        let base: Ipv4Addr = base.parse().ok()?;
        let length = length.parse().ok().filter(|length| *length <= 32)?;
        Some(Self { base: base.into(), length })
    }

    fn host(self, number: u8) -> Ipv4Addr {
        Ipv4Addr::from(self.base + u32::from(number))
    }

    fn overlaps(self, other: Self) -> bool {
        let mask = u32::MAX.checked_shl(32 - self.length.min(other.length)).unwrap_or(0);
        self.base & mask == other.base & mask
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(taken: &[&str]) -> String {
        let taken: Vec<Subnet> = taken.iter().map(|text| Subnet::parse(text).unwrap()).collect();
        free_subnet(&taken).map_or_else(|| "none".to_owned(), |subnet| subnet.to_string())
    }

    #[test]
    fn the_first_network_that_touches_no_other_is_taken() {
        assert_eq!(free(&[]), "10.213.0.0/24");
        assert_eq!(free(&["172.17.0.0/16", "10.213.0.0/24"]), "10.213.1.0/24");
        assert_eq!(free(&["10.213.0.0/23", "10.213.2.128/25"]), "10.213.3.0/24");
        assert_eq!(free(&["10.0.0.0/8"]), "none");
        assert_eq!(free(&["0.0.0.0/0"]), "none");
    }

    #[test]
    fn routes_of_the_machine_count_but_the_default_route_does_not() {
        let table = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
                     eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0\n\
                     eth0 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n";

        assert_eq!(routes(table), [Subnet::parse("192.0.2.0/24").unwrap()]);
    }
}
