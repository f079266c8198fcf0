//! What Google has by itself: regions, zones, machine types, disk types and images. A small part of it, but real names.

use serde_json::{Value, json};

use super::path::{Path, Scope, scope_link};

/// Regions with the letters of their zones.
const REGIONS: [(&str, &str); 8] = [
    ("asia-northeast1", "abc"),
    ("europe-north1", "abc"),
    ("europe-west1", "bcd"),
    ("europe-west3", "abc"),
    ("europe-west4", "abc"),
    ("us-central1", "abcf"),
    ("us-east1", "bcd"),
    ("us-west1", "abc"),
];

/// Machine types: name, processors, memory in MB.
const MACHINE_TYPES: [(&str, u32, u32); 10] = [
    ("e2-medium", 2, 4096),
    ("e2-micro", 2, 1024),
    ("e2-small", 2, 2048),
    ("e2-standard-2", 2, 8192),
    ("e2-standard-4", 4, 16384),
    ("n1-standard-1", 1, 3840),
    ("n2-standard-2", 2, 8192),
    ("n2-standard-4", 4, 16384),
    ("n2d-standard-2", 2, 8192),
    ("n2d-standard-4", 4, 16384),
];

const DISK_TYPES: [&str; 3] = ["pd-balanced", "pd-ssd", "pd-standard"];

/// Public images: project, family, current image.
const IMAGES: [(&str, &str, &str); 4] = [
    ("debian-cloud", "debian-12", "debian-12-bookworm-v20260114"),
    ("debian-cloud", "debian-13", "debian-13-trixie-v20260114"),
    ("ubuntu-os-cloud", "ubuntu-2404-lts-amd64", "ubuntu-2404-noble-amd64-v20260115"),
    ("cos-cloud", "cos-stable", "cos-stable-121-18867-90-4"),
];

/// When the catalogue was written, as far as anybody can see.
const CREATED: &str = "2026-01-15T00:00:00.000-08:00";

/// Whether a scope is one that Google has.
pub(super) fn has_scope(scope: &Scope) -> bool {
    match scope {
        Scope::Global => true,
        Scope::Region(region) => REGIONS.iter().any(|(name, _)| name == region),
        Scope::Zone(zone) => zones().any(|name| name == *zone),
    }
}

fn zones() -> impl Iterator<Item = String> {
    REGIONS.iter().flat_map(|(region, letters)| letters.chars().map(move |letter| format!("{region}-{letter}")))
}

/// Processors of a machine type; `None`: there is no such type.
pub(super) fn processors(machine_type: &str) -> Option<u32> {
    MACHINE_TYPES.iter().find(|(name, ..)| *name == machine_type).map(|(_, processors, _)| *processors)
}

pub(super) fn has_disk_type(name: &str) -> bool {
    DISK_TYPES.contains(&name)
}

/// The image that an image reference means, as a link: the family's current one, or itself.
pub(super) fn image(path: &Path) -> Option<String> {
    let (_, _, image) = IMAGES
        .iter()
        .find(|(project, _, image)| *project == path.project && *image == path.name)
        .or_else(|| family(&path.project, path.name.strip_prefix("family/")?))?;
    Some(Path::new(&path.project, &Scope::Global, "images", image).link())
}

fn family(project: &str, family: &str) -> Option<&'static (&'static str, &'static str, &'static str)> {
    IMAGES.iter().find(|(owner, name, _)| *owner == project && *name == family)
}

/// All of a catalogue's collection in a scope; `None`: it is no collection of the catalogue.
pub(super) fn list(project: &str, scope: &Scope, collection: &str) -> Option<Vec<Value>> {
    let found = match (collection, scope) {
        ("regions", Scope::Global) => REGIONS.iter().map(|(region, _)| region_resource(project, region)).collect(),
        ("zones", Scope::Global) => zones().map(|zone| zone_resource(project, &zone)).collect(),
        ("machineTypes", Scope::Zone(zone)) => {
            MACHINE_TYPES.iter().map(|machine_type| machine_type_resource(project, zone, *machine_type)).collect()
        }
        ("diskTypes", Scope::Zone(zone)) => {
            DISK_TYPES.iter().map(|name| disk_type_resource(project, zone, name)).collect()
        }
        ("images", Scope::Global) => {
            IMAGES.iter().filter(|(owner, ..)| *owner == project).map(|image| image_resource(*image)).collect()
        }
        _ => return None,
    };
    Some(found)
}

/// One resource of the catalogue.
pub(super) fn get(path: &Path) -> Option<Value> {
    if let ("images", Some(name)) = (path.collection.as_str(), path.name.strip_prefix("family/")) {
        return family(&path.project, name).map(|image| image_resource(*image));
    }
    list(&path.project, &path.scope, &path.collection)?.into_iter().find(|found| found["name"] == path.name)
}

/// A number that stays the same for a name.
fn id(name: &str) -> String {
    (u64::from(crc32c::crc32c(name.as_bytes())) + 1_000_000_000_000).to_string()
}

fn region_resource(project: &str, region: &str) -> Value {
    let zones = zones().filter(|zone| Scope::Zone(zone.clone()).region() == Some(region));
    let zones: Vec<String> = zones.map(|zone| scope_link(project, &Scope::Zone(zone))).collect();
    json!({
        "kind": "compute#region", "id": id(region), "creationTimestamp": CREATED, "name": region,
        "description": region, "status": "UP", "zones": zones,
        "selfLink": scope_link(project, &Scope::Region(region.to_owned())),
    })
}

fn zone_resource(project: &str, zone: &str) -> Value {
    let scope = Scope::Zone(zone.to_owned());
    let region = Scope::Region(scope.region().unwrap_or_default().to_owned());
    json!({
        "kind": "compute#zone", "id": id(zone), "creationTimestamp": CREATED, "name": zone, "description": zone,
        "status": "UP", "region": scope_link(project, &region), "selfLink": scope_link(project, &scope),
    })
}

fn machine_type_resource(project: &str, zone: &str, (name, processors, memory): (&str, u32, u32)) -> Value {
    let path = Path::new(project, &Scope::Zone(zone.to_owned()), "machineTypes", name);
    json!({
        "kind": "compute#machineType", "id": id(name), "creationTimestamp": CREATED, "name": name, "zone": zone,
        "guestCpus": processors, "memoryMb": memory, "isSharedCpu": name.starts_with("e2-m") || name == "e2-small",
        "maximumPersistentDisks": 128, "maximumPersistentDisksSizeGb": "263168", "selfLink": path.link(),
    })
}

fn disk_type_resource(project: &str, zone: &str, name: &str) -> Value {
    let scope = Scope::Zone(zone.to_owned());
    json!({
        "kind": "compute#diskType", "id": id(name), "creationTimestamp": CREATED, "name": name,
        "validDiskSize": "10GB-65536GB", "defaultDiskSizeGb": "100", "zone": scope_link(project, &scope),
        "selfLink": Path::new(project, &scope, "diskTypes", name).link(),
    })
}

fn image_resource((project, family, image): (&str, &str, &str)) -> Value {
    json!({
        "kind": "compute#image", "id": id(image), "creationTimestamp": CREATED, "name": image, "family": family,
        "status": "READY", "diskSizeGb": "10", "archiveSizeBytes": "1000000000", "architecture": "X86_64",
        "sourceType": "RAW", "labelFingerprint": "42WmSpB8rSM=",
        "guestOsFeatures": [{ "type": "UEFI_COMPATIBLE" }, { "type": "VIRTIO_SCSI_MULTIQUEUE" }, { "type": "GVNIC" }],
        "selfLink": Path::new(project, &Scope::Global, "images", image).link(),
    })
}
