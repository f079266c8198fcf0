//! The stack of the laptop, made, changed and deleted on the local cloud over HTTP, as `cargo xtask provision` does it.

use std::collections::BTreeMap;
use std::sync::Arc;

use harness::cloud::LocalCloud;
use infra::cloud::Cloud as _;
use infra::engine::{Engine, Observer, Outcome, Report};
use infra::google::{GoogleCloud, GoogleStore};
use infra::plan::{Options, Plan};
use infra::resource::{Id, Resource};
use infra::stack::Stack;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

struct World {
    cloud: LocalCloud,
    text: String,
}

impl World {
    async fn start() -> Self {
        // A provider that another test installed is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let cloud = LocalCloud::start(([127, 0, 0, 1], 0).into(), None).await.unwrap();
        let text = include_str!("../../../infra/stacks/local.toml").replace("http://127.0.0.1:4443", cloud.url());
        Self { cloud, text }
    }

    fn stack(&self) -> Stack {
        Stack::parse("local.toml", &self.text).unwrap_or_else(|faults| panic!("{faults}"))
    }

    fn desired(&self) -> Vec<Resource> {
        infra::render::resources(&self.stack()).unwrap_or_else(|faults| panic!("{faults}"))
    }

    async fn engine(&self) -> Engine<GoogleCloud, GoogleStore> {
        let store = GoogleStore::new(&self.stack()).unwrap();
        store.prepare().await.unwrap();
        Engine::new("local", GoogleCloud::new(&self.stack()).unwrap(), store)
    }

    async fn plan(&self, options: &Options) -> Plan {
        self.engine().await.plan(&self.desired(), options).await.unwrap()
    }

    async fn apply(&self, options: &Options) -> Report {
        let engine = self.engine().await;
        let mut run = engine.begin("tester", "a test", false).await.unwrap();
        let plan = run.plan(&self.desired(), options).await.unwrap();
        assert_eq!(plan.problems, [], "{plan}");
        let quiet: Observer = Arc::new(|_| {});
        let report = run.apply(&plan, &quiet, &CancellationToken::new()).await.unwrap();
        run.end().await;
        report
    }

    async fn live(&self) -> BTreeMap<Id, bool> {
        let cloud = GoogleCloud::new(&self.stack()).unwrap();
        let mut live = BTreeMap::new();
        for resource in self.desired() {
            let there = cloud.read(&resource).await.unwrap().is_some();
            live.insert(resource.id, there);
        }
        live
    }

    async fn get(&self, path: &str) -> Value {
        reqwest::get(format!("{}{path}", self.cloud.url())).await.unwrap().json().await.unwrap()
    }
}

fn assert_complete(report: &Report) {
    let failed: Vec<_> = report.steps.iter().filter(|(.., outcome)| *outcome != Outcome::Applied).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_is_made_changed_and_deleted() {
    let mut world = World::start().await;
    let nothing = Options::default();

    assert_complete(&world.apply(&nothing).await);

    let again = world.plan(&nothing).await;
    assert!(again.is_empty(), "the second plan has something to do:\n{again}");
    assert_eq!(world.engine().await.drift().await.unwrap(), []);
    let missing: Vec<_> = world.live().await.into_iter().filter(|(_, there)| !there).collect();
    assert_eq!(missing, [], "everything is there");

    // Fewer workers, larger ones, and a wider door.
    world.text = world
        .text
        .replace(
            "[workers]\ncount = 3\nmachine_type = \"e2-medium\"",
            "[workers]\ncount = 2\nmachine_type = \"e2-standard-2\"",
        )
        .replace("callers_from = [\"10.77.0.0/24\"]", "callers_from = [\"10.77.0.0/24\", \"10.78.0.0/24\"]");
    let changed = world.plan(&nothing).await;
    insta::assert_snapshot!(changed);
    assert_complete(&world.apply(&nothing).await);
    let again = world.plan(&nothing).await;
    assert!(again.is_empty(), "the plan after the change has something to do:\n{again}");

    // What it knows is in the bucket, and nothing else of it.
    let objects = world.get("/storage/v1/b/moonswarm-local-local-state/o").await;
    let names: Vec<_> =
        objects["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["state.json"]);

    let everything = Options { destroy: true, delete_data: true, ..Options::default() };
    assert_complete(&world.apply(&everything).await);
    let left: Vec<_> = world.live().await.into_iter().filter(|(_, there)| *there).collect();
    assert_eq!(left, [], "nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_deleted_or_opened_by_hand_is_found_and_mended() {
    let world = World::start().await;
    let nothing = Options::default();
    assert_complete(&world.apply(&nothing).await);
    let http = reqwest::Client::new();
    let project = format!("{}/compute/v1/projects/moonswarm-local", world.cloud.url());
    let gone = http.delete(format!("{project}/zones/europe-west3-a/instances/local-worker-0")).send().await.unwrap();
    assert!(gone.status().is_success(), "{gone:?}");
    let open = serde_json::json!({ "sourceRanges": ["0.0.0.0/0"] });
    let open = http.patch(format!("{project}/global/firewalls/local-ssh")).json(&open).send().await.unwrap();
    assert!(open.status().is_success(), "{open:?}");

    // The cloud takes its time over both.
    let engine = world.engine().await;
    let expected = "firewall/local-ssh (dangerous)\n    from_ranges: [\"0.0.0.0/0\"] -> [\"35.235.240.0/20\"]\n\
                    instance/local-worker-0 (dangerous) is gone";
    let mut seen = String::new();
    let all = async {
        while seen != expected {
            let drift = engine.drift().await.unwrap();
            seen = drift.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let in_time = tokio::time::timeout(std::time::Duration::from_secs(60), all).await;
    assert!(in_time.is_ok(), "the drift that was seen last:\n{seen}");

    assert_complete(&world.apply(&nothing).await);
    assert_eq!(world.engine().await.drift().await.unwrap(), []);
}
