//! Compute Engine under its official client, and the metadata server under plain HTTP.

use std::time::Duration;

use google_cloud_compute_v1::client::{Instances, Networks, Subnetworks};
use google_cloud_compute_v1::model::{
    AttachedDisk, AttachedDiskInitializeParams, Instance, Metadata, Network, NetworkInterface, ServiceAccount,
    Subnetwork, metadata::Items,
};
use google_cloud_gax::exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use google_cloud_gax::paginator::ItemPaginator as _;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_lro::Poller as _;
use harness::cloud::{OperationError, OperationFault};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{World, anonymous};

const ZONE: &str = "us-central1-a";
const INSTANCE: &str = "projects/test/zones/us-central1-a/instances/manager-1";
const ACCOUNT: &str = "manager@test.iam.gserviceaccount.com";

/// Asks again quickly: the operations here take no time.
fn eagerly() -> ExponentialBackoff {
    let backoff = ExponentialBackoffBuilder::new().with_initial_delay(Duration::from_millis(5));
    backoff.with_maximum_delay(Duration::from_millis(50)).clamp()
}

/// An official client of one kind of resource.
macro_rules! client {
    ($kind:ident, $world:expr) => {
        $kind::builder()
            .with_endpoint($world.cloud.url())
            .with_credentials(anonymous())
            .with_retry_policy(NeverRetry)
            .with_polling_backoff_policy(eagerly())
            .build()
            .await
            .unwrap()
    };
}

fn instance() -> Instance {
    let image = "projects/debian-cloud/global/images/family/debian-12";
    let boot = AttachedDiskInitializeParams::new().set_source_image(image);
    let item = |key: &str, value: &str| Items::new().set_key(key).set_value(value);
    Instance::new()
        .set_name("manager-1")
        .set_machine_type(format!("zones/{ZONE}/machineTypes/e2-small"))
        .set_labels([("stack", "test")])
        .set_disks([AttachedDisk::new().set_boot(true).set_auto_delete(true).set_initialize_params(boot)])
        .set_network_interfaces([NetworkInterface::new().set_subnetwork("regions/us-central1/subnetworks/nodes")])
        .set_service_accounts([ServiceAccount::new()
            .set_email(ACCOUNT)
            .set_scopes(["https://www.googleapis.com/auth/cloud-platform"])])
        .set_metadata(Metadata::new().set_items([item("role", "manager"), item("enable-guest-attributes", "TRUE")]))
}

impl World {
    /// A network with the subnetwork 10.71.0.0/24, by the official client.
    async fn with_network(&self) {
        let networks = client!(Networks, self);
        let network = Network::new().set_name("net").set_auto_create_subnetworks(false);
        let made = networks.insert().set_project("test").set_body(network).poller().until_done().await.unwrap();
        made.to_result().unwrap();
        let subnetworks = client!(Subnetworks, self);
        let nodes =
            Subnetwork::new().set_name("nodes").set_network("global/networks/net").set_ip_cidr_range("10.71.0.0/24");
        let insert = subnetworks.insert().set_project("test").set_region("us-central1").set_body(nodes);
        insert.poller().until_done().await.unwrap().to_result().unwrap();
    }

    /// The instance 10.71.0.2.
    async fn with_instance(&self) -> Instances {
        self.with_network().await;
        let instances = client!(Instances, self);
        let insert = instances.insert().set_project("test").set_zone(ZONE).set_body(instance());
        insert.poller().until_done().await.unwrap().to_result().unwrap();
        instances
    }

    /// Asks the metadata server as the machine 10.71.0.2 does; on paper, 127.71.0.2 stands in for it.
    async fn ask_from_machine(&self, method: reqwest::Method, path: &str, body: &str) -> (StatusCode, String) {
        let machine = reqwest::Client::builder().local_address(Some([127, 71, 0, 2].into())).build().unwrap();
        let request = machine.request(method, self.url(path)).header("Metadata-Flavor", "Google").body(body.to_owned());
        let response = request.send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    async fn metadata(&self, path: &str) -> String {
        let (status, text) =
            self.ask_from_machine(reqwest::Method::GET, &format!("/computeMetadata/v1/{path}"), "").await;
        assert!(status.is_success(), "{path}: {status} {text}");
        text
    }
}

#[tokio::test]
async fn the_official_client_makes_shows_lists_and_deletes_an_instance() {
    let world = World::start().await;
    let instances = world.with_instance().await;

    let found = instances.get().set_project("test").set_zone(ZONE).set_instance("manager-1").send().await.unwrap();
    let mut listed = Vec::new();
    let mut items = instances.list().set_project("test").set_zone(ZONE).set_filter("labels.stack = test").by_item();
    while let Some(item) = items.next().await.transpose().unwrap() {
        listed.push(item.name.unwrap());
    }
    let again = instances.insert().set_project("test").set_zone(ZONE).set_body(instance()).poller().until_done().await;
    let delete = instances.delete().set_project("test").set_zone(ZONE).set_instance("manager-1");
    delete.poller().until_done().await.unwrap().to_result().unwrap();
    let gone = instances.get().set_project("test").set_zone(ZONE).set_instance("manager-1").send().await.unwrap_err();

    assert_eq!(found.status.unwrap().name(), Some("RUNNING"));
    assert_eq!(found.network_interfaces[0].network_ip.as_deref(), Some("10.71.0.2"));
    assert_eq!(listed, ["manager-1"]);
    assert_eq!(again.unwrap_err().http_status_code(), Some(409));
    assert_eq!(gone.http_status_code(), Some(404));
    assert_eq!(world.cloud.compute().instances(), []);
}

#[tokio::test]
async fn the_same_request_id_makes_one_instance() {
    let world = World::start().await;
    world.with_network().await;
    let instances = client!(Instances, world);
    let id = "11111111-1111-4111-8111-111111111111";
    let insert = || instances.insert().set_project("test").set_zone(ZONE).set_request_id(id).set_body(instance());

    let first = insert().send().await.unwrap();
    let second = insert().send().await.unwrap();

    assert_eq!(first.name, second.name);
    assert_eq!(world.cloud.compute().instances().len(), 1);
}

#[tokio::test]
async fn an_operation_fails_when_it_is_told_to_and_leaves_nothing() {
    let world = World::start().await;
    world.with_network().await;
    let instances = client!(Instances, world);
    let error = OperationError { code: "ZONE_RESOURCE_POOL_EXHAUSTED".into(), message: "no machines left".into() };
    let fault = OperationFault { kind: Some("insert".into()), target: "/instances/".into(), times: 1, error };
    world.cloud.faults().fail_operations(fault);
    let insert = || instances.insert().set_project("test").set_zone(ZONE).set_body(instance()).poller().until_done();

    let failed = insert().await.unwrap().to_result();
    let second = insert().await.unwrap().to_result();

    assert!(failed.unwrap_err().to_string().contains("no machines left"));
    assert!(second.is_ok());
    assert_eq!(world.cloud.faults().counts().operations_failed, 1);
}

#[tokio::test]
async fn a_machine_learns_about_itself_and_leaves_guest_attributes() {
    let world = World::start().await;
    let instances = world.with_instance().await;

    let told = [
        world.metadata("instance/name").await,
        world.metadata("instance/zone").await,
        world.metadata("instance/network-interfaces/0/ip").await,
        world.metadata("instance/attributes/").await,
        world.metadata("instance/service-accounts/default/email").await,
        world.metadata("project/project-id").await,
        world.metadata("instance/network-interfaces/?recursive=true").await,
    ];
    let phase = "/computeMetadata/v1/instance/guest-attributes/swarm/phase";
    let (written, _) = world.ask_from_machine(reqwest::Method::PUT, phase, "joining").await;
    let read = instances.get_guest_attributes().set_project("test").set_zone(ZONE).set_instance("manager-1");
    let read = read.set_query_path("swarm/").send().await.unwrap();
    let (missing, _) = world.ask_from_machine(reqwest::Method::GET, "/computeMetadata/v1/instance/none", "").await;

    insta::assert_snapshot!(told.join("\n"), @r#"
    manager-1
    projects/100000000000/zones/us-central1-a
    10.71.0.2
    role
    enable-guest-attributes

    manager@test.iam.gserviceaccount.com
    test
    [{"accessConfigs":[],"gateway":"10.71.0.1","ip":"10.71.0.2","mac":"02:00:00:00:00:01","mtu":1460,"network":"projects/100000000000/networks/net","subnetmask":"255.255.255.0"}]
    "#);
    assert_eq!((written, missing), (StatusCode::OK, StatusCode::NOT_FOUND));
    let item = &read.query_value.unwrap().items[0];
    assert_eq!((item.key.as_deref(), item.value.as_deref()), (Some("phase"), Some("joining")));
    assert_eq!(world.cloud.compute().guest_attribute(INSTANCE, "swarm", "phase").as_deref(), Some("joining"));
}

#[tokio::test]
async fn the_metadata_server_answers_machines_with_the_header_only() {
    let world = World::start().await;
    world.with_instance().await;
    let url = world.url("/computeMetadata/v1/instance/name");
    let machine = reqwest::Client::builder().local_address(Some([127, 71, 0, 2].into())).build().unwrap();

    let without = machine.get(&url).send().await.unwrap().status();
    let forwarded = machine.get(&url).header("Metadata-Flavor", "Google").header("X-Forwarded-For", "1.2.3.4");
    let forwarded = forwarded.send().await.unwrap().status();
    let stranger = world.http.get(&url).header("Metadata-Flavor", "Google").send().await.unwrap().status();

    assert_eq!([without, forwarded, stranger], [StatusCode::FORBIDDEN; 3]);
}

#[tokio::test]
async fn who_waits_for_a_change_is_told_when_it_comes() {
    let world = World::start().await;
    world.with_instance().await;
    let path = "instance/attributes/?recursive=true";
    let machine = reqwest::Client::builder().local_address(Some([127, 71, 0, 2].into())).build().unwrap();
    let first = machine.get(world.url(&format!("/computeMetadata/v1/{path}"))).header("Metadata-Flavor", "Google");
    let etag = first.send().await.unwrap().headers()["etag"].to_str().unwrap().to_owned();
    // With the etag it does not matter which of the two comes first.
    let path = format!("{path}&wait_for_change=true&last_etag={etag}");
    let waiting = world.metadata(&path);

    let changed = async {
        let url = world.url("/compute/v1/projects/test/zones/us-central1-a/instances/manager-1");
        let found: Value = world.http.get(&url).send().await.unwrap().json().await.unwrap();
        let items = json!([{ "key": "role", "value": "worker" }]);
        let metadata = json!({ "fingerprint": found["metadata"]["fingerprint"], "items": items });
        world.http.post(format!("{url}/setMetadata")).json(&metadata).send().await.unwrap().status()
    };
    let (told, status) = tokio::time::timeout(super::DEADLINE, async { tokio::join!(waiting, changed) }).await.unwrap();

    assert_eq!((told.as_str(), status), (r#"{"role":"worker"}"#, StatusCode::OK));
}

#[tokio::test]
async fn a_machine_that_dies_is_terminated() {
    let world = World::start().await;
    world.with_instance().await;

    world.cloud.compute().kill(INSTANCE).await.unwrap();

    assert_eq!(world.cloud.compute().instances(), [(INSTANCE.to_owned(), "TERMINATED".to_owned())]);
}
