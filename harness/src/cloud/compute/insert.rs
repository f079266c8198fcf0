//! Inserting a resource: what a body must and may say, and the defaults that Google fills in.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::{Map, Value, json};

use super::catalog;
use super::collections::{Collection, Place};
use super::error::ComputeError;
use super::machines::{NetworkSpec, Work};
use super::operations::Effect;
use super::path::{Path, Scope, is_name};
use super::state::{Change, State};

/// What Google gives a network that says nothing; <https://cloud.google.com/vpc/docs/mtu>.
const MTU_DEFAULT: u64 = 1460;

impl State {
    /// Checks an insert.
    pub(super) fn insert(
        &self,
        project: &str,
        scope: &Scope,
        collection: &Collection,
        mut body: Map<String, Value>,
    ) -> Result<Change, ComputeError> {
        check_place(collection, scope)?;
        let name = body.get("name").and_then(Value::as_str).ok_or_else(|| ComputeError::required("name"))?.to_owned();
        if !is_name(&name) {
            let rule = "Must be a match of regex '(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)'";
            return Err(ComputeError::invalid("name", name, rule));
        }
        let path = Path::new(project, scope, collection.plural, &name);
        check_fields(collection.singular, collection.fields, &body)?;
        body.retain(|field, _| collection.fields.contains(&field.as_str()));
        self.resolve_references(collection, &path, &mut body)?;
        if self.resources.contains_key(&path) {
            return Err(ComputeError::Exists { resource: path.to_string() });
        }
        let work = match collection.plural {
            "instances" => return self.insert_instance(path, body),
            "networks" => network(&mut body)?,
            "subnetworks" => self.subnetwork(&path, &mut body)?,
            "firewalls" => firewall(&mut body)?,
            "routers" => router(&body)?,
            "addresses" => self.address(&path, &mut body)?,
            _ => {
                disk(&path, &mut body)?;
                Work::MakeDisk(path.to_string())
            }
        };
        let amount = if collection.plural == "disks" { size_of(&body) } else { 1.0 };
        self.check_quota(&path, collection.metric, amount)?;
        let effect = Effect::Made { paths: vec![path.clone()], status: "RESERVED" };
        let made = vec![(path.clone(), body)];
        Ok(Change { kind: "insert".into(), target: path, made, effect, work, doomed: None })
    }

    /// Replaces the names of other resources by their links; each must be there.
    pub(super) fn resolve_references(
        &self,
        collection: &Collection,
        path: &Path,
        body: &mut Map<String, Value>,
    ) -> Result<(), ComputeError> {
        for (field, target) in collection.references {
            let Some(value) = body.get(*field) else { continue };
            let link = self.resolve(path, field, value, target)?.link();
            body.insert((*field).to_owned(), link.into());
        }
        Ok(())
    }

    /// The resource that a field names.
    pub(super) fn resolve(
        &self,
        from: &Path,
        field: &str,
        value: &Value,
        collection: &str,
    ) -> Result<Path, ComputeError> {
        let text = value.as_str().unwrap_or_default();
        let scope = match Collection::find(collection).map(|collection| collection.place) {
            Some(Place::Region) => Scope::Region(from.scope.region().unwrap_or_default().to_owned()),
            Some(Place::Zone) => from.scope.clone(),
            _ => Scope::Global,
        };
        let malformed = || {
            let rule = "The URL is malformed.".to_owned();
            ComputeError::invalid(field, text, rule)
        };
        let path = Path::parse(text, from, collection, &scope).ok_or_else(malformed)?;
        self.get(&path)?;
        Ok(path)
    }

    fn subnetwork(&self, path: &Path, body: &mut Map<String, Value>) -> Result<Work, ComputeError> {
        let network = required_text(body, "network")?.to_owned();
        let text = required_text(body, "ipCidrRange")?;
        let range: Option<Ipv4Net> = text.parse().ok();
        let range = range.filter(|range| range.network() == range.addr() && range.addr().is_private());
        let Some(range) = range.filter(|range| (8..=29).contains(&range.prefix_len())) else {
            return Err(ComputeError::invalid(
                "ipCidrRange",
                text,
                "Must be a private CIDR address range, /8 to /29, without host bits.",
            ));
        };
        for other in self.resources.values().filter(|other| other.path.collection == "subnetworks") {
            let taken: Option<Ipv4Net> = other.text("ipCidrRange").parse().ok();
            let overlaps = taken.is_some_and(|taken| taken.contains(&range) || range.contains(&taken));
            if overlaps && other.text("network") == network {
                let rule = format!("Invalid IPCidrRange: {range} conflicts with existing subnetwork '{}'.", other.path);
                return Err(ComputeError::invalid("ipCidrRange", range, rule));
            }
        }
        refuse_other(body, "purpose", "PRIVATE")?;
        refuse_other(body, "stackType", "IPV4_ONLY")?;
        default(body, "privateIpGoogleAccess", false);
        let mtu = self.resources.values().find(|found| found.path.link() == network);
        let mtu = mtu.and_then(|network| network.body.get("mtu")).and_then(Value::as_u64).unwrap_or(MTU_DEFAULT);
        Ok(Work::MakeNetwork(NetworkSpec {
            name: path.to_string(),
            range,
            mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
        }))
    }

    fn address(&self, path: &Path, body: &mut Map<String, Value>) -> Result<Work, ComputeError> {
        default(body, "addressType", "EXTERNAL");
        let text = body.get("address").and_then(Value::as_str).filter(|text| !text.is_empty());
        let wanted: Option<Ipv4Addr> = match text {
            Some(text) => {
                let rule = "Must be an IPv4 address.";
                Some(text.parse().map_err(|_| ComputeError::invalid("address", text, rule))?)
            }
            None => None,
        };
        let found = if body["addressType"] == "INTERNAL" {
            refuse_other(body, "purpose", "GCE_ENDPOINT")?;
            let subnetwork = required_text(body, "subnetwork")?.to_owned();
            self.internal_address(&subnetwork, wanted, "resource.address", None)?
        } else {
            default(body, "networkTier", "PREMIUM");
            self.external_address(wanted)?
        };
        labels(body)?;
        body.insert("address".into(), found.to_string().into());
        body.insert("status".into(), "RESERVING".into());
        debug_assert_eq!(path.collection, "addresses");
        Ok(Work::Nothing)
    }
}

/// The scope must be of the collection's kind, and exist.
pub(super) fn check_place(collection: &Collection, scope: &Scope) -> Result<(), ComputeError> {
    let fits = matches!(
        (collection.place, scope),
        (Place::Global, Scope::Global) | (Place::Region, Scope::Region(_)) | (Place::Zone, Scope::Zone(_))
    );
    if fits {
        return Ok(());
    }
    Err(ComputeError::not_implemented(format!("{} in {}", collection.plural, scope.text())))
}

/// Fields that the local cloud does not keep are refused, unless they say nothing.
pub(super) fn check_fields(kind: &str, known: &[&str], body: &Map<String, Value>) -> Result<(), ComputeError> {
    let says_nothing = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    };
    let unknown = body
        .iter()
        .find(|(field, value)| !known.contains(&field.as_str()) && !Collection::is_told(field) && !says_nothing(value));
    match unknown {
        None => Ok(()),
        Some((field, _)) => Err(ComputeError::not_implemented(format!("the {kind} field `{field}`"))),
    }
}

/// Labels: at most 64, keys and values of `a-z0-9_-`, keys begin with a letter.
pub(super) fn labels(body: &Map<String, Value>) -> Result<(), ComputeError> {
    let Some(labels) = body.get("labels") else { return Ok(()) };
    let allowed = |text: &str| {
        text.len() <= 63 && text.chars().all(|c| c.is_lowercase() || c.is_numeric() || matches!(c, '_' | '-'))
    };
    let fine = labels.as_object().is_some_and(|labels| {
        labels.len() <= 64
            && labels.iter().all(|(key, value)| {
                key.starts_with(char::is_lowercase) && allowed(key) && value.as_str().is_some_and(allowed)
            })
    });
    let rule = "Labels are at most 64 pairs of lowercase letters, digits, `_` and `-`; keys begin with a letter.";
    if fine { Ok(()) } else { Err(ComputeError::invalid("labels", labels, rule)) }
}

pub(super) fn required_text<'a>(body: &'a Map<String, Value>, field: &str) -> Result<&'a str, ComputeError> {
    body.get(field).and_then(Value::as_str).ok_or_else(|| ComputeError::required(field))
}

pub(super) fn default(body: &mut Map<String, Value>, field: &str, value: impl Into<Value>) {
    let entry = body.entry(field).or_insert(Value::Null);
    if entry.is_null() {
        *entry = value.into();
    }
}

/// Only one value of a field is implemented, and it is the default.
fn refuse_other(body: &mut Map<String, Value>, field: &str, only: &str) -> Result<(), ComputeError> {
    default(body, field, only);
    if body[field] == only {
        return Ok(());
    }
    Err(ComputeError::not_implemented(format!("`{field}` = {}", body[field])))
}

fn network(body: &mut Map<String, Value>) -> Result<Work, ComputeError> {
    if body.get("autoCreateSubnetworks") != Some(&Value::Bool(false)) {
        return Err(ComputeError::not_implemented("networks that make their own subnetworks (autoCreateSubnetworks)"));
    }
    default(body, "mtu", MTU_DEFAULT);
    if !body["mtu"].as_u64().is_some_and(|mtu| (1300..=8896).contains(&mtu)) {
        return Err(ComputeError::invalid("mtu", &body["mtu"], "Must be 1300 to 8896."));
    }
    default(body, "routingConfig", json!({ "routingMode": "REGIONAL" }));
    default(body, "networkFirewallPolicyEnforcementOrder", "AFTER_CLASSIC_FIREWALL");
    Ok(Work::Nothing)
}

/// Rules are kept and told; nothing between the machines of the local cloud is closed by them.
pub(super) fn firewall(body: &mut Map<String, Value>) -> Result<Work, ComputeError> {
    required_text(body, "network")?;
    default(body, "direction", "INGRESS");
    default(body, "priority", 1000);
    default(body, "disabled", false);
    default(body, "logConfig", json!({ "enable": false }));
    let (allowed, denied) = (body.contains_key("allowed"), body.contains_key("denied"));
    if allowed == denied {
        return Err(ComputeError::invalid("allowed", "", "Exactly one of `allowed` and `denied` must be given."));
    }
    if body["priority"].as_u64().is_none_or(|priority| priority > 65_535) {
        return Err(ComputeError::invalid("priority", &body["priority"], "Must be 0 to 65535."));
    }
    let ranges = if body["direction"] == "INGRESS" { "sourceRanges" } else { "destinationRanges" };
    if !["sourceRanges", "sourceTags", "sourceServiceAccounts", "destinationRanges"]
        .iter()
        .any(|f| body.contains_key(*f))
    {
        default(body, ranges, json!(["0.0.0.0/0"]));
    }
    let is_range = |range: &Value| {
        range.as_str().is_some_and(|text| text.parse::<Ipv4Net>().is_ok() || text.parse::<Ipv4Addr>().is_ok())
    };
    for (field, ranges) in body.iter().filter(|(field, _)| field.ends_with("Ranges")) {
        if let Some(bad) = ranges.as_array().and_then(|ranges| ranges.iter().find(|range| !is_range(range))) {
            return Err(ComputeError::invalid(field, bad, "Must be a CIDR address range."));
        }
    }
    Ok(Work::Nothing)
}

fn router(body: &Map<String, Value>) -> Result<Work, ComputeError> {
    required_text(body, "network")?;
    for nat in body.get("nats").and_then(Value::as_array).into_iter().flatten() {
        for field in ["name", "natIpAllocateOption", "sourceSubnetworkIpRangesToNat"] {
            if !nat[field].is_string() {
                return Err(ComputeError::required(&format!("nats[].{field}")));
            }
        }
    }
    Ok(Work::Nothing)
}

/// Fills in what a disk has by default.
pub(super) fn disk(path: &Path, body: &mut Map<String, Value>) -> Result<(), ComputeError> {
    let size = match body.get("sizeGb") {
        None | Some(Value::Null) => "10".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    if !size.parse::<u32>().is_ok_and(|size| (1..=65_536).contains(&size)) {
        return Err(ComputeError::invalid("sizeGb", size, "Must be 1 to 65536."));
    }
    let disk_type = body.get("type").and_then(Value::as_str).unwrap_or("pd-standard").to_owned();
    let parsed = Path::parse(&disk_type, path, "diskTypes", &path.scope);
    let Some(found) = parsed.filter(|found| found.scope == path.scope && catalog::has_disk_type(&found.name)) else {
        return Err(ComputeError::invalid("type", disk_type, "The disk type was not found in the zone."));
    };
    if let Some(image) = body.get("sourceImage").and_then(Value::as_str) {
        let link = image_link(path, image)?;
        body.insert("sourceImage".into(), link.into());
    }
    labels(body)?;
    body.insert("sizeGb".into(), size.into());
    body.insert("type".into(), found.link().into());
    default(body, "physicalBlockSizeBytes", "4096");
    body.insert("status".into(), "CREATING".into());
    Ok(())
}

/// The link of a public image by any of its names.
fn image_link(from: &Path, image: &str) -> Result<String, ComputeError> {
    let missing = || ComputeError::NotFound { resource: image.to_owned() };
    let path = Path::parse(image, from, "images", &Scope::Global).ok_or_else(missing)?;
    catalog::image(&path).ok_or_else(|| ComputeError::missing(&path))
}

/// Gigabytes of a disk.
pub(super) fn size_of(disk: &Map<String, Value>) -> f64 {
    disk.get("sizeGb").and_then(Value::as_str).and_then(|size| size.parse().ok()).unwrap_or(0.0)
}
