//! One message, from its arrival to its acknowledgement.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use contract::Problem;
use google_cloud_pubsub::model::Message;
use google_cloud_pubsub::subscriber::handler::Handler;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::counts::Counts;
use super::door::{Delivery, Door, Verdict};
use super::message;
use super::next::{Next, next};
use super::recent::{End, Known, Recent};
use crate::feed::backoff::Backoff;
use crate::metrics::Counted;
use crate::places::Places;

/// Messages that are remembered when they are done with, and how long: no lease is longer than ten minutes, so what
/// Pub/Sub takes for lost comes again within that.
const REMEMBERED_MAX: usize = 10_000;
const REMEMBERED_FOR: Duration = Duration::from_secs(600);

/// What the messages of one subscription share.
pub(super) struct Shared<D> {
    door: D,
    pub(super) counts: Counts,
    input_bytes_max: usize,
    /// Executions at once. Messages that only wait take none.
    places: Places,
    recent: Mutex<Recent>,
    /// No new executions: what waits is given back.
    pub(super) stop: CancellationToken,
}

/// A message that was begun, and is ended whatever happens to its execution.
struct Begun<'a> {
    recent: &'a Mutex<Recent>,
    id: &'a str,
    end: End,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        lock(self.recent).end(self.id, self.end, Instant::now());
    }
}

impl<D: Door> Shared<D> {
    pub(super) fn new(
        door: D,
        counts: Counts,
        places: Places,
        input_bytes_max: usize,
        stop: CancellationToken,
    ) -> Self {
        let recent = Mutex::new(Recent::new(REMEMBERED_MAX, REMEMBERED_FOR));
        Self { door, counts, input_bytes_max, places, recent, stop }
    }

    /// Deals with a message. A `handler` that is dropped, because this panics or is dropped, gives the message back.
    pub(super) async fn handle(&self, message: Message, handler: Handler) {
        let _held = Counted::by(&self.counts.held);
        self.counts.delivered.inc();
        let id = message.message_id.as_str();
        let known = lock(&self.recent).begin(id, Instant::now());
        let (end, outcome) = match known {
            Known::Done => (End::Done, "duplicate"),
            Known::Running(mut first) => {
                // What the first does about the message is right for its copy, too.
                let ended = first.wait_for(Option::is_some).await.ok().and_then(|end| *end);
                (ended.unwrap_or(End::Returned), "duplicate")
            }
            Known::New(tell) => {
                let mut begun = Begun { recent: &self.recent, id, end: End::Returned };
                let (end, outcome) = self.run(&message, &handler).await;
                begun.end = end;
                // Remembered before it is told and acknowledged: what comes from here on finds it done with.
                drop(begun);
                tell.send_replace(Some(end));
                (end, outcome)
            }
        };
        match end {
            End::Done => handler.ack(),
            End::Returned => handler.nack(),
        }
        self.counts.end(if end == End::Returned { "nacked" } else { outcome });
    }

    async fn run(&self, message: &Message, handler: &Handler) -> (End, &'static str) {
        let dead_letters = handler.delivery_attempt().is_some();
        let delivery = message::read(&message.message_id, &message.attributes, &message.data, self.input_bytes_max);
        let (begun, mut backoff) = (Instant::now(), Backoff::default());
        loop {
            let verdict = match &delivery {
                Ok(delivery) => self.deliver(delivery.clone()).await,
                Err(problem) => Some(Verdict::Refused(Problem::clone(problem))),
            };
            let problem = match verdict {
                Some(Verdict::Done) => return (End::Done, "acked"),
                Some(Verdict::Refused(problem)) => problem,
                None => return (End::Returned, "nacked"),
            };
            match next(problem.code, dead_letters, begun.elapsed()) {
                Next::Again => {
                    self.counts.waited.inc();
                    if !self.pause(backoff.next()).await {
                        return (End::Returned, "nacked");
                    }
                }
                Next::Return(after) => {
                    tell(message, &problem);
                    self.pause(after).await;
                    return (End::Returned, "nacked");
                }
                Next::Drop => {
                    warn(message, &problem);
                    return (End::Done, "dropped");
                }
            }
        }
    }

    /// `None`: no execution is begun any more.
    async fn deliver(&self, delivery: Delivery) -> Option<Verdict> {
        let _place = tokio::select! {
            biased;
            () = self.stop.cancelled() => return None,
            place = self.places.enter(delivery.tenant.as_str()) => place,
        };
        Some(self.door.deliver(delivery).await)
    }

    /// Whether it was waited for so long, and not stopped.
    async fn pause(&self, length: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = sleep(length) => true,
        }
    }
}

/// A message that will come again, or go to the dead letters: the tenant's affair.
fn tell(message: &Message, problem: &Problem) {
    tracing::info!(
        message_id = message.message_id,
        tenant = message.attributes.get("tenant"),
        code = problem.code.as_str(),
        "a message is given back: {}",
        problem.detail
    );
}

/// A message that is lost.
fn warn(message: &Message, problem: &Problem) {
    tracing::warn!(
        message_id = message.message_id,
        tenant = message.attributes.get("tenant"),
        code = problem.code.as_str(),
        "a message is dropped: {}; a dead letter topic on the subscription would keep it",
        problem.detail
    );
}

fn lock(recent: &Mutex<Recent>) -> std::sync::MutexGuard<'_, Recent> {
    recent.lock().unwrap_or_else(PoisonError::into_inner)
}
