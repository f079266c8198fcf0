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
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::routes;
use crate::metrics::Counted;
use crate::worker::Worker;

/// Connections of one worker; further ones wait in the kernel's backlog. An idle one holds about 20 KiB.
const CONNECTIONS_MAX: u32 = 10_000;

/// How often a connection is looked at; one that has not brought its first request head by the first look is closed. One
/// timer for a connection's life: setting one for each request is a good part of what a request costs.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A connection that is without a request for so many looks is closed, also if it is slowly bringing a head. 620 s are
/// above the 600 s for which Google's load balancers keep connections, so that they and not we close idle ones: a
/// server that closes first loses the request that was on its way.
const IDLE_LOOKS: u32 = 62;

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
    let pulse = Pulse::default();
    let service = service_fn(|request| {
        pulse.requests.set(pulse.requests.get() + 1);
        pulse.busy.set(true);
        let (worker, busy) = (Rc::clone(&worker), &pulse.busy);
        async move {
            let answer = routes::answer(&worker, request).await;
            busy.set(false);
            Ok::<_, Infallible>(answer)
        }
    });
    let served = http1::Builder::new().pipeline_flush(true).serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let ended = tokio::select! {
        biased;
        ended = served.as_mut() => ended,
        () = silent(&pulse) => return,
        () = lingered(&stop) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(err) = ended {
        tracing::debug!(error = telemetry::chain(&err), "connection broke");
    }
}

/// What a connection brings.
#[derive(Default)]
struct Pulse {
    requests: Cell<u64>,
    /// Whether one is being answered.
    busy: Cell<bool>,
}

/// How long a connection has been without a request, in looks.
struct Silence {
    requests: u64,
    looks: u32,
}

impl Silence {
    /// Of a new connection: its first look finds a request, or is its last.
    fn before_the_first_request() -> Self {
        Self { requests: 0, looks: IDLE_LOOKS - 1 }
    }

    /// Whether a look at the connection is its last.
    fn is_over(&mut self, pulse: &Pulse) -> bool {
        let requests = pulse.requests.get();
        self.looks = if pulse.busy.get() || requests != self.requests { 0 } else { self.looks + 1 };
        self.requests = requests;
        self.looks >= IDLE_LOOKS
    }
}

/// Ends if no request came in time.
async fn silent(pulse: &Pulse) {
    let mut silence = Silence::before_the_first_request();
    sleep(LOOK_EVERY).await;
    while !silence.is_over(pulse) {
        sleep(LOOK_EVERY).await;
    }
}

async fn lingered(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(LINGER).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which look a connection is given up that brings a request before each of these looks.
    fn given_up_at(requests_before: &[u32]) -> u32 {
        let (pulse, mut silence) = (Pulse::default(), Silence::before_the_first_request());
        let mut look = 1;
        loop {
            let brought = requests_before.iter().filter(|&&before| before == look).count();
            pulse.requests.set(pulse.requests.get() + brought as u64);
            if silence.is_over(&pulse) {
                return look;
            }
            look += 1;
        }
    }

    #[test]
    fn a_connection_without_a_first_request_is_given_up_at_once_and_an_idle_one_after_ten_minutes() {
        assert_eq!(given_up_at(&[]), 1);
        assert_eq!(given_up_at(&[2]), 1);
        assert_eq!(given_up_at(&[1]), 1 + IDLE_LOOKS);
        assert_eq!(given_up_at(&[1, 50]), 50 + IDLE_LOOKS);
    }

    #[test]
    fn a_connection_is_not_idle_while_a_request_is_being_answered() {
        let (pulse, mut silence) = (Pulse::default(), Silence::before_the_first_request());
        pulse.busy.set(true);

        assert!((0..10 * IDLE_LOOKS).all(|_| !silence.is_over(&pulse)));
    }
}
