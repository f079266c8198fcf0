//! The stream of messages: opened, read, opened anew when it breaks, and left in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use google_cloud_auth::credentials::anonymous;
use google_cloud_gax::client_builder;
use google_cloud_pubsub::client::Subscriber;
use google_cloud_pubsub::subscriber::{MessageStream, ShutdownBehavior};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::counts::Counts;
use super::door::Door;
use super::handle::Shared;
use super::settings::PubsubSettings;
use crate::feed::backoff::Backoff;
use crate::places::Places;

/// Messages held at once, those that run and those that wait; and their bytes.
const HELD_MAX: usize = 1000;
const HELD_BYTES_MAX: i64 = 64 << 20;

/// How long Pub/Sub waits for an executor that vanished before it gives its messages to another one.
const LEASE: Duration = Duration::from_secs(30);

/// A stream that stood this long was a good one.
const STEADY: Duration = Duration::from_secs(5);

/// For the last acknowledgements to reach Pub/Sub.
const FLUSH_DEADLINE: Duration = Duration::from_secs(2);

/// Pub/Sub can't be spoken to at all.
#[derive(Debug, thiserror::Error)]
#[error("make the client for Pub/Sub")]
pub struct OpenError(#[source] client_builder::Error);

/// A subscription whose messages become executions.
pub struct FrontDoor<D> {
    subscriber: Subscriber,
    settings: PubsubSettings,
    door: D,
    counts: Counts,
    input_bytes_max: usize,
    drain: Duration,
}

impl<D: Door> FrontDoor<D> {
    /// Makes ready, inside of a tokio runtime; nothing is asked of Pub/Sub yet. `input_bytes_max` bounds the data of a
    /// message; `drain` is how long executions may take to end after the stop.
    ///
    /// # Errors
    /// [`OpenError`]: no credentials on this machine, or an endpoint that is none. A subscription that does not exist
    /// is no error: it may yet.
    pub async fn open(
        settings: PubsubSettings,
        door: D,
        counts: Counts,
        input_bytes_max: usize,
        drain: Duration,
    ) -> Result<Self, OpenError> {
        // Google's client takes its TLS from the process; one that is there already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut subscriber = Subscriber::builder().with_grpc_subchannel_count(1_usize);
        if let Some(endpoint) = &settings.endpoint {
            // Nobody but Google is shown this machine's credentials.
            subscriber = subscriber.with_endpoint(endpoint).with_credentials(anonymous::Builder::new().build());
        }
        let subscriber = subscriber.build().await.map_err(OpenError)?;
        Ok(Self { subscriber, settings, door, counts, input_bytes_max, drain })
    }

    /// Follows the subscription until `stop`; then ends in order: nothing new is pulled or begun, what waits is given
    /// back, what runs ends within the drain deadline and is acknowledged. What does not is given back.
    pub async fn follow(self, stop: CancellationToken) {
        let Self { subscriber, settings, door, counts, input_bytes_max, drain } = self;
        let places = Places::new(settings.at_once, settings.tenant_at_once);
        let shared = Shared::new(door, counts, places, input_bytes_max, stop.clone());
        let (subscription, counts) = (settings.subscription, shared.counts.clone());
        tracing::info!(subscription, "following");
        let mut messages = Messages { shared: Arc::new(shared), tasks: JoinSet::new() };
        // Streams that were left, until the last of their messages is answered.
        let mut flushes = JoinSet::new();
        let mut backoff = Backoff::default();
        // One WARN for each loss, not for each attempt after it.
        let mut told = false;
        while !stop.is_cancelled() {
            let begun = Instant::now();
            let mut stream = stream(&subscriber, &subscription);
            let flush = stream.shutdown_token();
            let reason = messages.read(&mut stream, &mut told).await;
            drop(stream);
            flushes.spawn(async move { flush.shutdown().await });
            while flushes.try_join_next().is_some() {}
            let Some(reason) = reason else { break };
            counts.broken.inc();
            if begun.elapsed() >= STEADY {
                backoff.reset();
            }
            if !told {
                tracing::warn!(subscription, reason, "no messages come; trying again");
                told = true;
            }
            tokio::select! {
                () = sleep(backoff.next()) => {}
                () = stop.cancelled() => {}
            }
        }
        messages.finish(drain).await;
        if timeout(FLUSH_DEADLINE, async { while flushes.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!(subscription, "the last acknowledgements were not sent in time; their messages come again");
        }
    }
}

fn stream(subscriber: &Subscriber, subscription: &str) -> MessageStream {
    subscriber
        .subscribe(subscription)
        .set_max_lease_extension(LEASE)
        .set_max_outstanding_messages(HELD_MAX as i64)
        .set_max_outstanding_bytes(HELD_BYTES_MAX)
        // Messages that run go on when their stream is left, and are acknowledged.
        .set_shutdown_behavior(ShutdownBehavior::WaitForProcessing)
        .build()
}

/// The messages at hand, a task each; they outlive the stream that brought them.
struct Messages<D> {
    shared: Arc<Shared<D>>,
    tasks: JoinSet<()>,
}

impl<D: Door> Messages<D> {
    /// Takes what a stream brings. Why it ended, or `None`: it is time to stop.
    async fn read(&mut self, stream: &mut MessageStream, told: &mut bool) -> Option<String> {
        loop {
            // Beside nothing else that ends: to leave this wait would cost messages that were just sent.
            let next = tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => return None,
                next = stream.next() => next,
            };
            let (message, handler) = match next {
                Some(Ok(message)) => message,
                Some(Err(err)) => return Some(telemetry::chain(&err)),
                None => return Some("the stream ended".to_owned()),
            };
            if std::mem::take(told) {
                tracing::info!("messages come again");
            }
            let shared = Arc::clone(&self.shared);
            self.tasks.spawn(async move { shared.handle(message, handler).await });
            while let Some(ended) = self.tasks.try_join_next() {
                self.look_at(ended);
            }
            // Pub/Sub stops by itself at as many; this holds if it does not.
            while self.tasks.len() >= HELD_MAX {
                self.ended().await;
            }
        }
    }

    /// Waits for those that run; what is still there then is aborted, which gives its message back.
    async fn finish(mut self, drain: Duration) {
        if timeout(drain, async { while self.ended().await {} }).await.is_err() {
            let unfinished = self.tasks.len();
            tracing::warn!(unfinished, "messages did not end before the drain deadline; they come again");
        }
        self.tasks.shutdown().await;
    }

    /// Waits for the end of one; `false`: there is none.
    async fn ended(&mut self) -> bool {
        let ended = self.tasks.join_next().await;
        ended.map(|ended| self.look_at(ended)).is_some()
    }

    fn look_at(&self, ended: Result<(), JoinError>) {
        if let Err(err) = ended {
            self.shared.counts.end("nacked");
            tracing::error!(error = telemetry::chain(&err), "a message broke down and was given back");
        }
    }
}
