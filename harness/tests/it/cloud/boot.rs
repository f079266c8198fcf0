//! A machine of the local cloud that really boots: needs a Docker engine, and says so where there is none.

use std::sync::Arc;
use std::time::Duration;

use harness::cloud::LocalCloud;
use harness::rig::{DockerMachines, Engine, NodeImage, Run, reaper};
use harness::wait::wait_until;
use reqwest::Method;
use serde_json::{Value, json};

/// Building the node image, starting an engine and running a script on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);
const INSTANCES: &str = "/compute/v1/projects/test/zones/us-central1-a/instances";
const NAME: &str = "projects/test/zones/us-central1-a/instances/manager-1";

/// Counts its boots on the disk that stays, starts the engine, and tells how far it is.
const STARTUP: &str = r#"#!/bin/sh
set -eu
tell() {
  curl --silent --fail --request PUT --header 'Metadata-Flavor: Google' --data "$2" \
    "http://169.254.169.254/computeMetadata/v1/instance/guest-attributes/test/$1" >/dev/null
}
mkdir -p /mnt/data
mountpoint -q /mnt/data || mount -o discard /dev/disk/by-id/google-data /mnt/data
echo boot >>/mnt/data/boots
tell boots "$(wc -l </mnt/data/boots)"
systemctl start docker.service
tell engine "$(docker info --format '{{.ServerVersion}}')"
tell phase ready
"#;
const SHUTDOWN: &str = r#"#!/bin/sh
curl --silent --request PUT --header 'Metadata-Flavor: Google' --data gone \
  http://metadata.google.internal/computeMetadata/v1/instance/guest-attributes/test/phase
"#;

struct Booted {
    cloud: LocalCloud,
    http: reqwest::Client,
}

impl Booted {
    async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        let request = self.http.request(method, format!("{}{path}", self.cloud.url())).json(&body);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert!(answer.get("error").is_none(), "{path}: {answer}");
        answer
    }

    /// Asks for a change and waits until the operation is done well.
    async fn change(&self, method: Method, path: &str, body: Value) {
        let mut operation = self.ask(method, path, body).await;
        while operation["status"] != "DONE" {
            let link = operation["selfLink"].as_str().unwrap();
            let wait = link.replace("https://www.googleapis.com", "") + "/wait";
            operation = self.ask(Method::POST, &wait, json!({})).await;
        }
        assert!(operation.get("error").is_none(), "{path}: {operation}");
    }

    async fn until(&self, key: &str, value: &str) {
        wait_until(&format!("the guest attribute {key} is {value}"), DEADLINE, async || {
            let found = self.cloud.compute().guest_attribute(NAME, "test", key);
            if found.as_deref() == Some(value) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_boots_with_its_startup_script_and_keeps_its_disk() {
    let engine = match Engine::find().await {
        Ok(engine) => engine,
        Err(why) => return eprintln!("SKIPPED an_instance_boots_with_its_startup_script: {why}"),
    };
    harness::client::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let image = NodeImage::ensure(&engine, folder.path()).await.unwrap();
    let run = Run::begin(folder.path()).unwrap();
    let machines = Arc::new(DockerMachines::new(engine.clone(), run.clone(), image));
    let cloud = LocalCloud::start_with(([0, 0, 0, 0], 0).into(), None, machines).await.unwrap();
    let booted = Booted { cloud, http: reqwest::Client::new() };

    // In a task of its own, so that what it made is removed whatever becomes of it.
    let here = tokio::task::LocalSet::new();
    let telling = here.spawn_local(async move { tell(&booted).await });
    let told = here.run_until(telling).await;
    reaper::reap(engine.docker(), run.id()).await.unwrap();
    told.unwrap();
}

async fn tell(booted: &Booted) {
    let network = json!({ "name": "net", "autoCreateSubnetworks": false });
    booted.change(Method::POST, "/compute/v1/projects/test/global/networks", network).await;
    // A range that no other run takes at the same time, as far as the process number goes.
    let third = std::process::id() % 250;
    let range = format!("10.214.{third}.0/24");
    let subnetwork = json!({ "name": "nodes", "network": "global/networks/net", "ipCidrRange": range });
    booted.change(Method::POST, "/compute/v1/projects/test/regions/us-central1/subnetworks", subnetwork).await;
    let disk = json!({ "name": "data", "sizeGb": "10" });
    booted.change(Method::POST, "/compute/v1/projects/test/zones/us-central1-a/disks", disk).await;
    let item = |key: &str, value: &str| json!({ "key": key, "value": value });
    let instance = json!({
        "name": "manager-1",
        "machineType": "zones/us-central1-a/machineTypes/e2-small",
        "disks": [
            { "boot": true, "autoDelete": true, "initializeParams": {
                "sourceImage": "projects/debian-cloud/global/images/family/debian-12",
            } },
            { "source": "zones/us-central1-a/disks/data", "deviceName": "data" },
        ],
        "networkInterfaces": [{ "subnetwork": "regions/us-central1/subnetworks/nodes" }],
        "metadata": { "items": [
            item("enable-guest-attributes", "TRUE"), item("startup-script", STARTUP), item("shutdown-script", SHUTDOWN),
        ] },
    });

    booted.change(Method::POST, INSTANCES, instance).await;
    booted.until("phase", "ready").await;
    booted.until("boots", "1").await;
    booted.change(Method::POST, &format!("{INSTANCES}/manager-1/stop"), json!({})).await;
    booted.until("phase", "gone").await;
    booted.change(Method::POST, &format!("{INSTANCES}/manager-1/start"), json!({})).await;
    booted.until("phase", "ready").await;
    booted.until("boots", "2").await;
    booted.cloud.compute().kill(NAME).await.unwrap();
    assert_eq!(booted.cloud.compute().instances(), [(NAME.to_owned(), "TERMINATED".to_owned())]);
    booted.change(Method::DELETE, &format!("{INSTANCES}/manager-1"), json!({})).await;
    booted.change(Method::DELETE, "/compute/v1/projects/test/zones/us-central1-a/disks/data", json!({})).await;
    let subnetwork = "/compute/v1/projects/test/regions/us-central1/subnetworks/nodes";
    booted.change(Method::DELETE, subnetwork, json!({})).await;
    assert_eq!(booted.cloud.compute().resources(), ["projects/test/global/networks/net"]);
}
