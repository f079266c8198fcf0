//! The manager's HTTP face. Handlers translate: from HTTP to a call on the context, from its result to a body of
//! `contract::api` or to a problem. Nothing is decided here.

mod auth;
pub mod error;
mod executors;
mod input;
mod policy;
mod releases;
mod rollback;
mod scripts;
mod status;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, Uri};
use axum::middleware;
use axum::routing::get;
use contract::{Code, Problem, Token};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::error::ApiError;
use crate::context::Context;

/// Changes that are carried out at the same time; each may hold a source in memory.
const CHANGES_MAX: usize = 64;
/// For a body to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// What handlers share.
#[derive(Clone)]
pub struct Api {
    context: Arc<Context>,
    token: Option<Token>,
    changes: Arc<Semaphore>,
    stopping: CancellationToken,
}

impl Api {
    /// The API over `context`, for whoever shows `token`. `stopping` makes the manager unready.
    pub fn new(context: Arc<Context>, token: Option<Token>, stopping: CancellationToken) -> Self {
        Self { context, token, changes: Arc::new(Semaphore::new(CHANGES_MAX)), stopping }
    }

    /// Waits until no change is under way, and lets no further one begin.
    pub async fn idle(&self) {
        let all = u32::try_from(CHANGES_MAX).unwrap_or(u32::MAX);
        if let Ok(places) = self.changes.acquire_many(all).await {
            places.forget();
        }
    }

    /// All routes of the API.
    pub fn routes(self) -> Router {
        let guarded = Router::new()
            .route("/v1/scripts", get(scripts::list))
            .route("/v1/tenants/{tenant}/scripts", get(scripts::list_of_tenant))
            .route(
                "/v1/tenants/{tenant}/scripts/{script}",
                get(scripts::show).put(scripts::put).delete(scripts::delete).post(rollback::act),
            )
            .route("/v1/tenants/{tenant}/scripts/{script}/versions", get(rollback::list))
            .route("/v1/tenants/{tenant}/policy", get(policy::of_tenant))
            .route("/v1/tenants/{tenant}/scripts/{script}/policy", get(policy::of_script))
            .route("/v1/releases", get(releases::list))
            .route("/v1/releases/{number}", get(releases::show))
            .route("/v1/executors", get(executors::list))
            .route("/v1/status", get(status::status))
            .route("/metrics", get(status::metrics))
            .fallback(unknown)
            .method_not_allowed_fallback(not_allowed)
            .layer(middleware::from_fn_with_state(self.clone(), auth::check));
        Router::new()
            .route("/livez", get(status::live))
            .route("/readyz", get(status::ready))
            .method_not_allowed_fallback(not_allowed)
            .merge(guarded)
            .layer(middleware::from_fn_with_state(self.clone(), error::finish))
            .with_state(self)
    }
}

async fn unknown(uri: Uri) -> ApiError {
    let path = uri.path().escape_debug().to_string();
    Problem::new(Code::NotFound, format!("there is no `{path}` here")).with_hint("the API begins with `/v1/`").into()
}

async fn not_allowed(method: Method, request: Request) -> ApiError {
    let path = request.uri().path().escape_debug().to_string();
    Problem::new(Code::MethodNotAllowed, format!("`{path}` does not take {method}")).into()
}
