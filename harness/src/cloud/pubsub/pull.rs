//! Waiting for messages: once (Pull) or for as long as a stream lives (StreamingPull).

use std::time::Duration;

use async_stream::stream;
use futures_util::Stream;
use tokio::time::Instant;
use tonic::Status;

use super::PubSub;
use super::backlog::{Delivery, Limits, Puller};
use super::config::check_ack_deadline;
use super::error::PubSubError;
use super::state::State;
use crate::cloud::generated::pubsub as pb;

/// Messages in one answer at most.
const BATCH_MAX: usize = 1000;

/// How long a Pull without messages waits, and a stream for its first request.
const WAIT: Duration = Duration::from_secs(10);

impl PubSub {
    /// Leases up to `messages` messages; waits for the first unless `at_once`.
    pub(super) async fn pull(
        &self,
        subscription: &str,
        messages: i32,
        at_once: bool,
    ) -> Result<Vec<pb::ReceivedMessage>, PubSubError> {
        let messages = usize::try_from(messages).unwrap_or(0).min(BATCH_MAX);
        if messages == 0 {
            return Err(PubSubError::invalid("The value for max_messages must be greater than 0."));
        }
        let lease = self.call(|state, _| state.ack_deadline(subscription))?;
        let limits = Limits { messages, bytes: usize::MAX, batch: messages, lease };
        let until = Instant::now() + WAIT;
        let pulling = Pulling::new(self.clone(), subscription, limits);
        loop {
            let woken = self.shared.woken.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            let (received, next) = pulling.take()?;
            if !received.is_empty() || at_once || Instant::now() >= until {
                return Ok(received);
            }
            let next = next.unwrap_or(until).min(until);
            tokio::select! {
                () = woken => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// Leases messages to a stream as they come, and does what its requests say.
    pub(super) async fn pull_stream<Requests>(
        &self,
        requests: Requests,
    ) -> Result<impl Stream<Item = Result<pb::StreamingPullResponse, Status>> + Send + use<Requests>, Status>
    where
        Requests: Stream<Item = Result<pb::StreamingPullRequest, Status>> + Send + Unpin + 'static,
    {
        use futures_util::StreamExt;

        let mut requests = requests;
        let first = tokio::time::timeout(WAIT, requests.next()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no request came on the stream"))?;
        let first = first.ok_or_else(|| Status::invalid_argument("the stream ended before its first request"))??;
        check_ack_deadline(first.stream_ack_deadline_seconds)?;
        self.call(|state, _| state.subscription(&first.subscription).map(|_| ()))?;
        let bound = |given: i64| usize::try_from(given).ok().filter(|given| *given > 0).unwrap_or(usize::MAX);
        let limits = Limits {
            messages: bound(first.max_outstanding_messages),
            bytes: bound(first.max_outstanding_bytes),
            batch: BATCH_MAX,
            lease: seconds(first.stream_ack_deadline_seconds),
        };
        let pubsub = self.clone();
        let mut breaks = self.shared.faults.stream_breaks();
        let breaks_before = *breaks.borrow();
        let mut pulling = Pulling::new(self.clone(), &first.subscription, limits);
        pulling.obey(&first)?;

        Ok(stream! {
            loop {
                let woken = pubsub.shared.woken.notified();
                tokio::pin!(woken);
                // From here on nothing is missed: what happens after the look below wakes this future.
                woken.as_mut().enable();
                // A break that is due comes before messages that are ready.
                if *breaks.borrow() != breaks_before {
                    yield Err(Status::unavailable("A fault was injected: the stream was broken"));
                    break;
                }
                let next = match pulling.take() {
                    Ok((received, next)) if received.is_empty() => next,
                    Ok((received_messages, _)) => {
                        yield Ok(pb::StreamingPullResponse { received_messages, ..Default::default() });
                        continue;
                    }
                    Err(error) => {
                        yield Err(error.into());
                        break;
                    }
                };
                tokio::select! {
                    () = woken => {}
                    () = sleep_until(next) => {}
                    _ = breaks.changed() => {}
                    request = requests.next() => match request {
                        Some(Ok(request)) => if let Err(error) = pulling.obey(&request) {
                            yield Err(error.into());
                            break;
                        },
                        // The client is done, or gone.
                        Some(Err(_)) | None => break,
                    },
                }
            }
        })
    }
}

/// One puller and what it may take. Gone when dropped; its leases run on.
struct Pulling {
    pubsub: PubSub,
    subscription: String,
    puller: Puller,
    limits: Limits,
}

impl Pulling {
    fn new(pubsub: PubSub, subscription: &str, limits: Limits) -> Self {
        let puller = pubsub.next_puller();
        Self { pubsub, subscription: subscription.to_owned(), puller, limits }
    }

    /// What is ready, and when to look again if nobody wakes the puller before.
    fn take(&self) -> Result<(Vec<pb::ReceivedMessage>, Option<Instant>), PubSubError> {
        self.pubsub.step(|state, now| {
            let (taken, tells_attempts) = state.take(&self.subscription, self.puller, self.limits, now)?;
            let received = taken.into_iter().map(|delivery| received(delivery, tells_attempts)).collect();
            Ok((received, state.next_event(&self.subscription).map(Instant::from_std)))
        })
    }

    fn obey(&mut self, request: &pb::StreamingPullRequest) -> Result<(), PubSubError> {
        if request.stream_ack_deadline_seconds != 0 {
            check_ack_deadline(request.stream_ack_deadline_seconds)?;
            self.limits.lease = seconds(request.stream_ack_deadline_seconds);
        }
        if request.modify_deadline_ack_ids.len() != request.modify_deadline_seconds.len() {
            let why = "modify_deadline_ack_ids and modify_deadline_seconds must have the same length.";
            return Err(PubSubError::invalid(why));
        }
        self.pubsub.step(|state, now| {
            state.acknowledge(&self.subscription, &leases(state, &request.ack_ids)?, now)?;
            for (id, extension) in request.modify_deadline_ack_ids.iter().zip(&request.modify_deadline_seconds) {
                let lease = leases(state, std::slice::from_ref(id))?;
                state.modify(&self.subscription, &lease, check_extension(*extension)?, now)?;
            }
            Ok(())
        })
    }
}

impl Drop for Pulling {
    fn drop(&mut self) {
        self.pubsub.step(|state, _| state.forget(&self.subscription, self.puller));
    }
}

/// Reads ack ids; one that was never given out is refused.
pub(super) fn leases(state: &State, ids: &[String]) -> Result<Vec<u64>, PubSubError> {
    let read = |id: &String| {
        let number = id.strip_prefix(ACK_ID_PREFIX).and_then(|number| number.parse().ok());
        number.filter(|number| *number <= state.lease_last()).ok_or_else(|| {
            PubSubError::invalid(format!("You have passed an invalid ack ID to the service (ack_id={id})."))
        })
    };
    ids.iter().map(read).collect()
}

/// What a puller asks a lease's rest to be: 0 (give back) to 600 seconds.
pub(super) fn check_extension(given: i32) -> Result<Duration, PubSubError> {
    if (0..=600).contains(&given) {
        return Ok(seconds(given));
    }
    Err(PubSubError::invalid(format!("Invalid ack deadline given (seconds={given}): it must be 0 to 600.")))
}

const ACK_ID_PREFIX: &str = "lease-";

fn received(delivery: Delivery, tells_attempts: bool) -> pb::ReceivedMessage {
    pb::ReceivedMessage {
        ack_id: format!("{ACK_ID_PREFIX}{}", delivery.lease),
        message: Some(pb::PubsubMessage::clone(&delivery.message)),
        // Google tells attempts only where they lead to a dead letter topic.
        delivery_attempt: if tells_attempts { delivery.attempt } else { 0 },
    }
}

fn seconds(given: i32) -> Duration {
    Duration::from_secs(given.try_into().unwrap_or(0))
}

async fn sleep_until(next: Option<Instant>) {
    match next {
        Some(next) => tokio::time::sleep_until(next).await,
        None => std::future::pending().await,
    }
}
