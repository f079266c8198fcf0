//! An engine that manages a Swarm of one node, as far as a deployment asks it: services whose tasks run at once, or
//! otherwise, as a fault has it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, post};
use deploy::{Cluster, Node, Product};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

/// What goes wrong.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// Updates that are refused because somebody was faster.
    pub(crate) out_of_sequence: usize,
    /// Images whose tasks no node takes.
    pub(crate) pending: Option<String>,
    /// Images that Swarm takes back.
    pub(crate) rolled_back: Option<String>,
    /// Images whose programs say that they are not ready.
    pub(crate) unready: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) faults: Faults,
    pub(crate) services: BTreeMap<String, Value>,
    pub(crate) configs: BTreeMap<String, Value>,
    pub(crate) secrets: BTreeMap<String, Value>,
    pub(crate) images: Vec<String>,
    /// Times that a service was made or changed.
    pub(crate) changes: Vec<String>,
    /// Commands that ran in containers.
    pub(crate) commands: Vec<String>,
    next: u64,
}

type Shared = Arc<Mutex<World>>;

pub(crate) struct Engine {
    world: Shared,
    folder: TempDir,
    server: JoinHandle<()>,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Engine {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = Shared::default();
        let routes = Router::new()
            .route("/info", get(info))
            .route("/nodes", get(nodes))
            .route("/services", get(services))
            .route("/services/create", post(create_service))
            .route("/services/{id}", get(service))
            .route("/services/{id}/update", post(update_service))
            .route("/tasks", get(tasks))
            .route("/{kind}", get(list))
            .route("/{kind}/create", post(create))
            .route("/{kind}/{id}", get(one).delete(remove))
            .route("/images/load", post(load))
            .route("/images/json", get(|| async { axum::Json(json!([])) }))
            .route("/images/localhost/{name}/json", get(image))
            .route("/images/localhost/{name}", delete(|| async { axum::Json(json!([])) }))
            .route("/containers/{id}/exec", post(exec))
            .route("/exec/{id}/start", post(|| async { "said so" }))
            .route("/exec/{id}/json", get(exec_state));
        let app = Router::new()
            .route("/version", get(|| async { axum::Json(json!({ "ApiVersion": "1.41" })) }))
            .nest("/v1.41", routes)
            .fallback(any(|| async { (StatusCode::NOT_IMPLEMENTED, "{\"message\":\"not in this engine\"}") }))
            .with_state(world.clone());
        let listener = UnixListener::bind(folder.path().join("docker.sock")).unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { world, folder, server }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    pub(crate) fn node(&self) -> Node {
        format!("n1=unix://{},manager,10.0.0.1", self.socket().display()).parse().unwrap()
    }

    pub(crate) async fn cluster(&self) -> Cluster {
        Cluster::connect(&[self.node()]).await.unwrap()
    }
}

/// A product of one stack; `version` is the tag of its executors.
pub(crate) fn product(version: &str) -> Product {
    let settings = json!({
        "bucket": "rules", "subscription": "projects/p/subscriptions/s", "deadline": "20s",
        "executor": { "replicas": 2 },
    });
    Product {
        stack: "blue".into(),
        settings: serde_json::from_value(settings).unwrap(),
        secrets: deploy::Secrets {
            signing_key: b"key".to_vec(),
            public_keys: b"pub".to_vec(),
            api_token: b"api".to_vec(),
            feed_token: b"feed".to_vec(),
            caller_token: b"caller".to_vec(),
        },
        manager_image: "localhost/moonswarm-manager:1".into(),
        executor_image: format!("localhost/moonswarm-executor:{version}"),
        revision: version.into(),
    }
}

type Query1 = Query<BTreeMap<String, String>>;

fn refused(status: u16, message: &str) -> Response {
    (StatusCode::from_u16(status).unwrap(), axum::Json(json!({ "message": message }))).into_response()
}

async fn info() -> axum::Json<Value> {
    axum::Json(json!({
        "OSType": "linux", "Architecture": std::env::consts::ARCH, "SystemTime": "2026-01-01T01:00:00Z",
        "Swarm": { "NodeID": "node1", "LocalNodeState": "active", "ControlAvailable": true },
    }))
}

async fn nodes() -> axum::Json<Value> {
    axum::Json(json!([{
        "ID": "node1", "Version": { "Index": 1 }, "Spec": { "Role": "manager", "Availability": "active" },
        "Description": { "Hostname": "n1" }, "Status": { "State": "ready" },
        "ManagerStatus": { "Reachability": "reachable", "Leader": true },
    }]))
}

async fn services(State(world): State<Shared>) -> axum::Json<Value> {
    axum::Json(world.lock().unwrap().services.values().cloned().collect())
}

async fn service(State(world): State<Shared>, Path(id): Path<String>) -> Response {
    let world = world.lock().unwrap();
    let found = world.services.values().find(|it| it["ID"] == id || it["Spec"]["Name"] == id);
    found.map_or_else(|| refused(404, "no such service"), |found| axum::Json(found.clone()).into_response())
}

async fn create_service(State(world): State<Shared>, body: Bytes) -> Response {
    let spec: Value = serde_json::from_slice(&body).unwrap();
    let mut world = world.lock().unwrap();
    world.next += 1;
    let (name, id) = (spec["Name"].as_str().unwrap().to_owned(), format!("service{}", world.next));
    world.changes.push(format!("create {name}"));
    world.services.insert(id.clone(), json!({ "ID": id, "Version": { "Index": 1 }, "Spec": spec }));
    (StatusCode::CREATED, axum::Json(json!({ "ID": id }))).into_response()
}

async fn update_service(State(world): State<Shared>, Path(id): Path<String>, query: Query1, body: Bytes) -> Response {
    let spec: Value = serde_json::from_slice(&body).unwrap();
    let mut world = world.lock().unwrap();
    let faults = world.faults.clone();
    let found = world.services.get_mut(&id).unwrap();
    let index = found["Version"]["Index"].as_u64().unwrap();
    if query["version"] != index.to_string() || faults.out_of_sequence > 0 {
        world.faults.out_of_sequence = faults.out_of_sequence.saturating_sub(1);
        return refused(500, "rpc error: code = Unknown desc = update out of sequence");
    }
    let is = |fault: &Option<String>| fault.as_deref() == spec["TaskTemplate"]["ContainerSpec"]["Image"].as_str();
    let (state, live) = if is(&faults.rolled_back) {
        ("rollback_completed", found["Spec"].clone())
    } else {
        (if is(&faults.pending) { "updating" } else { "completed" }, spec.clone())
    };
    let name = spec["Name"].as_str().unwrap();
    let entry = format!("update {name}");
    let before = found["Spec"].clone();
    *found = json!({
        "ID": id, "Version": { "Index": index + 1 }, "Spec": live, "PreviousSpec": before,
        "UpdateStatus": { "State": state, "StartedAt": format!("t{index}"), "Message": "so it went" },
    });
    world.changes.push(entry);
    axum::Json(json!({})).into_response()
}

async fn tasks(State(world): State<Shared>, query: Query1) -> axum::Json<Value> {
    let filters: Value = serde_json::from_str(&query["filters"]).unwrap();
    let world = world.lock().unwrap();
    let Some(found) = world.services.get(filters["service"][0].as_str().unwrap()) else { return axum::Json(json!([])) };
    let template = &found["Spec"]["TaskTemplate"];
    let image = template["ContainerSpec"]["Image"].as_str();
    let waits = world.faults.pending.as_deref() == image;
    let replicas = found["Spec"]["Mode"]["Replicated"]["Replicas"].as_u64().unwrap();
    let task = |slot: u64| {
        json!({
            "ID": format!("{}-{slot}", found["ID"]), "Slot": slot, "NodeID": "node1", "DesiredState": "running", "Spec": template,
            "Status": {
                "State": if waits { "pending" } else { "running" }, "Err": if waits { "no suitable node" } else { "" },
                "ContainerStatus": { "ContainerID": image.unwrap().replace(['/', ':'], "-") },
            },
        })
    };
    axum::Json((1..=replicas).map(task).collect())
}

fn shelf<'w>(world: &'w mut World, kind: &str) -> &'w mut BTreeMap<String, Value> {
    if kind == "secrets" { &mut world.secrets } else { &mut world.configs }
}

async fn list(State(world): State<Shared>, Path(kind): Path<String>, query: Query1) -> axum::Json<Value> {
    let filters: Value = query.get("filters").map_or(json!({}), |text| serde_json::from_str(text).unwrap());
    let mut world = world.lock().unwrap();
    let has = |it: &Value, label: &str| match label.split_once('=') {
        Some((name, value)) => it["Spec"]["Labels"][name] == value,
        None => it["Spec"]["Labels"].get(label).is_some(),
    };
    let labels: Vec<String> = serde_json::from_value(filters.get("label").cloned().unwrap_or(json!([]))).unwrap();
    let all = shelf(&mut world, &kind).values();
    axum::Json(all.filter(|it| labels.iter().all(|label| has(it, label))).cloned().collect())
}

async fn create(State(world): State<Shared>, Path(kind): Path<String>, body: Bytes) -> Response {
    let spec: Value = serde_json::from_slice(&body).unwrap();
    let mut world = world.lock().unwrap();
    world.next += 1;
    let id = format!("{kind}{}", world.next);
    let shelf = shelf(&mut world, &kind);
    if shelf.values().any(|it| it["Spec"]["Name"] == spec["Name"]) {
        return refused(409, "name conflicts with an existing object");
    }
    let time = "2026-01-01T00:59:50Z";
    let made = json!({ "ID": id, "Version": { "Index": 1 }, "CreatedAt": time, "UpdatedAt": time, "Spec": spec });
    shelf.insert(id.clone(), made);
    (StatusCode::CREATED, axum::Json(json!({ "ID": id }))).into_response()
}

async fn one(State(world): State<Shared>, Path((kind, id)): Path<(String, String)>) -> Response {
    let mut world = world.lock().unwrap();
    let found = shelf(&mut world, &kind).values().find(|it| it["ID"] == id || it["Spec"]["Name"] == id).cloned();
    found.map_or_else(|| refused(404, "not found"), |found| axum::Json(found).into_response())
}

async fn remove(State(world): State<Shared>, Path((kind, id)): Path<(String, String)>) -> Response {
    let removed = shelf(&mut world.lock().unwrap(), &kind).remove(&id);
    removed.map_or_else(|| refused(404, "not found"), |_| StatusCode::NO_CONTENT.into_response())
}

async fn load(State(world): State<Shared>, body: Bytes) -> &'static str {
    let text = String::from_utf8_lossy(&body);
    let tag = text.split("\"RepoTags\":[\"").nth(1).and_then(|rest| rest.split('"').next());
    world.lock().unwrap().images.extend(tag.map(str::to_owned));
    "{\"stream\":\"Loaded image\"}"
}

async fn image(State(world): State<Shared>, Path(name): Path<String>) -> Response {
    let known = world.lock().unwrap().images.contains(&format!("localhost/{name}"));
    if known { axum::Json(json!({})).into_response() } else { refused(404, "no such image") }
}

async fn exec(State(world): State<Shared>, Path(container): Path<String>, body: Bytes) -> axum::Json<Value> {
    let made: Value = serde_json::from_slice(&body).unwrap();
    let words: Vec<String> = serde_json::from_value(made["Cmd"].clone()).unwrap();
    world.lock().unwrap().commands.push(words.join(" "));
    axum::Json(json!({ "Id": container }))
}

async fn exec_state(State(world): State<Shared>, Path(container): Path<String>) -> axum::Json<Value> {
    let unready = world.lock().unwrap().faults.unready.as_deref().map(|image| image.replace(['/', ':'], "-"));
    axum::Json(json!({ "ExitCode": i32::from(unready == Some(container)) }))
}
