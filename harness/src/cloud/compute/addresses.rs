//! Which addresses of a subnetwork are taken, and by whom.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::error::ComputeError;
use super::path::Path;
use super::state::{Resource, State};

/// The project attribute by which nodes find services that are not at Google's names.
const ENDPOINT_KEY: &str = "moonswarm-endpoint";

/// External addresses are from a range that is for documentation: nothing of the local cloud can be reached from outside.
const EXTERNAL: [u8; 3] = [203, 0, 113];

impl State {
    /// A free address of a subnetwork (by its link), or the wanted one if that is free. An instance may take an address
    /// that is reserved; `taker` is then that instance.
    pub(super) fn internal_address(
        &self,
        subnetwork: &str,
        wanted: Option<Ipv4Addr>,
        field: &str,
        taker: Option<&Path>,
    ) -> Result<Ipv4Addr, ComputeError> {
        let range = self.resources.values().find(|found| found.path.link() == subnetwork);
        let range: Option<Ipv4Net> = range.and_then(|found| found.text("ipCidrRange").parse().ok());
        let range = range.ok_or_else(|| ComputeError::NotFound { resource: subnetwork.to_owned() })?;
        let in_use = |address: Ipv4Addr| self.instance_at(subnetwork, address).is_some();
        let reserved = |address: Ipv4Addr| self.reservation_of(subnetwork, address).is_some();
        let Some(wanted) = wanted else {
            return range
                .hosts()
                .filter(|address| is_usable(range, *address))
                .find(|address| !in_use(*address) && !reserved(*address))
                .ok_or_else(|| ComputeError::Precondition {
                    message: format!("IP space of '{subnetwork}' is exhausted."),
                });
        };
        if !is_usable(range, wanted) {
            let rule = format!("IP address is outside of the usable addresses of {range}.");
            return Err(ComputeError::Invalid { field: field.into(), value: wanted.to_string(), rule });
        }
        if in_use(wanted) || (taker.is_none() && reserved(wanted)) {
            let message = format!("IP '{wanted}' is already being used by another resource.");
            return Err(ComputeError::Precondition { message });
        }
        Ok(wanted)
    }

    pub(super) fn external_address(&self, wanted: Option<Ipv4Addr>) -> Result<Ipv4Addr, ComputeError> {
        let taken = |address: Ipv4Addr| {
            let text = address.to_string();
            self.resources.values().any(|found| found.path.collection == "addresses" && found.text("address") == text)
        };
        let [a, b, c] = EXTERNAL;
        let free = (1..255).map(|last| Ipv4Addr::new(a, b, c, last)).find(|address| !taken(*address));
        match wanted {
            None => free.ok_or_else(|| ComputeError::Precondition { message: "No external address is free.".into() }),
            Some(_) => Err(ComputeError::not_implemented("external addresses that are chosen")),
        }
    }

    /// The instance that has this address in this subnetwork (by its link).
    pub(in crate::cloud) fn instance_at(&self, subnetwork: &str, address: Ipv4Addr) -> Option<&Resource> {
        let address = address.to_string();
        self.resources.values().filter(|found| found.path.collection == "instances").find(|instance| {
            interface(instance).is_some_and(|own| own["subnetwork"] == subnetwork && own["networkIP"] == address)
        })
    }

    /// The instance whose machine has this address; addresses of different networks do not overlap on one computer.
    pub(in crate::cloud) fn instance_by_address(&self, address: Ipv4Addr) -> Option<&Resource> {
        let address = address.to_string();
        let mut instances = self.resources.values().filter(|found| found.path.collection == "instances");
        instances.find(|instance| interface(instance).is_some_and(|own| own["networkIP"] == address))
    }

    /// The range of the subnetwork that an instance is in.
    fn range_of(&self, instance: &Resource) -> Option<Ipv4Net> {
        let link = interface(instance)?["subnetwork"].as_str()?;
        self.resources.values().find(|found| found.path.link() == link)?.text("ipCidrRange").parse().ok()
    }

    /// The gateway of an instance, as text; empty if it has none.
    pub(in crate::cloud) fn gateway_of(&self, instance: &Resource) -> String {
        let gateway = self.range_of(instance).and_then(|range| range.hosts().next());
        gateway.map(|gateway| gateway.to_string()).unwrap_or_default()
    }

    /// The network mask of an instance: machines of Google's see themselves alone.
    pub(in crate::cloud) fn netmask_of(&self, instance: &Resource) -> String {
        self.range_of(instance).map(|range| range.netmask().to_string()).unwrap_or_default()
    }

    /// Bytes of a packet in the network of an instance.
    pub(in crate::cloud) fn mtu_of(&self, instance: &Resource) -> u64 {
        let link = interface(instance).and_then(|own| own["network"].as_str());
        let network = link.and_then(|link| self.resources.values().find(|found| found.path.link() == link));
        network.and_then(|network| network.body.get("mtu")).and_then(Value::as_u64).unwrap_or_default()
    }

    /// The metadata of a project as its machines see them: with the place of the local cloud, if machines are real.
    pub(in crate::cloud) fn project_metadata(&self, instance: &Resource) -> Value {
        let mut metadata = self.metadata.get(&instance.path.project).cloned().unwrap_or_else(|| json!({ "items": [] }));
        if let (Some(port), Some(items)) = (self.port, metadata["items"].as_array_mut()) {
            let place = format!("http://{}:{port}", self.gateway_of(instance));
            items.retain(|item| item["key"] != ENDPOINT_KEY);
            items.push(json!({ "key": ENDPOINT_KEY, "value": place }));
        }
        metadata
    }

    /// The address resource that reserves this address in this subnetwork.
    pub(super) fn reservation_of(&self, subnetwork: &str, address: Ipv4Addr) -> Option<&Resource> {
        let address = address.to_string();
        self.resources.values().find(|found| {
            found.path.collection == "addresses"
                && found.text("subnetwork") == subnetwork
                && found.text("address") == address
        })
    }

    /// The address that a `networkIP` means: itself, or that of a reserved address by its name.
    pub(super) fn read_address(&self, from: &Path, value: &Value) -> Result<Option<Ipv4Addr>, ComputeError> {
        let Some(text) = value.as_str().filter(|text| !text.is_empty()) else { return Ok(None) };
        if let Ok(address) = text.parse() {
            return Ok(Some(address));
        }
        let path = self.resolve(from, "networkInterfaces[0].networkIP", value, "addresses")?;
        Ok(self.get(&path)?.text("address").parse().ok())
    }
}

/// The only network interface of an instance.
pub(super) fn interface(instance: &Resource) -> Option<&Value> {
    instance.body.get("networkInterfaces")?.get(0)
}

/// Google keeps the first two and the last two addresses of a range for itself.
fn is_usable(range: Ipv4Net, address: Ipv4Addr) -> bool {
    let (first, last) = (u32::from(range.network()), u32::from(range.broadcast()));
    (first + 2..last - 1).contains(&u32::from(address))
}
