//! Instances: from the body of an insert to a machine with its disks and its address.

use serde_json::{Map, Value, json};

use super::catalog;
use super::error::{ComputeError, OperationError};
use super::insert::{check_fields, default, disk, labels, size_of};
use super::machines::{DiskSpec, MachineSpec, Work};
use super::operations::Effect;
use super::path::{Path, Scope};
use super::state::{Change, Resource, State};

const INTERFACE_FIELDS: &[&str] =
    &["accessConfigs", "name", "network", "networkIP", "nicType", "stackType", "subnetwork"];
const DISK_FIELDS: &[&str] =
    &["autoDelete", "boot", "deviceName", "index", "initializeParams", "interface", "mode", "source", "type"];
const NEW_DISK_FIELDS: &[&str] = &["description", "diskName", "diskSizeGb", "diskType", "labels", "sourceImage"];
/// Bytes of one metadata value, and of all of an instance; <https://cloud.google.com/compute/docs/metadata/setting-custom-metadata#limitations>.
const METADATA_VALUE_MAX: usize = 256 * 1024;
const METADATA_MAX: usize = 512 * 1024;

impl State {
    pub(super) fn insert_instance(&self, path: Path, mut body: Map<String, Value>) -> Result<Change, ComputeError> {
        let machine_type = body.get("machineType").and_then(Value::as_str);
        let machine_type = machine_type.ok_or_else(|| ComputeError::required("machineType"))?.to_owned();
        let found =
            Path::parse(&machine_type, &path, "machineTypes", &path.scope).filter(|found| found.scope == path.scope);
        let Some((found, processors)) =
            found.and_then(|found| Some((found.clone(), catalog::processors(&found.name)?)))
        else {
            return Err(ComputeError::invalid(
                "machineType",
                machine_type,
                "The machine type was not found in the zone.",
            ));
        };
        body.insert("machineType".into(), found.link().into());
        labels(&body)?;
        check_metadata(body.get("metadata"))?;
        check_tags(body.get("tags"))?;
        check_accounts(body.get("serviceAccounts"))?;
        let subnetwork = self.interfaces(&path, &mut body)?;
        let (disks, made_disks) = self.disks(&path, &mut body)?;
        default(&mut body, "canIpForward", false);
        default(&mut body, "deletionProtection", false);
        default(&mut body, "metadata", json!({}));
        default(&mut body, "tags", json!({}));
        let scheduling = json!({ "automaticRestart": true, "onHostMaintenance": "MIGRATE", "preemptible": false });
        default(&mut body, "scheduling", scheduling);
        body.insert("status".into(), "PROVISIONING".into());
        body.insert("cpuPlatform".into(), "Local".into());

        let gigabytes = made_disks.iter().map(|(_, disk)| size_of(disk)).sum();
        // Of a machine's quota Google tells in the operation, not in the answer.
        let needs = [("CPUS", f64::from(processors)), ("INSTANCES", 1.0), ("DISKS_TOTAL_GB", gigabytes)];
        let over = needs.into_iter().find_map(|(metric, more)| self.check_quota(&path, metric, more).err());
        let doomed = over.map(|error| OperationError { code: "QUOTA_EXCEEDED".into(), message: error.to_string() });
        let spec = machine_spec(&path, &body, &subnetwork, disks);
        let mut made = made_disks;
        made.push((path.clone(), body));
        let effect = Effect::Made { paths: made.iter().map(|(path, _)| path.clone()).collect(), status: "RUNNING" };
        Ok(Change { kind: "insert".into(), target: path, made, effect, work: Work::Build(spec), doomed })
    }

    /// Reads the network interface and gives it its address. Returns the subnetwork.
    fn interfaces(&self, path: &Path, body: &mut Map<String, Value>) -> Result<Path, ComputeError> {
        let interfaces = body.get_mut("networkInterfaces").and_then(Value::as_array_mut);
        let [Value::Object(own)] = interfaces.map(Vec::as_mut_slice).unwrap_or_default() else {
            return Err(ComputeError::not_implemented("instances with none or several network interfaces"));
        };
        check_fields("network interface", INTERFACE_FIELDS, own)?;
        let field = "networkInterfaces[0].subnetwork";
        let Some(subnetwork) = own.get("subnetwork") else {
            return Err(ComputeError::Precondition {
                message: "Subnetwork should be specified for custom subnetmode network".to_owned(),
            });
        };
        let subnetwork = self.resolve(path, field, subnetwork, "subnetworks")?;
        if subnetwork.scope.region() != path.scope.region() {
            return Err(ComputeError::invalid(field, &subnetwork, "The subnetwork is in another region."));
        }
        let network = self.get(&subnetwork)?.text("network").to_owned();
        if let Some(named) = own.get("network") {
            let named = self.resolve(path, "networkInterfaces[0].network", named, "networks")?;
            if named.link() != network {
                return Err(ComputeError::invalid(field, &subnetwork, "The subnetwork is of another network."));
            }
        }
        let wanted = self.read_address(path, own.get("networkIP").unwrap_or(&Value::Null))?;
        let field = "resource.networkInterfaces[0].networkIP";
        let address = self.internal_address(&subnetwork.link(), wanted, field, Some(path))?;
        own.insert("network".into(), network.into());
        own.insert("subnetwork".into(), subnetwork.link().into());
        own.insert("networkIP".into(), address.to_string().into());
        own.insert("name".into(), "nic0".into());
        own.insert("kind".into(), "compute#networkInterface".into());
        default(own, "stackType", "IPV4_ONLY");
        for access in own.get_mut("accessConfigs").and_then(Value::as_array_mut).into_iter().flatten() {
            let external = self.external_address(None)?;
            access["kind"] = "compute#accessConfig".into();
            access["type"] = "ONE_TO_ONE_NAT".into();
            access["natIP"] = external.to_string().into();
            if !access["name"].is_string() {
                access["name"] = "External NAT".into();
            }
        }
        Ok(subnetwork)
    }

    /// Reads the disks. Returns those that the machine sees beside its boot disk, and those that are made with it.
    #[expect(clippy::type_complexity, reason = "two lists that are taken apart at once")]
    fn disks(
        &self,
        path: &Path,
        body: &mut Map<String, Value>,
    ) -> Result<(Vec<DiskSpec>, Vec<(Path, Map<String, Value>)>), ComputeError> {
        let attached = body.get_mut("disks").and_then(Value::as_array_mut);
        let attached = attached.ok_or_else(|| ComputeError::required("disks"))?;
        if !attached.first().is_some_and(|first| first["boot"] == true)
            || attached[1..].iter().any(|d| d["boot"] == true)
        {
            return Err(ComputeError::Precondition {
                message: "Invalid value for field 'resource.disks'. Exactly the first disk must be a boot disk.".into(),
            });
        }
        let (mut seen, mut made) = (Vec::new(), Vec::new());
        for (index, attached) in attached.iter_mut().enumerate() {
            let Value::Object(attached) = attached else { return Err(ComputeError::required("disks[].source")) };
            check_fields("attached disk", DISK_FIELDS, attached)?;
            let source = match (attached.remove("initializeParams"), attached.get("source")) {
                (Some(Value::Object(new)), _) => {
                    let (disk, fields) = self.new_disk(path, index, new)?;
                    made.push((disk.clone(), fields));
                    disk
                }
                (_, Some(source)) => {
                    let disk = self.resolve(path, "disks[].source", source, "disks")?;
                    if self.idle(&disk)?.path.scope != path.scope {
                        return Err(ComputeError::invalid("disks[].source", &disk, "The disk is in another zone."));
                    }
                    if let Some(user) = self.user_of(&disk) {
                        let (resource, user) = (disk.to_string(), user.path.to_string());
                        return Err(ComputeError::InUse { kind: "disk".into(), resource, user });
                    }
                    disk
                }
                _ => return Err(ComputeError::required("disks[].source")),
            };
            default(attached, "deviceName", format!("persistent-disk-{index}"));
            default(attached, "autoDelete", false);
            default(attached, "mode", "READ_WRITE");
            for (field, value) in [
                ("boot", json!(index == 0)),
                ("index", json!(index)),
                ("interface", "SCSI".into()),
                ("kind", "compute#attachedDisk".into()),
                ("source", source.link().into()),
                ("type", "PERSISTENT".into()),
            ] {
                attached.insert(field.into(), value);
            }
            if index > 0 {
                let device = attached["deviceName"].as_str().unwrap_or_default().to_owned();
                seen.push(DiskSpec { name: source.to_string(), device });
            }
        }
        Ok((seen, made))
    }

    fn new_disk(
        &self,
        instance: &Path,
        index: usize,
        mut new: Map<String, Value>,
    ) -> Result<(Path, Map<String, Value>), ComputeError> {
        check_fields("new disk", NEW_DISK_FIELDS, &new)?;
        let name = new.remove("diskName").and_then(|name| name.as_str().map(str::to_owned));
        let name = name.unwrap_or_else(|| match index {
            0 => instance.name.clone(),
            index => format!("{}-{index}", instance.name),
        });
        let path = Path::new(&instance.project, &instance.scope, "disks", &name);
        if self.resources.contains_key(&path) {
            return Err(ComputeError::Exists { resource: path.to_string() });
        }
        for (from, to) in [("diskSizeGb", "sizeGb"), ("diskType", "type")] {
            if let Some(value) = new.remove(from) {
                new.insert(to.into(), value);
            }
        }
        disk(&path, &mut new)?;
        Ok((path, new))
    }
}

/// What the machine room has to know of an instance.
fn machine_spec(path: &Path, body: &Map<String, Value>, subnetwork: &Path, disks: Vec<DiskSpec>) -> MachineSpec {
    let own = &body["networkInterfaces"][0];
    let address = own["networkIP"].as_str().and_then(|address| address.parse().ok());
    let hostname = body.get("hostname").and_then(Value::as_str).filter(|hostname| !hostname.is_empty());
    MachineSpec {
        name: path.to_string(),
        hostname: hostname.unwrap_or(&path.name).to_owned(),
        network: subnetwork.to_string(),
        address: address.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED),
        disks,
    }
}

/// The disks that go with an instance when it is deleted.
pub(super) fn disks_to_delete(instance: &Resource) -> Vec<Path> {
    let attached = instance.body.get("disks").and_then(Value::as_array).into_iter().flatten();
    let links = attached.filter(|disk| disk["autoDelete"] == true).filter_map(|disk| disk["source"].as_str());
    links.filter_map(|link| Path::parse(link, &instance.path, "disks", &Scope::Global)).collect()
}

/// Metadata: pairs of a key of `A-Za-z0-9_-`, 1 to 128, each once, and a text.
pub(super) fn check_metadata(metadata: Option<&Value>) -> Result<(), ComputeError> {
    let Some(metadata) = metadata.filter(|metadata| !metadata.is_null()) else { return Ok(()) };
    let items = metadata["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (mut bytes, mut keys) = (0, std::collections::BTreeSet::new());
    for item in items {
        let (key, value) = (item["key"].as_str().unwrap_or_default(), item["value"].as_str().unwrap_or_default());
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if !(1..=128).contains(&key.len()) || !key.chars().all(allowed) || !keys.insert(key) {
            let rule = "Metadata keys are 1 to 128 letters, digits, `_` and `-`, each key once.";
            return Err(ComputeError::invalid("metadata.items[].key", key, rule));
        }
        bytes += key.len() + value.len();
        if value.len() > METADATA_VALUE_MAX || bytes > METADATA_MAX {
            let rule = "Metadata have at most 262144 bytes per value and 524288 bytes per instance.";
            return Err(ComputeError::invalid("metadata.items[].value", key, rule));
        }
    }
    Ok(())
}

pub(super) fn check_tags(tags: Option<&Value>) -> Result<(), ComputeError> {
    let items = tags.and_then(|tags| tags["items"].as_array()).map(Vec::as_slice).unwrap_or_default();
    match items.iter().find(|tag| !tag.as_str().is_some_and(super::path::is_name)) {
        None if items.len() <= 64 => Ok(()),
        None => Err(ComputeError::invalid("tags.items", items.len(), "At most 64 tags.")),
        Some(bad) => Err(ComputeError::invalid("tags.items[]", bad, "Must be a name as that of an instance.")),
    }
}

/// At most one service account, with its scopes.
fn check_accounts(accounts: Option<&Value>) -> Result<(), ComputeError> {
    let accounts = accounts.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    match accounts {
        [] => Ok(()),
        [one] if one["email"].is_string() => Ok(()),
        [_] => Err(ComputeError::required("serviceAccounts[0].email")),
        _ => Err(ComputeError::invalid("serviceAccounts", accounts.len(), "At most one service account.")),
    }
}
