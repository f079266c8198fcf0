//! `/v1/executors`.

use axum::Json;
use axum::extract::State;
use contract::api::ExecutorList;

use super::Api;

/// `GET /v1/executors`, by node, then id.
pub(super) async fn list(State(api): State<Api>) -> Json<ExecutorList> {
    let release = api.context.now().map_or(0, |current| current.release.number());
    Json(ExecutorList { release, executors: api.context.registry.executors() })
}
