//! `/v1/status`, `/livez`, `/readyz`, `/metrics`.

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use contract::api::{Health, Status};
use contract::{Code, Problem};

use super::Api;
use super::error::{ApiError, not_ready};
use super::scripts::scripts;
use crate::context::Context;

/// `GET /v1/status`.
pub(super) async fn status(State(api): State<Api>) -> Json<Status> {
    let context = &api.context;
    let current = context.now();
    let release = current.as_ref().map_or(0, |current| current.release.number());
    let counts = current.as_ref().map_or((0, 0), |current| {
        let scripts = current.release.scripts();
        (contract::release::count(scripts), scripts.len())
    });
    let mut refused = current.as_ref().map_or_else(Vec::new, |current| scripts(context, &current.release));
    refused.retain(|info| info.refused.is_some());
    let executors = context.registry.executors();
    let connected = executors.iter().filter(|executor| executor.connected);
    let swarm = match &context.rolling {
        Some(rolling) => rolling.health().await,
        None => Health { ok: false, detail: "not configured (--docker)".to_owned() },
    };
    Json(Status {
        stack: context.stack.clone(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        release,
        scripts: number(counts.0),
        tenants: number(counts.1),
        executors: number(connected.clone().count()),
        executors_current: number(connected.filter(|executor| executor.release >= release).count()),
        bucket: bucket(context),
        notifications: context.notification_health.health(),
        swarm,
        refused,
    })
}

/// How the bucket is, and what it lost.
fn bucket(context: &Context) -> Health {
    let mut health = context.bucket_health.health();
    let missing = context.now().map_or_else(Vec::new, |current| current.release.missing());
    if let Some((tenant, script)) = missing.first() {
        health.ok = false;
        let count = missing.len();
        health.detail = format!(
            "{}; the sources of {count} running scripts are lost, for example `{tenant}/{script}`: push them again, new executors can't get them",
            health.detail
        );
    }
    health
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// `GET /livez`: the program answers.
pub(super) async fn live() -> &'static str {
    "live\n"
}

/// `GET /readyz`: the pointer was read, and the manager does not stop.
pub(super) async fn ready(State(api): State<Api>) -> Result<&'static str, ApiError> {
    if api.stopping.is_cancelled() {
        return Err(Problem::new(Code::NotReady, "this manager stops").into());
    }
    match api.context.now() {
        Some(_) => Ok("ready\n"),
        None => Err(not_ready(&api.context)),
    }
}

/// `GET /metrics`, in OpenMetrics text.
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    let metrics = &api.context.metrics;
    let connected = api.context.registry.executors().iter().filter(|executor| executor.connected).count();
    metrics.executors.set(i64::try_from(connected).unwrap_or(i64::MAX));
    ([(CONTENT_TYPE, telemetry::METRICS_MEDIA_TYPE)], metrics.render()).into_response()
}
