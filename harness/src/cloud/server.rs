//! One plaintext port for everything: HTTP/1.1 and HTTP/2 (h2c, prior knowledge), JSON and gRPC.
//!
//! Stopping is pulling the plug: open connections end at once, as clients must expect of a cloud.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Extension, Json, Router};
use http::{StatusCode, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::service::Routes;

use super::faults::{FailWhen, FaultPlan};
use super::generated::services::publisher_server::PublisherServer;
use super::generated::services::storage_control_server::StorageControlServer;
use super::generated::services::storage_server::StorageServer;
use super::generated::services::subscriber_server::SubscriberServer;
use super::iam::need_of;
use super::metadata::Peer;
use super::{Services, compute, iam, metadata, pubsub, secrets, storage};

/// Above Google's 10 MB on a publish request.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Connections at once; one more waits in the system's queue.
const CONNECTIONS_MAX: usize = 1024;

/// All services behind one router.
pub(super) fn router(services: Services) -> Router {
    let Services { storage, pubsub, compute, iam, secrets: _, plan } = services.clone();
    let by_json = Router::new()
        .route("/v1/projects", any(by_project))
        .route("/v1/projects/{*path}", any(by_project))
        .route("/v3/{*path}", any(by_project))
        .with_state(services.clone())
        .merge(compute::rest::router(compute.clone()))
        .merge(metadata::router(compute, iam))
        .layer(middleware::from_fn_with_state(plan, faulty));
    let publisher = PublisherServer::new(pubsub.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let subscriber = SubscriberServer::new(pubsub).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let policies = StorageControlServer::new(storage.clone());
    let objects = StorageServer::new(storage.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    Routes::new(publisher)
        .add_service(subscriber)
        .add_service(objects)
        .add_service(policies)
        .into_axum_router()
        .reset_fallback()
        .layer(middleware::from_fn(only_grpc))
        .merge(storage::json::router(storage))
        .merge(by_json)
        .fallback(unknown)
        .layer(middleware::from_fn_with_state(services, allowed))
}

/// Serves until it is dropped; then every connection ends, too.
pub(super) async fn serve(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, peer)) => {
                    // Answers are small and somebody waits for each of them.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "a connection keeps Nagle's algorithm");
                    }
                    let service = TowerToHyperService::new(router.clone().layer(Extension(Peer(peer))));
                    connections.spawn(async move {
                        let builder = auto::Builder::new(TokioExecutor::new());
                        // A client that goes away is its own business.
                        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::task::yield_now().await;
                }
            },
        }
    }
}

/// Below `/v1/projects/P/` several services live; the collection tells which one is meant.
async fn by_project(State(services): State<Services>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let version = path.split('/').nth(1).unwrap_or_default();
    let collection = path.split('/').nth(4).unwrap_or_default();
    match (version, collection.split(':').next().unwrap_or_default()) {
        (_, "") | ("v3", _) => iam::rest::projects(services.iam, request).await,
        (_, "serviceAccounts") => iam::rest::accounts(services.iam, request).await,
        (_, "services") => iam::rest::services(request).await,
        (_, "secrets") => secrets::rest::serve(services.secrets, request).await,
        _ => pubsub::rest::serve(services.pubsub, request).await,
    }
}

/// Holds service accounts to their policies.
async fn allowed(State(services): State<Services>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer "));
    let (method, path) = (request.method().as_str(), request.uri().path());
    let need = need_of(method, path, request.uri().query(), headers, |bucket| services.storage.project_of(bucket));
    match services.iam.check(token, need.as_ref()) {
        Ok(()) => next.run(request).await,
        Err(error) if is_grpc(&request) => match error.status {
            401 => tonic::Status::unauthenticated(error.message),
            _ => tonic::Status::permission_denied(error.message),
        }
        .into_http::<Body>(),
        Err(error) => error.into_response(),
    }
}

/// Meets the faults in force.
async fn faulty(State(plan): State<Arc<FaultPlan>>, request: Request, next: Next) -> Response {
    let Some((status, when)) = plan.decide_call(request.method().as_str(), request.uri().path()) else {
        return next.run(request).await;
    };
    if when == FailWhen::After {
        next.run(request).await;
    }
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (status, reason) = match code.as_u16() {
        403 => ("PERMISSION_DENIED", "forbidden"),
        429 => ("RESOURCE_EXHAUSTED", "rateLimitExceeded"),
        503 => ("UNAVAILABLE", "backendError"),
        400..=499 => ("FAILED_PRECONDITION", "failedPrecondition"),
        _ => ("INTERNAL", "backendError"),
    };
    failure(code, status, reason, &format!("A fault was injected: HTTP status {}", code.as_u16()))
}

/// To anybody else a refusal by a gRPC service looks like success: HTTP 200 without a body.
async fn only_grpc(request: Request, next: Next) -> Response {
    if is_grpc(&request) {
        return next.run(request).await;
    }
    let message = format!("{} takes application/grpc only", request.uri().path());
    failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, "INVALID_ARGUMENT", "unsupportedMediaProtocol", &message)
}

/// Whatever no service knows, in the form that the caller can read. Never a silent success.
async fn unknown(request: Request) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    if is_grpc(&request) {
        return tonic::Status::unimplemented(format!("the local cloud has no method {path}")).into_http::<Body>();
    }
    failure(StatusCode::NOT_FOUND, "NOT_FOUND", "notFound", &format!("The local cloud has no {method} {path}"))
}

fn is_grpc(request: &Request) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|content_type| content_type.as_bytes().starts_with(b"application/grpc"))
}

fn failure(code: StatusCode, status: &str, reason: &str, message: &str) -> Response {
    let detail = json!({ "domain": "global", "reason": reason, "message": message });
    let error = json!({ "code": code.as_u16(), "message": message, "status": status, "errors": [detail] });
    (code, Json(json!({ "error": error }))).into_response()
}
