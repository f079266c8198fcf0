//! What happens to networks, disks and instances, step by step and without time.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::collections::Collection;
use super::error::{ComputeError, OperationError};
use super::machines::Work;
use super::operations::Operation;
use super::path::{Path, Scope};
use super::state::{Change, RequestKey, State};

const ZONE: &str = "us-central1-a";

struct World {
    state: State,
}

fn body(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn zone() -> Scope {
    Scope::Zone(ZONE.into())
}

fn region() -> Scope {
    Scope::Region("us-central1".into())
}

fn path(scope: &Scope, collection: &str, name: &str) -> Path {
    Path::new("p", scope, collection, name)
}

fn instance(name: &str) -> Value {
    json!({
        "name": name,
        "machineType": format!("zones/{ZONE}/machineTypes/e2-small"),
        "disks": [{ "boot": true, "autoDelete": true, "initializeParams": {
            "sourceImage": "projects/debian-cloud/global/images/family/debian-12",
        } }],
        "networkInterfaces": [{ "subnetwork": "regions/us-central1/subnetworks/s" }],
    })
}

impl World {
    fn with_network() -> Self {
        let mut world = Self { state: State::default() };
        world.insert(&Scope::Global, "networks", json!({ "name": "n", "autoCreateSubnetworks": false })).unwrap();
        let subnetwork = json!({ "name": "s", "network": "global/networks/n", "ipCidrRange": "10.0.0.0/24" });
        world.insert(&region(), "subnetworks", subnetwork).unwrap();
        world
    }

    fn check(&self, scope: &Scope, collection: &str, given: Value) -> Result<Change, ComputeError> {
        self.state.insert("p", scope, Collection::find(collection).unwrap(), body(given))
    }

    fn begin(&mut self, change: Change) -> Operation {
        self.state.begin(change, None, SystemTime::now())
    }

    fn end(&mut self, operation: &Operation, outcome: Result<(), OperationError>) {
        self.state.finish(&operation.path, outcome, SystemTime::now());
    }

    /// Inserts and lets the operation end well.
    fn insert(&mut self, scope: &Scope, collection: &str, given: Value) -> Result<Operation, ComputeError> {
        let change = self.check(scope, collection, given)?;
        let operation = self.begin(change);
        self.end(&operation, Ok(()));
        Ok(operation)
    }

    fn status(&self, name: &str) -> String {
        let found = self.state.get(&path(&zone(), "instances", name));
        found.map_or_else(|error| error.reason().to_owned(), |found| found.text("status").to_owned())
    }
}

#[test]
fn an_instance_is_seen_while_it_boots_and_runs_when_that_is_done() {
    let mut world = World::with_network();
    let change = world.check(&zone(), "instances", instance("i")).unwrap();
    let Work::Build(spec) = &change.work else { panic!("{:?}", change.work) };
    assert_eq!((spec.address.to_string(), spec.hostname.as_str()), ("10.0.0.2".into(), "i"));

    let operation = world.begin(change);
    assert_eq!(world.status("i"), "PROVISIONING");
    world.end(&operation, Ok(()));

    assert_eq!(world.status("i"), "RUNNING");
    assert_eq!(world.state.get(&path(&zone(), "disks", "i")).unwrap().text("status"), "READY");
}

#[test]
fn of_an_insert_that_failed_nothing_stays() {
    let mut world = World::with_network();
    let before = world.state.resources.len();
    let change = world.check(&zone(), "instances", instance("i")).unwrap();

    let operation = world.begin(change);
    world.end(&operation, Err(OperationError::internal("no power")));

    assert_eq!(world.state.resources.len(), before);
    let told = world.state.operations[&operation.path].told();
    assert_eq!((&told["status"], &told["error"]["errors"][0]["code"]), (&json!("DONE"), &json!("INTERNAL_ERROR")));
}

#[test]
fn a_quota_on_machines_is_told_in_the_operation_and_on_others_at_once() {
    let mut world = World::with_network();
    world.state.quotas.set("CPUS", 1.0);
    world.state.quotas.set("FIREWALLS", 0.0);

    let operation = world.insert(&zone(), "instances", instance("i")).unwrap();
    let firewall = json!({ "name": "f", "network": "global/networks/n", "allowed": [{ "IPProtocol": "tcp" }] });
    let refused = world.check(&Scope::Global, "firewalls", firewall).unwrap_err();

    let told = world.state.operations[&operation.path].told();
    insta::assert_snapshot!(format!("{}\n{}\n{}", told["error"], told["httpErrorStatusCode"], refused.body()), @r#"
    {"errors":[{"code":"QUOTA_EXCEEDED","message":"Quota 'CPUS' exceeded.  Limit: 1.0 in region us-central1."}]}
    403
    {"error":{"code":403,"errors":[{"domain":"usageLimits","message":"Quota 'FIREWALLS' exceeded.  Limit: 0.0 globally.","reason":"quotaExceeded"}],"message":"Quota 'FIREWALLS' exceeded.  Limit: 0.0 globally."}}
    "#);
    assert_eq!(world.status("i"), "notFound");
}

#[test]
fn what_is_used_can_not_be_deleted_and_the_error_names_the_user() {
    let mut world = World::with_network();
    world.insert(&zone(), "instances", instance("i")).unwrap();

    let network = world.state.delete(&path(&Scope::Global, "networks", "n")).unwrap_err();
    let subnetwork = world.state.delete(&path(&region(), "subnetworks", "s")).unwrap_err();
    let disk = world.state.delete(&path(&zone(), "disks", "i")).unwrap_err();

    insta::assert_snapshot!(format!("{network}\n{subnetwork}\n{disk}"), @r"
    The network resource 'projects/p/global/networks/n' is already being used by 'projects/p/regions/us-central1/subnetworks/s'
    The subnetwork resource 'projects/p/regions/us-central1/subnetworks/s' is already being used by 'projects/p/zones/us-central1-a/instances/i'
    The disk resource 'projects/p/zones/us-central1-a/disks/i' is already being used by 'projects/p/zones/us-central1-a/instances/i'
    ");
}

#[test]
fn a_reserved_address_waits_for_its_instance_and_a_data_disk_survives_it() {
    let mut world = World::with_network();
    let address = json!({ "name": "a", "addressType": "INTERNAL", "subnetwork": "regions/us-central1/subnetworks/s", "address": "10.0.0.9" });
    world.insert(&region(), "addresses", address).unwrap();
    world.insert(&zone(), "disks", json!({ "name": "data", "sizeGb": "10" })).unwrap();
    let mut with_both = instance("i");
    with_both["networkInterfaces"][0]["networkIP"] = "10.0.0.9".into();
    let data = json!({ "source": format!("zones/{ZONE}/disks/data"), "deviceName": "data" });
    with_both["disks"].as_array_mut().unwrap().push(data);

    world.insert(&zone(), "instances", with_both).unwrap();
    let reserved = world.state.get(&path(&region(), "addresses", "a")).unwrap();
    assert_eq!(world.state.told(reserved)["status"], "IN_USE");
    let delete = world.state.delete(&path(&zone(), "instances", "i")).unwrap();
    let operation = world.begin(delete);
    world.end(&operation, Ok(()));

    assert!(world.state.get(&path(&zone(), "disks", "i")).is_err());
    assert!(world.state.get(&path(&zone(), "disks", "data")).is_ok());
    let reserved = world.state.get(&path(&region(), "addresses", "a")).unwrap();
    assert_eq!(world.state.told(reserved)["status"], "RESERVED");
}

#[test]
fn an_old_fingerprint_changes_nothing() {
    let mut world = World::with_network();
    world.insert(&zone(), "instances", instance("i")).unwrap();
    let target = path(&zone(), "instances", "i");
    let told = world.state.told(world.state.get(&target).unwrap());
    let set = |fingerprint: &Value, value: &str| {
        body(json!({ "fingerprint": fingerprint, "items": [{ "key": "k", "value": value }] }))
    };

    let first = world.state.verb(&target, "setMetadata", &set(&told["metadata"]["fingerprint"], "1")).unwrap().unwrap();
    let operation = world.begin(first);
    world.end(&operation, Ok(()));
    let second = world.state.verb(&target, "setMetadata", &set(&told["metadata"]["fingerprint"], "2")).unwrap();

    assert_eq!(second.unwrap_err().status(), 412);
    let found = world.state.get(&target).unwrap();
    assert_eq!(found.body["metadata"]["items"][0]["value"], "1");
}

#[test]
fn the_same_request_gets_the_same_operation_and_another_with_its_id_is_refused() {
    let mut world = World::with_network();
    let key = |content: &str| RequestKey { id: "11111111-1111-4111-8111-111111111111".into(), content: content.into() };
    let change = world.check(&zone(), "instances", instance("i")).unwrap();

    let operation = world.state.begin(change, Some(key("one")), SystemTime::now());

    assert_eq!(world.state.repeated("p", &key("one")).unwrap().unwrap().path, operation.path);
    assert_eq!(world.state.repeated("p", &key("two")).unwrap_err().status(), 400);
    assert!(world.state.repeated("q", &key("one")).unwrap().is_none());
}

#[test]
fn stop_and_start_go_through_their_states_and_a_crash_is_seen() {
    let mut world = World::with_network();
    world.insert(&zone(), "instances", instance("i")).unwrap();
    let target = path(&zone(), "instances", "i");
    let verb = |world: &World, verb: &str| world.state.verb(&target, verb, &Map::new()).unwrap();

    let stop = verb(&world, "stop").unwrap();
    let operation = world.begin(stop);
    assert_eq!(world.status("i"), "STOPPING");
    assert_eq!(verb(&world, "start").unwrap_err().reason(), "resourceNotReady");
    world.end(&operation, Ok(()));
    assert_eq!(world.status("i"), "TERMINATED");
    let start = verb(&world, "start").unwrap();
    let operation = world.begin(start);
    world.end(&operation, Ok(()));
    assert_eq!(world.status("i"), "RUNNING");

    world.state.machine_ended(&target);
    assert_eq!(world.status("i"), "TERMINATED");
}

#[test]
fn bad_bodies_are_refused_with_the_field_and_the_rule() {
    let world = World::with_network();
    let mut no_type = instance("i");
    no_type["machineType"] = "zones/us-central1-a/machineTypes/huge".into();
    let mut outside = instance("i");
    outside["networkInterfaces"][0]["networkIP"] = "10.9.0.1".into();
    let mut unkept = instance("i");
    unkept["guestAccelerators"] = json!([{ "acceleratorCount": 1 }]);
    let overlap = json!({ "name": "t", "network": "global/networks/n", "ipCidrRange": "10.0.0.0/16" });

    let errors = [
        world.check(&zone(), "instances", json!({ "name": "I" })),
        world.check(&zone(), "instances", no_type),
        world.check(&zone(), "instances", outside),
        world.check(&zone(), "instances", unkept),
        world.check(&region(), "subnetworks", overlap),
        world.check(&Scope::Global, "networks", json!({ "name": "auto" })),
    ];

    let told = errors.map(|error| error.unwrap_err()).map(|error| format!("{} {error}", error.status()));
    insta::assert_snapshot!(told.join("\n"), @r"
    400 Invalid value for field 'resource.name': 'I'. Must be a match of regex '(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)'
    400 Invalid value for field 'resource.machineType': 'zones/us-central1-a/machineTypes/huge'. The machine type was not found in the zone.
    400 Invalid value for field 'resource.networkInterfaces[0].networkIP': '10.9.0.1'. IP address is outside of the usable addresses of 10.0.0.0/24.
    501 The local cloud does not implement the instance field `guestAccelerators`
    400 Invalid value for field 'resource.ipCidrRange': '10.0.0.0/16'. Invalid IPCidrRange: 10.0.0.0/16 conflicts with existing subnetwork 'projects/p/regions/us-central1/subnetworks/s'.
    501 The local cloud does not implement networks that make their own subnetworks (autoCreateSubnetworks)
    ");
}

#[test]
fn a_patch_wants_the_fingerprint_and_keeps_what_it_does_not_name() {
    let mut world = World::with_network();
    let target = path(&region(), "subnetworks", "s");
    let told = world.state.told(world.state.get(&target).unwrap());
    let patch = |fingerprint: Value| body(json!({ "privateIpGoogleAccess": true, "fingerprint": fingerprint }));

    assert_eq!(world.state.patch(&target, patch("old".into()), false).unwrap_err().status(), 412);
    let change = world.state.patch(&target, patch(told["fingerprint"].clone()), false).unwrap();
    let operation = world.begin(change);
    world.end(&operation, Ok(()));

    let found = world.state.told(world.state.get(&target).unwrap());
    assert_eq!((&found["privateIpGoogleAccess"], &found["ipCidrRange"]), (&json!(true), &json!("10.0.0.0/24")));
    assert_ne!(found["fingerprint"], told["fingerprint"]);
}
