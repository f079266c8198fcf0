//! One port for the API (HTTP/1.1 and HTTP/2, JSON) and the feed (gRPC over plaintext HTTP/2).

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use contract::feed::feed_server::FeedServer;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::feed::service::{FeedService, MESSAGE_BYTES_MAX};

/// Connections at the same time; further ones wait in the backlog.
const CONNECTIONS_MAX: usize = 8192;
/// For the head of an HTTP/1 request to arrive.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// A dead executor is noticed after these two; it must be before a person loses patience.
const PING_AFTER: Duration = Duration::from_secs(2);
const PING_DEADLINE: Duration = Duration::from_secs(2);
/// After a failed `accept`, usually for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// API and feed under one roof.
pub fn routes(api: Router, feed: FeedService) -> Router {
    let feed = FeedServer::new(feed).max_decoding_message_size(MESSAGE_BYTES_MAX);
    api.route_service("/moonswarm.feed.v1.Feed/{method}", feed)
}

/// Serves until `stop`, then takes no more connections and lets requests end, for at most `drain`.
pub async fn serve(listener: TcpListener, routes: Router, stop: CancellationToken, drain: Duration) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_DEADLINE);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(PING_AFTER)).keep_alive_timeout(PING_DEADLINE);
    let service = TowerToHyperService::new(routes);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned();
        let accepted = tokio::select! {
            accepted = async { (place.await, listener.accept().await) } => accepted,
            () = stop.cancelled() => break,
        };
        let (place, stream) = match accepted {
            (place, Ok((stream, _))) => (place, stream),
            (_, Err(err)) => {
                tracing::warn!(%err, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // A release is a few small messages; without this each would wait for the answer to the one before.
        if let Err(err) = stream.set_nodelay(true) {
            tracing::debug!(%err, "a connection stays without TCP_NODELAY");
        }
        let connection = builder.serve_connection(TokioIo::new(stream), service.clone()).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _place = place;
            if let Err(err) = connection.await {
                tracing::debug!(%err, "a connection broke");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(
            drain_ms = u64::try_from(drain.as_millis()).unwrap_or(u64::MAX),
            "requests did not end in time and are cut"
        );
    }
}
