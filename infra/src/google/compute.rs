//! Compute Engine: networks, addresses, disks and machines, whose changes are operations that take time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::rest::{Failure, failure};
use super::{Answer, GoogleCloud, Method, last, number, spec};
use crate::cloud::{Fault, Live};
use crate::resource::{Instance, Spec};

/// The longest operations are those of machines; minutes are usual for none.
const OPERATION_DEADLINE: Duration = Duration::from_secs(600);
const FIRST_LOOK: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// What a machine was booted from is said nowhere else.
const IMAGE: &str = "moonswarm-image";

impl GoogleCloud {
    fn compute(&self, path: &str) -> String {
        format!("{}/compute/v1/projects/{}/{path}", self.rest.bases.compute, self.project)
    }

    fn path(&self, path: &str) -> String {
        format!("projects/{}/{path}", self.project)
    }

    /// Where things of this kind are listed and made.
    fn collection(&self, spec: &Spec) -> String {
        let region = |region: &str, what: &str| format!("regions/{region}/{what}");
        let zone = |zone: &str, what: &str| format!("zones/{zone}/{what}");
        match spec {
            Spec::Network(_) => "global/networks".to_owned(),
            Spec::Firewall(_) => "global/firewalls".to_owned(),
            Spec::Subnet(subnet) => region(&subnet.region, "subnetworks"),
            Spec::Router(router) => region(&router.region, "routers"),
            Spec::Address(address) => region(&address.region, "addresses"),
            Spec::Disk(disk) => zone(&disk.zone, "disks"),
            Spec::Instance(instance) => zone(&instance.zone, "instances"),
            // No other kind comes here.
            _ => region(&self.region, "unknown"),
        }
    }

    pub(super) async fn read_compute(&self, name: &str, wanted: &Spec) -> Answer<Option<Live>> {
        let url = self.compute(&format!("{}/{name}", self.collection(wanted)));
        let Some(found) = self.rest.get(&url).await? else { return Ok(None) };
        let names = |value: &Value| -> Vec<String> {
            let accounts = value.as_array().into_iter().flatten().filter_map(Value::as_str);
            accounts.map(|email| email.split('@').next().unwrap_or_default().to_owned()).collect()
        };
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let live = match wanted {
            Spec::Network(_) => json!({ "kind": "network", "mtu": found["mtu"].as_u64().unwrap_or(1460) }),
            Spec::Subnet(_) => json!({
                "kind": "subnet",
                "network": last(&found["network"]),
                "region": last(&found["region"]),
                "range": found["ipCidrRange"],
                "private_google_access": found["privateIpGoogleAccess"].as_bool().unwrap_or(false),
            }),
            Spec::Firewall(_) => {
                let allow = list(&found["allowed"]);
                let allow =
                    allow.iter().map(|one| json!({ "protocol": one["IPProtocol"], "ports": list(&one["ports"]) }));
                json!({
                    "kind": "firewall",
                    "network": last(&found["network"]),
                    "allow": allow.collect::<Vec<_>>(),
                    "from_ranges": list(&found["sourceRanges"]),
                    "from_accounts": names(&found["sourceServiceAccounts"]),
                    "to_accounts": names(&found["targetServiceAccounts"]),
                })
            }
            Spec::Router(router) => json!({
                "kind": "router",
                "network": last(&found["network"]),
                "region": last(&found["region"]),
                // A router whose NAT was taken away has one that is called nothing like ours.
                "nat": found["nats"][0]["name"].as_str().map_or_else(|| format!("no-{}", router.nat), ToOwned::to_owned),
            }),
            Spec::Address(_) => json!({
                "kind": "address",
                "subnet": last(&found["subnetwork"]),
                "region": last(&found["region"]),
                "address": found["address"],
            }),
            Spec::Disk(_) => json!({
                "kind": "disk",
                "zone": last(&found["zone"]),
                "disk_type": last(&found["type"]),
                "size_gb": number(&found["sizeGb"]),
            }),
            Spec::Instance(instance) => self.live_instance(&found, instance).await?,
            _ => return Ok(None),
        };
        Ok(Some(self.live(&found, spec(live)?)))
    }

    async fn live_instance(&self, found: &Value, wanted: &Instance) -> Answer<Value> {
        let mut metadata = metadata(found);
        let disks = found["disks"].as_array().map(Vec::as_slice).unwrap_or_default();
        let boot = disks.iter().find(|disk| disk["boot"] == true).cloned().unwrap_or_default();
        let data = disks.iter().find(|disk| disk["deviceName"] == "data");
        let interface = &found["networkInterfaces"][0];
        let mut live = json!({
            "kind": "instance",
            "role": metadata.get("moonswarm-role").map_or("worker", String::as_str),
            "zone": last(&found["zone"]),
            "machine_type": last(&found["machineType"]),
            "image": metadata.remove(IMAGE).unwrap_or_default(),
            // Not told is no difference.
            "boot_disk_gb": match number(&boot["diskSizeGb"]) {
                0 => u64::from(wanted.boot_disk_gb),
                size => size,
            },
            "subnet": last(&interface["subnetwork"]),
            "region": last(&found["zone"]).rsplit_once('-').map_or("", |(region, _)| region),
            "service_account":
                found["serviceAccounts"][0]["email"].as_str().unwrap_or_default().split('@').next().unwrap_or_default(),
            "metadata": metadata,
        });
        if let Some(data) = data {
            live["data_disk"] = last(&data["source"]).into();
        }
        // A machine knows its address, not what the reservation is called.
        if let Some(name) = &wanted.address {
            let url = self.compute(&format!("regions/{}/addresses/{name}", wanted.region));
            let reserved = self.rest.get(&url).await?;
            if reserved.is_some_and(|reserved| reserved["address"] == interface["networkIP"]) {
                live["address"] = name.as_str().into();
            }
        }
        Ok(live)
    }

    fn fields(&self, name: &str, spec: &Spec) -> Value {
        let network = |name: &crate::resource::Name| self.path(&format!("global/networks/{name}"));
        let emails =
            |names: &[crate::resource::Name]| names.iter().map(|name| self.email(name.as_str())).collect::<Vec<_>>();
        match spec {
            Spec::Network(spec) => json!({
                "name": name, "description": self.mark(), "autoCreateSubnetworks": false, "mtu": spec.mtu,
                "routingConfig": { "routingMode": "REGIONAL" },
            }),
            Spec::Subnet(spec) => json!({
                "name": name, "description": self.mark(), "network": network(&spec.network),
                "ipCidrRange": spec.range, "privateIpGoogleAccess": spec.private_google_access,
            }),
            Spec::Firewall(spec) => {
                let mut fields = json!({
                    "name": name, "description": self.mark(), "network": network(&spec.network),
                    "direction": "INGRESS", "targetServiceAccounts": emails(&spec.to_accounts),
                });
                let allow = spec.allow.iter().map(|one| json!({ "IPProtocol": one.protocol, "ports": one.ports }));
                fields["allowed"] = allow.collect();
                fields["sourceRanges"] = json!(spec.from_ranges);
                fields["sourceServiceAccounts"] = json!(emails(&spec.from_accounts));
                fields
            }
            Spec::Router(spec) => json!({
                "name": name, "description": self.mark(), "network": network(&spec.network),
                "nats": [{
                    "name": spec.nat, "natIpAllocateOption": "AUTO_ONLY",
                    "sourceSubnetworkIpRangesToNat": "ALL_SUBNETWORKS_ALL_IP_RANGES",
                }],
            }),
            Spec::Address(spec) => json!({
                "name": name, "labels": self.labels(), "address": spec.address, "addressType": "INTERNAL",
                "purpose": "GCE_ENDPOINT",
                "subnetwork": self.path(&format!("regions/{}/subnetworks/{}", spec.region, spec.subnet)),
            }),
            Spec::Disk(spec) => json!({
                "name": name, "labels": self.labels(), "sizeGb": spec.size_gb.to_string(),
                "type": self.path(&format!("zones/{}/diskTypes/{}", spec.zone, spec.disk_type)),
            }),
            Spec::Instance(spec) => self.instance_fields(name, spec),
            _ => Value::Null,
        }
    }

    fn instance_fields(&self, name: &str, spec: &Instance) -> Value {
        let zone = |what: String| self.path(&format!("zones/{}/{what}", spec.zone));
        let mut disks = vec![json!({
            "boot": true, "autoDelete": true,
            "initializeParams": {
                "sourceImage": spec.image, "diskSizeGb": spec.boot_disk_gb.to_string(),
                "diskType": zone("diskTypes/pd-balanced".to_owned()), "labels": self.labels(),
            },
        })];
        if let Some(disk) = &spec.data_disk {
            disks.push(json!({ "deviceName": "data", "autoDelete": false, "source": zone(format!("disks/{disk}")) }));
        }
        let subnet = self.path(&format!("regions/{}/subnetworks/{}", spec.region, spec.subnet));
        let mut interface = json!({ "subnetwork": subnet });
        if let Some(address) = &spec.address {
            interface["networkIP"] = self.path(&format!("regions/{}/addresses/{address}", spec.region)).into();
        }
        let mut metadata = spec.metadata.clone();
        metadata.insert(IMAGE.to_owned(), spec.image.clone());
        json!({
            "name": name, "labels": self.labels(), "machineType": zone(format!("machineTypes/{}", spec.machine_type)),
            "disks": disks, "networkInterfaces": [interface], "metadata": { "items": items(&metadata) },
            "serviceAccounts": [self.account_of(spec)],
            "shieldedInstanceConfig": { "enableSecureBoot": true, "enableVtpm": true, "enableIntegrityMonitoring": true },
        })
    }

    fn account_of(&self, spec: &Instance) -> Value {
        let scopes = ["https://www.googleapis.com/auth/cloud-platform"];
        json!({ "email": self.email(spec.service_account.as_str()), "scopes": scopes })
    }

    pub(super) async fn create_compute(&self, name: &str, spec: &Spec, request: Uuid) -> Answer<()> {
        let url = self.compute(&format!("{}?requestId={request}", self.collection(spec)));
        // An account that was only just made is not known to Compute Engine yet.
        let passing = |failure: Failure| {
            let account = failure.reason.to_lowercase().contains("service account");
            failure.passing_if(account)
        };
        self.operate(Method::POST, &url, self.fields(name, spec)).await.map_err(passing)
    }

    pub(super) async fn update_compute(&self, name: &str, spec: &Spec, request: Uuid) -> Answer<()> {
        let url = self.compute(&format!("{}/{name}", self.collection(spec)));
        let patch = |body: Value| self.operate(Method::PATCH, &url, body);
        match spec {
            Spec::Network(spec) => patch(json!({ "mtu": spec.mtu })).await,
            Spec::Subnet(spec) => {
                let body = json!({ "privateIpGoogleAccess": spec.private_google_access });
                let url = format!("{url}/setPrivateIpGoogleAccess?requestId={request}");
                self.operate(Method::POST, &url, body).await
            }
            Spec::Disk(spec) => {
                let body = json!({ "sizeGb": spec.size_gb.to_string() });
                self.operate(Method::POST, &format!("{url}/resize?requestId={request}"), body).await
            }
            _ => patch(self.fields(name, spec)).await,
        }
    }

    /// Metadata while it runs; the rest while it is stopped. Every part looks first, so that it can be done again.
    pub(super) async fn update_instance(&self, name: &str, spec: &Instance, changed: &[String]) -> Answer<()> {
        let url = self.compute(&format!("zones/{}/instances/{name}", spec.zone));
        let gone = || Failure { fault: Fault::Refused, reason: "the machine is gone".to_owned() };
        let found = self.rest.get(&url).await?.ok_or_else(gone)?;

        let keys: Vec<&str> = changed.iter().filter_map(|field| field.strip_prefix("metadata.")).collect();
        if !keys.is_empty() {
            let mut metadata = metadata(&found);
            for key in keys {
                match spec.metadata.get(key) {
                    Some(value) => metadata.insert(key.to_owned(), value.clone()),
                    None => metadata.remove(key),
                };
            }
            let body = json!({ "fingerprint": found["metadata"]["fingerprint"], "items": items(&metadata) });
            self.operate(Method::POST, &format!("{url}/setMetadata"), body).await?;
        }
        let has = |field: &str| changed.iter().any(|changed| changed == field);
        if !has("machine_type") && !has("service_account") {
            return Ok(());
        }
        if found["status"] != "TERMINATED" {
            self.operate(Method::POST, &format!("{url}/stop"), Value::Null).await?;
        }
        if has("machine_type") {
            let machine_type = format!("zones/{}/machineTypes/{}", spec.zone, spec.machine_type);
            self.operate(Method::POST, &format!("{url}/setMachineType"), json!({ "machineType": machine_type }))
                .await?;
        }
        if has("service_account") {
            self.operate(Method::POST, &format!("{url}/setServiceAccount"), self.account_of(spec)).await?;
        }
        self.operate(Method::POST, &format!("{url}/start"), Value::Null).await
    }

    pub(super) async fn delete_compute(&self, name: &str, spec: &Spec) -> Answer<()> {
        let url = self.compute(&format!("{}/{name}", self.collection(spec)));
        match self.operate(Method::DELETE, &url, Value::Null).await {
            Err(failure) if failure.is_missing() => Ok(()),
            result => result,
        }
    }

    /// Begins an operation and waits for its end.
    async fn operate(&self, method: Method, url: &str, body: Value) -> Answer<()> {
        let mut operation = self.rest.call(method, url, body).await?;
        let place = match (operation["zone"].as_str(), operation["region"].as_str()) {
            (Some(_), _) => format!("zones/{}", last(&operation["zone"])),
            (_, Some(_)) => format!("regions/{}", last(&operation["region"])),
            _ => "global".to_owned(),
        };
        let name = operation["name"].as_str().unwrap_or_default().to_owned();
        let url = self.compute(&format!("{place}/operations/{name}"));
        let give_up = Instant::now() + OPERATION_DEADLINE;
        let mut pause = FIRST_LOOK;
        while operation["status"] != "DONE" {
            if Instant::now() > give_up {
                let reason = format!("the operation {name} is still {} after ten minutes", operation["status"]);
                return Err(Failure { fault: Fault::Passing, reason });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            operation = self.rest.call(Method::GET, &url, Value::Null).await?;
        }
        let Some(error) = operation["error"]["errors"].get(0) else { return Ok(()) };
        let status = operation["httpErrorStatusCode"].as_u64().and_then(|status| status.try_into().ok()).unwrap_or(400);
        let reason = match error["code"].as_str().unwrap_or_default() {
            "RESOURCE_NOT_READY" => "resourceNotReady",
            "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE" => "resourceInUseByAnotherResource",
            code => code,
        };
        let document = json!({ "error": { "message": error["message"], "errors": [{ "reason": reason }] } });
        Err(failure(status, &document.to_string()))
    }
}

fn metadata(instance: &Value) -> BTreeMap<String, String> {
    let items = instance["metadata"]["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    items.iter().map(|item| (text(&item["key"]), text(&item["value"]))).collect()
}

fn items(metadata: &BTreeMap<String, String>) -> Vec<Value> {
    metadata.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}
