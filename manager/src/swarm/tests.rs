//! The order of questions, against an engine in this process: what it is asked, what it holds, what comes back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use contract::bundle::Sources;
use contract::release::{Entry, Scripts, SignedRelease, SigningKey, Statement};
use serde_json::json;

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

/// What the engine does after the next update of the service.
#[derive(Clone)]
enum Fate {
    /// Another writer was faster.
    OutOfSequence,
    /// The update is taken, its answer is lost.
    AnswerLost,
    /// The update is refused for good.
    Refused,
    /// The update is taken and ends in this state after a few looks.
    Ends(&'static str),
    /// The update is taken and nothing happens.
    Stays,
}

/// As much of a Docker engine that manages a Swarm as rolling activation asks for.
struct FakeEngine {
    services: Vec<Value>,
    configs: Vec<Value>,
    fates: VecDeque<Fate>,
    /// Looks at the service until its update ends, and how it ends.
    ending: Option<(u32, &'static str)>,
    index: u64,
    asked: Vec<String>,
}

type Shared = Arc<Mutex<FakeEngine>>;

impl FakeEngine {
    fn answer(&mut self, method: &Method, uri: &Uri, body: &[u8]) -> (StatusCode, Value) {
        let path = uri.path();
        if path == "/version" {
            return (StatusCode::OK, json!({ "ApiVersion": "1.41" }));
        }
        self.asked.push(format!("{method} {path}"));
        let path = path.strip_prefix("/v1.41").expect("asked under the engine's version");
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (method.as_str(), parts.as_slice()) {
            ("GET", ["services"]) => (StatusCode::OK, json!(self.services)),
            ("GET", ["services", _]) => {
                self.tick();
                (StatusCode::OK, self.services[0].clone())
            }
            ("POST", ["services", _, "update"]) => self.update(uri, body),
            ("GET", ["tasks"]) => (StatusCode::OK, self.tasks()),
            ("GET", ["configs"]) => (StatusCode::OK, json!(self.configs)),
            ("POST", ["configs", "create"]) => self.create(body),
            ("GET", ["configs", name]) => {
                let found = self.configs.iter().find(|config| config["Spec"]["Name"] == *name);
                found.map_or((StatusCode::NOT_FOUND, json!({})), |config| (StatusCode::OK, config.clone()))
            }
            ("DELETE", ["configs", id]) => {
                self.configs.retain(|config| config["ID"] != *id);
                (StatusCode::NO_CONTENT, Value::Null)
            }
            _ => (StatusCode::NOT_FOUND, json!({ "message": "page not found" })),
        }
    }

    fn create(&mut self, spec: Value) -> (StatusCode, Value) {
        if self.configs.iter().any(|config| config["Spec"]["Name"] == spec["Name"]) {
            return (StatusCode::CONFLICT, json!({ "message": "rpc error: code = AlreadyExists" }));
        }
        self.index += 1;
        let id = format!("c{}", self.index);
        self.configs.push(json!({ "ID": id, "Version": { "Index": self.index }, "Spec": spec }));
        (StatusCode::CREATED, json!({ "ID": id }))
    }

    fn update(&mut self, uri: &Uri, spec: Value) -> (StatusCode, Value) {
        let version = self.services[0]["Version"]["Index"].to_string();
        assert_eq!(uri.query(), Some(format!("version={version}").as_str()), "updates the version it has seen");
        let fate = self.fates.pop_front().expect("no further update is sent");
        match fate {
            Fate::OutOfSequence => {
                self.index += 1;
                self.services[0]["Version"]["Index"] = json!(self.index);
                self.services[0]["Spec"]["TaskTemplate"]["ForceUpdate"] = json!(self.index);
                let message = "rpc error: code = Unknown desc = update out of sequence";
                return (StatusCode::INTERNAL_SERVER_ERROR, json!({ "message": message }));
            }
            Fate::Refused => return (StatusCode::BAD_REQUEST, json!({ "message": "invalid mount config" })),
            Fate::AnswerLost | Fate::Stays => self.ending = None,
            Fate::Ends(state) => self.ending = Some((2, state)),
        }
        self.index += 1;
        let service = &mut self.services[0];
        service["PreviousSpec"] = service["Spec"].take();
        service["Spec"] = spec;
        service["Version"]["Index"] = json!(self.index);
        service["UpdateStatus"] = status("updating", self.index);
        if matches!(fate, Fate::AnswerLost) {
            self.ending = Some((2, "completed"));
            return (StatusCode::BAD_GATEWAY, Value::Null);
        }
        (StatusCode::OK, json!({ "Warnings": null }))
    }

    /// Lets time pass in the Swarm.
    fn tick(&mut self) {
        let Some((looks, state)) = self.ending else { return };
        self.ending = Some((looks.saturating_sub(1), state));
        if looks == 0 {
            self.ending = None;
            let service = &mut self.services[0];
            service["UpdateStatus"] = status(state, self.index);
            if state.starts_with("rollback") {
                service["Spec"] = service["PreviousSpec"].take();
            }
        }
    }

    fn tasks(&self) -> Value {
        let service = &self.services[0];
        let is_failing = matches!(self.ending, Some((_, state)) if state.starts_with("rollback"));
        let (state, err) = if is_failing { ("failed", "task: non-zero exit (1)") } else { ("running", "") };
        json!([{
            "ID": "t1",
            "Spec": service["Spec"]["TaskTemplate"],
            "DesiredState": "running",
            "Status": { "State": state, "Err": err },
        }])
    }
}

fn status(state: &str, index: u64) -> Value {
    json!({ "State": state, "StartedAt": format!("update {index}"), "Message": format!("update {state}") })
}

fn service(name: &str, stack: &str) -> Value {
    json!({
        "ID": "s1",
        "Version": { "Index": 5 },
        "Spec": {
            "Name": name,
            "Labels": { "moonswarm.role": "executor", "moonswarm.stack": stack },
            "Mode": { "Replicated": { "Replicas": 1 } },
            "TaskTemplate": { "ContainerSpec": { "Image": "executor:1", "Configs": [
                { "ConfigID": "keys", "ConfigName": "keys", "File": { "Name": "/run/keys.pub" } },
            ] } },
            "UpdateConfig": { "Order": "start-first", "FailureAction": "rollback" },
        },
        "UpdateStatus": status("completed", 1),
        "ServiceStatus": { "RunningTasks": 1, "DesiredTasks": 1 },
    })
}

/// A Swarm of stack `dev`, and the engine behind it.
async fn swarm(services: Vec<Value>, fates: &[Fate]) -> (Swarm, Shared) {
    swarm_named(None, services, fates).await
}

async fn swarm_named(name: Option<&str>, services: Vec<Value>, fates: &[Fate]) -> (Swarm, Shared) {
    let engine = FakeEngine {
        services,
        configs: Vec::new(),
        fates: fates.to_vec().into(),
        ending: None,
        index: 5,
        asked: Vec::new(),
    };
    let engine: Shared = Arc::new(Mutex::new(engine));
    let shared = engine.clone();
    let router = Router::new().fallback(move |method: Method, uri: Uri, body: Bytes| async move {
        let (status, answer) = shared.lock().unwrap().answer(&method, &uri, &body);
        if status == StatusCode::NO_CONTENT {
            return status.into_response();
        }
        (status, answer.to_string()).into_response() as Response
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router.layer(axum::extract::DefaultBodyLimit::disable())).await });
    (Swarm::connect(&address, name, "dev").unwrap(), engine)
}

fn bundle(source: &str) -> Bundle {
    let version = contract::Version::of(source.as_bytes());
    let entry = Entry {
        version: version.clone(),
        generation: 1,
        object: String::new(),
        size: u32::try_from(source.len()).unwrap(),
        pushed_at_ms: 0,
        pushed_by: String::new(),
    };
    let mut scripts = Scripts::new();
    contract::release::set(&mut scripts, "acme".parse().unwrap(), "risk".parse().unwrap(), entry);
    let statement =
        Statement { stack: "dev".into(), number: 7, digest: String::new(), created_at_ms: 0, reason: String::new() };
    let key = SigningKey::parse(&SigningKey::generate()).unwrap();
    let sources: Sources = [(version, source.as_bytes().to_vec())].into_iter().collect();
    Bundle { release: SignedRelease::sign(statement, scripts, &key), sources }
}

fn updates(engine: &Shared) -> usize {
    engine.lock().unwrap().asked.iter().filter(|asked| asked.ends_with("/update")).count()
}

#[tokio::test]
async fn a_release_is_rolled_to_the_end() {
    let (swarm, engine) = swarm(vec![service("executor", "dev")], &[Fate::Ends("completed")]).await;
    let bundle = bundle("return 1");

    let rolled = swarm.roll(&bundle, 7, DEADLINE).await.unwrap();

    assert_eq!((rolled.service.as_str(), rolled.updated, rolled.tasks), ("executor", true, 1));
    assert_eq!(rolled.warnings, Vec::<String>::new());
    let engine = engine.lock().unwrap();
    let config = &engine.configs[0];
    assert_eq!(config["Spec"]["Name"], rolled.config);
    assert_eq!(config["Spec"]["Labels"], json!({ "moonswarm.stack": "dev", "moonswarm.release": "7" }));
    let text = data_encoding::BASE64.decode(config["Spec"]["Data"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(Bundle::decode(&text).unwrap(), bundle);
    let spec = &engine.services[0]["Spec"];
    assert_eq!(spec::config_ids(spec).collect::<Vec<_>>(), ["keys", config["ID"].as_str().unwrap()]);
}

#[tokio::test]
async fn the_same_release_again_sends_no_update() {
    let (swarm, engine) = swarm(vec![service("executor", "dev")], &[Fate::Ends("completed")]).await;
    let bundle = bundle("return 1");
    swarm.roll(&bundle, 7, DEADLINE).await.unwrap();

    let rolled = swarm.roll(&bundle, 7, DEADLINE).await.unwrap();

    assert!(!rolled.updated);
    assert_eq!(updates(&engine), 1);
    assert_eq!(engine.lock().unwrap().configs.len(), 1);
}

#[tokio::test]
async fn an_update_out_of_sequence_is_made_again_on_the_newer_spec() {
    let fates = [Fate::OutOfSequence, Fate::OutOfSequence, Fate::Ends("completed")];
    let (swarm, engine) = swarm(vec![service("executor", "dev")], &fates).await;

    let rolled = swarm.roll(&bundle("return 1"), 7, DEADLINE).await.unwrap();

    assert!(rolled.updated);
    assert_eq!(updates(&engine), 3);
    let engine = engine.lock().unwrap();
    let others_change = &engine.services[0]["Spec"]["TaskTemplate"]["ForceUpdate"];
    assert!(others_change.is_u64(), "what another writer changed is kept: {others_change}");
}

#[tokio::test]
async fn an_update_whose_answer_is_lost_is_sent_once() {
    let (swarm, engine) = swarm(vec![service("executor", "dev")], &[Fate::AnswerLost]).await;

    let rolled = swarm.roll(&bundle("return 1"), 7, DEADLINE).await.unwrap();

    assert!(rolled.updated);
    assert_eq!(updates(&engine), 1);
}

#[tokio::test]
async fn endless_conflicts_end_and_leave_no_config() {
    let fates = vec![Fate::OutOfSequence; UPDATE_ATTEMPTS as usize];
    let (swarm, engine) = swarm(vec![service("executor", "dev")], &fates).await;

    let err = swarm.roll(&bundle("return 1"), 7, DEADLINE).await.unwrap_err();

    insta::assert_snapshot!(
        err,
        @"service `executor` could not be updated in 12 attempts; activate again"
    );
    assert_eq!(engine.lock().unwrap().configs, Vec::<Value>::new());
}

#[tokio::test]
async fn a_refused_update_leaves_no_config_unless_it_was_there_before() {
    let fates = [Fate::Refused, Fate::Refused];
    let (swarm, engine) = swarm(vec![service("executor", "dev")], &fates).await;
    let bundle = bundle("return 1");

    let err = swarm.roll(&bundle, 7, DEADLINE).await.unwrap_err();
    assert!(matches!(err, SwarmError::Engine(EngineError::Refused { status: 400, .. })), "{err}");
    assert_eq!(engine.lock().unwrap().configs, Vec::<Value>::new());

    let text = bundle.encode().unwrap();
    let there = configs::new_config(&configs::name_of("dev", &text), "dev", 7, &text);
    engine.lock().unwrap().create(there);
    swarm.roll(&bundle, 7, DEADLINE).await.unwrap_err();
    assert_eq!(engine.lock().unwrap().configs.len(), 1);
}

#[tokio::test]
async fn a_rollback_by_swarm_is_told_with_the_tasks_reasons() {
    let (swarm, _engine) = swarm(vec![service("executor", "dev")], &[Fate::Ends("rollback_completed")]).await;

    let err = swarm.roll(&bundle("return 1"), 7, DEADLINE).await.unwrap_err();

    assert!(matches!(err, SwarmError::RolledBack { .. }), "{err:?}");
    insta::assert_snapshot!(
        err,
        @"Swarm took the update back: update rollback_completed; 1 task with `task: non-zero exit (1)`"
    );
}

#[tokio::test]
async fn a_paused_update_says_that_two_releases_answer() {
    let mut pausing = service("executor", "dev");
    pausing["Spec"]["UpdateConfig"]["FailureAction"] = json!("pause");
    let (swarm, _engine) = swarm(vec![pausing], &[Fate::Ends("paused")]).await;

    let err = swarm.roll(&bundle("return 1"), 7, DEADLINE).await.unwrap_err();

    insta::assert_snapshot!(
        err,
        @"Swarm paused the update of `executor`, so two releases answer: update paused; go back with `docker service rollback executor`"
    );
}

#[tokio::test]
async fn an_update_that_does_not_end_is_left_at_the_deadline() {
    let (swarm, _engine) = swarm(vec![service("executor", "dev")], &[Fate::Stays]).await;

    let err = swarm.roll(&bundle("return 1"), 7, Duration::from_millis(300)).await.unwrap_err();

    insta::assert_snapshot!(
        err,
        @"the update of `executor` was not done within 300ms, Swarm goes on with it; seen last: 1 of 1 tasks run with it"
    );
}

#[tokio::test]
async fn a_release_too_large_for_a_config_is_refused_before_anything_is_asked() {
    let (swarm, engine) = swarm(vec![service("executor", "dev")], &[]).await;

    let err = swarm.roll(&bundle(&"x".repeat(1_024_000)), 7, DEADLINE).await.unwrap_err();

    assert!(matches!(err, SwarmError::Config(ConfigError::TooLarge { release: 7, .. })), "{err:?}");
    assert_eq!(engine.lock().unwrap().asked, Vec::<String>::new());
}

#[tokio::test]
async fn a_release_just_within_a_config_is_rolled() {
    let (swarm, _engine) = swarm(vec![service("executor", "dev")], &[Fate::Ends("completed")]).await;
    let bundle = bundle(&"x".repeat(configs::CONFIG_BYTES_END - 1000));

    assert!(swarm.roll(&bundle, 7, DEADLINE).await.unwrap().updated);
}

#[tokio::test]
async fn a_service_that_would_never_converge_is_left_alone() {
    let mut stuck = service("executor", "dev");
    stuck["Spec"]["EndpointSpec"] = json!({ "Ports": [{ "PublishMode": "host", "PublishedPort": 7701 }] });
    let (swarm, engine) = swarm(vec![stuck], &[]).await;

    let err = swarm.roll(&bundle("return 1"), 7, DEADLINE).await.unwrap_err();

    assert!(matches!(err, SwarmError::Unfit(UnfitService::PortHeldByOldTask { port: 7701, .. })), "{err:?}");
    assert_eq!(engine.lock().unwrap().asked, ["GET /v1.41/services"]);
}

#[tokio::test]
async fn a_config_of_our_name_with_another_text_is_not_used() {
    let (swarm, engine) = swarm(vec![service("executor", "dev")], &[]).await;
    let bundle = bundle("return 1");
    let name = configs::name_of("dev", &bundle.encode().unwrap());
    engine.lock().unwrap().create(configs::new_config(&name, "dev", 1, b"something else"));

    let err = swarm.roll(&bundle, 7, DEADLINE).await.unwrap_err();

    assert!(matches!(&err, SwarmError::Clash(clash) if *clash == name), "{err:?}");
}

#[tokio::test]
async fn the_service_is_found_by_its_labels_and_others_are_listed() {
    let (found, _engine) = swarm(vec![service("executor", "dev"), service("executor-prod", "prod")], &[]).await;
    insta::assert_snapshot!(
        found.health().await.detail,
        @"service `executor`, 1 tasks wanted, 1 running, last update: update completed"
    );

    let (several, _engine) = swarm(vec![service("a", "dev"), service("b", "dev"), service("c", "prod")], &[]).await;
    insta::assert_snapshot!(
        several.service(Instant::now() + DEADLINE).await.unwrap_err(),
        @"2 services are labelled `moonswarm.role=executor` and `moonswarm.stack=dev`, not one; labelled as executors are: `a` (stack `dev`), `b` (stack `dev`), `c` (stack `prod`); label the service of the executors, or give its name"
    );

    let (nothing, _engine) = swarm(vec![], &[]).await;
    let health = nothing.health().await;
    assert!(!health.ok);
    insta::assert_snapshot!(
        health.detail,
        @"0 services are labelled `moonswarm.role=executor` and `moonswarm.stack=dev`, not one; labelled as executors are: none; label the service of the executors, or give its name"
    );
}

#[tokio::test]
async fn the_service_is_found_by_its_whole_name() {
    let services = vec![service("executor-canary", "dev"), service("executor", "prod")];

    let (named, _engine) = swarm_named(Some("executor"), services.clone(), &[]).await;
    assert!(named.health().await.ok);

    let (named, _engine) = swarm_named(Some("exec"), services, &[]).await;
    insta::assert_snapshot!(
        named.health().await.detail,
        @"Docker has no service `exec`; deploy the executors, or give the name of their service"
    );
}

#[tokio::test]
async fn an_engine_that_is_away_is_unhealthy_and_named() {
    let swarm = Swarm::connect("unix:///nowhere/docker.sock", None, "dev").unwrap();

    let health = swarm.health().await;

    assert!(!health.ok);
    insta::assert_snapshot!(
        health.detail,
        @"connect to the Docker engine at `unix:///nowhere/docker.sock`: No such file or directory (os error 2)"
    );
}

#[tokio::test]
async fn configs_that_nobody_needs_are_collected() {
    let releases = 6;
    let fates = vec![Fate::Ends("completed"); releases];
    let (swarm, engine) = swarm(vec![service("executor", "dev")], &fates).await;
    engine.lock().unwrap().configs.push(json!({ "ID": "keys", "Spec": { "Name": "keys", "Labels": null } }));
    let mut rolled = Vec::new();
    for release in 1..=releases {
        let bundle = bundle(&format!("return {release}"));
        rolled.push(swarm.roll(&bundle, release as u64, DEADLINE).await.unwrap().config);
    }

    let removed = swarm.collect_configs().await.unwrap();

    assert_eq!(removed, 3);
    let engine = engine.lock().unwrap();
    let left: Vec<_> = engine.configs.iter().map(|config| config["Spec"]["Name"].as_str().unwrap()).collect();
    assert_eq!(left, ["keys", &rolled[3], &rolled[4], &rolled[5]]);
}
