//! One plaintext port for everything: HTTP/1.1 and HTTP/2 (h2c, prior knowledge), JSON and gRPC.
//!
//! Stopping is pulling the plug: open connections end at once, as clients must expect of a cloud.

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use http::{StatusCode, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::service::Routes;

use super::generated::services::publisher_server::PublisherServer;
use super::generated::services::storage_server::StorageServer;
use super::generated::services::subscriber_server::SubscriberServer;
use super::pubsub::PubSub;
use super::storage::Storage;
use super::{pubsub, storage};

/// Above Google's 10 MB on a publish request.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Connections at once; one more waits in the system's queue.
const CONNECTIONS_MAX: usize = 1024;

/// All services behind one router.
pub(super) fn router(storage: Storage, pubsub: PubSub) -> Router {
    let publisher = PublisherServer::new(pubsub.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let subscriber = SubscriberServer::new(pubsub.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let objects = StorageServer::new(storage.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    Routes::new(publisher)
        .add_service(subscriber)
        .add_service(objects)
        .into_axum_router()
        .reset_fallback()
        .layer(middleware::from_fn(only_grpc))
        .merge(storage::json::router(storage))
        .merge(pubsub::rest::router(pubsub))
        .fallback(unknown)
}

/// Serves until it is dropped; then every connection ends, too.
pub(super) async fn serve(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    // Answers are small and somebody waits for each of them.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "a connection keeps Nagle's algorithm");
                    }
                    let service = TowerToHyperService::new(router.clone());
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
