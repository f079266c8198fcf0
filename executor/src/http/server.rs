//! Connections of one worker: accepted, bounded, served, and at the end drained.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::TcpListener as StdListener;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::routes;
use crate::metrics::Counted;
use crate::worker::Worker;

/// Connections of one worker; further ones wait in the kernel's backlog. An idle one holds about 20 KiB.
const CONNECTIONS_MAX: u32 = 10_000;

/// A new connection must bring its first request head within this time.
const FIRST_REQUEST: Duration = Duration::from_secs(10);

/// Between requests a connection may idle this long; hyper counts the reading of later heads with the same timer. It is
/// above the 600 s for which Google's load balancers keep connections, so that they and not we close idle ones: a
/// server that closes first loses the request that was on its way.
const IDLE: Duration = Duration::from_secs(620);

/// While draining, a keep-alive connection is given this long to bring one more request and to be told `close` in the
/// answer; closing it at once would lose a request that was on its way.
const LINGER: Duration = Duration::from_secs(1);

/// Pause after the operating system gives no connection, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop`, then drains for at most `drain`; tells how many connections did not end.
///
/// # Errors
/// The listener can't be used.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    listener: StdListener,
    stop: CancellationToken,
    drain: Duration,
) -> std::io::Result<usize> {
    // A token of this thread alone: connections look at it often, and would meet at the lock of a common one.
    let stop = stop.child_token();
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    let listener = TcpListener::from_std(listener)?;
    let listen = async {
        loop {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, _)) => start(&worker, stream, slot, &stop),
                Err(err) => {
                    tracing::warn!(error = telemetry::chain(&err), "no connection can be taken; trying again");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = listen => {}
    }
    take_backlog(listener.into_std()?, &worker, &slots, &stop);
    let ended = timeout(drain, slots.acquire_many(CONNECTIONS_MAX)).await;
    Ok(if ended.is_ok() { 0 } else { CONNECTIONS_MAX as usize - slots.available_permits() })
}

/// Takes the connections that the kernel has accepted for us already, then closes the socket.
fn take_backlog(listener: StdListener, worker: &Rc<Worker>, slots: &Arc<Semaphore>, stop: &CancellationToken) {
    while let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
        let Ok((stream, _)) = listener.accept() else { return };
        if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
            start(worker, stream, slot, stop);
        }
    }
}

fn start(worker: &Rc<Worker>, stream: TcpStream, slot: OwnedSemaphorePermit, stop: &CancellationToken) {
    // Answers are small and written whole; waiting for more to send (Nagle) would only delay them.
    let _ = stream.set_nodelay(true);
    tokio::task::spawn_local(connection(Rc::clone(worker), stream, slot, stop.clone()));
}

async fn connection(worker: Rc<Worker>, stream: TcpStream, _slot: OwnedSemaphorePermit, stop: CancellationToken) {
    let _counted = Counted::by(&worker.serving.metrics().connections);
    let asked = Rc::new(Cell::new(false));
    let service = service_fn(|request| {
        asked.set(true);
        let worker = Rc::clone(&worker);
        async move { Ok::<_, Infallible>(routes::answer(&worker, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let ended = tokio::select! {
        biased;
        ended = served.as_mut() => ended,
        () = silent(&asked) => return,
        () = lingered(&stop) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(err) = ended {
        tracing::debug!(error = telemetry::chain(&err), "connection broke");
    }
}

/// Ends if no request came in time.
async fn silent(asked: &Cell<bool>) {
    sleep(FIRST_REQUEST).await;
    if asked.get() {
        std::future::pending().await
    }
}

async fn lingered(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(LINGER).await;
}
