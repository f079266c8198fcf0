//! The control API: bad weather for programs that run beside the local cloud, not in it. Not a part of Google's.
//!
//! `GET /control/instances` lists instances with the places where they can be reached from this computer; `POST
//! /control/faults` takes one command, for example `{"operations": {"kind": "insert", "target": "/instances/", "times": 1,
//! "code": "QUOTA_EXCEEDED", "message": "no more"}}`. Only this computer may ask.

use std::time::Duration;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::metadata::Peer;
use super::{CallFault, FailWhen, Faults, OperationError, OperationFault, Services};

/// One change of the weather.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Command {
    /// Storage calls of every kind fail.
    Storage { status: u16, times: u64 },
    /// Calls of the other services fail.
    Calls {
        status: u16,
        #[serde(default)]
        method: Option<String>,
        path: String,
        times: u64,
        /// The call does its work, and its answer is lost.
        #[serde(default)]
        after: bool,
    },
    /// Operations of Compute Engine fail.
    Operations {
        #[serde(default)]
        kind: Option<String>,
        target: String,
        times: u64,
        code: String,
        message: String,
    },
    /// Operations last at least so long.
    OperationsLastMs(u64),
    /// Operations begin and do not go on.
    HoldOperations(bool),
    /// What projects may have of a metric.
    Quota { metric: String, limit: f64 },
    /// An instance's power is cut; its full name.
    KillInstance(String),
    /// Service accounts are held to their policies.
    Enforce(bool),
    /// Policies hold so long after they were set.
    PoliciesHoldAfterMs(u64),
    /// Pub/Sub is down.
    PubsubDown(bool),
    /// Notifications get lost.
    LoseNotifications(bool),
    /// All of this ends, except quotas and what policies are held to.
    Clear(bool),
}

/// Routes of the control API.
pub(super) fn router(services: Services, faults: Faults) -> Router {
    Router::new()
        .route("/control/instances", get(instances))
        .route("/control/faults", post(command).get(counts))
        .with_state((services, faults))
}

type Handles = State<(Services, Faults)>;

async fn instances(State((services, _)): Handles, Extension(Peer(peer)): Extension<Peer>) -> Response {
    if !peer.ip().is_loopback() {
        return refuse();
    }
    let told = services.compute.instances().into_iter().map(|(name, status)| {
        let doors = services.compute.doors(&name);
        json!({ "name": name, "status": status, "doors": doors })
    });
    Json(json!({ "instances": told.collect::<Vec<Value>>() })).into_response()
}

async fn counts(State((_, faults)): Handles, Extension(Peer(peer)): Extension<Peer>) -> Response {
    if !peer.ip().is_loopback() {
        return refuse();
    }
    let counts = faults.counts();
    Json(json!({
        "storage_failed": counts.storage_failed,
        "calls_failed": counts.calls_failed,
        "operations_failed": counts.operations_failed,
        "pubsub_refused": counts.pubsub_refused,
        "notifications_lost": counts.notifications_lost,
    }))
    .into_response()
}

async fn command(
    State((services, faults)): Handles,
    Extension(Peer(peer)): Extension<Peer>,
    body: axum::body::Bytes,
) -> Response {
    if !peer.ip().is_loopback() {
        return refuse();
    }
    let command = match serde_json::from_slice(&body) {
        Ok(command) => command,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    match command {
        Command::Storage { status, times } => faults.fail_next_storage(times, status),
        Command::Calls { status, method, path, times, after } => {
            let when = if after { FailWhen::After } else { FailWhen::Before };
            faults.fail_calls(CallFault { status, method, path, times, when });
        }
        Command::Operations { kind, target, times, code, message } => {
            faults.fail_operations(OperationFault { kind, target, times, error: OperationError { code, message } });
        }
        Command::OperationsLastMs(milliseconds) => faults.operations_last(Duration::from_millis(milliseconds)),
        Command::HoldOperations(on) => faults.hold_operations(on),
        Command::Quota { metric, limit } => services.compute.set_quota(&metric, limit),
        Command::KillInstance(name) => {
            if let Err(why) = services.compute.kill(&name).await {
                return (StatusCode::NOT_FOUND, format!("{why}\n")).into_response();
            }
        }
        Command::Enforce(on) => services.iam.enforce(on),
        Command::PoliciesHoldAfterMs(milliseconds) => {
            services.iam.policies_hold_after(Duration::from_millis(milliseconds));
        }
        Command::PubsubDown(on) => faults.pubsub_unavailable(on),
        Command::LoseNotifications(on) => faults.lose_all_notifications(on),
        Command::Clear(true) => faults.clear(),
        Command::Clear(false) => {}
    }
    StatusCode::NO_CONTENT.into_response()
}

fn refuse() -> Response {
    (StatusCode::FORBIDDEN, "The control API answers this computer only.\n").into_response()
}
