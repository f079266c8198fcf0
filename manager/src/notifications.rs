//! Notifications of the bucket, by streaming pull from Pub/Sub.
//!
//! Only the attributes of a message are looked at, and what they lead to is [`crate::hints`]'s business. A message is
//! acknowledged when its release is committed or there is none to come. Nothing here is needed for anything to be
//! right: what Pub/Sub loses, [`crate::reconcile`] finds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use google_cloud_pubsub::client::Subscriber;
use google_cloud_pubsub::subscriber::handler::Handler;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::hints::{self, Hint, Kind, Outcome};

/// Notifications dealt with at the same time.
const AT_ONCE: usize = 16;
/// Before a message that failed is asked for again: the bucket or another manager needs a moment.
const FAILED_PAUSE: Duration = Duration::from_secs(1);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A stream that has not ended for so long stands.
const STANDS_AFTER: Duration = Duration::from_secs(3);
/// For flushing acknowledgements when the manager stops.
const FLUSH_DEADLINE: Duration = Duration::from_secs(2);

/// Follows `subscription` until `stop`. `repaired` is told when the stream stands again after it was broken: what was
/// missed meanwhile is to be looked for.
pub async fn run(
    context: Arc<Context>,
    subscriber: Subscriber,
    subscription: String,
    repaired: Arc<Notify>,
    stop: CancellationToken,
) {
    let mut backoff = BACKOFF_MIN;
    let mut broken = false;
    while !stop.is_cancelled() {
        let mut stream = subscriber
            .subscribe(&subscription)
            .set_max_lease_extension(Duration::from_secs(30))
            .set_max_outstanding_messages(1000)
            .build();
        let flush = stream.shutdown_token();
        if !broken {
            context.notification_health.good(format!("following `{subscription}`"));
        }
        let mut tasks = JoinSet::new();
        let ended = loop {
            let next = tokio::select! {
                next = stream.next() => next,
                () = stop.cancelled() => break None,
                // The client does not say when its stream stands. One that is refused ends at once.
                () = tokio::time::sleep(STANDS_AFTER), if broken => {
                    (broken, backoff) = (false, BACKOFF_MIN);
                    tracing::info!(subscription, "notifications are back");
                    context.notification_health.good(format!("following `{subscription}` again"));
                    repaired.notify_one();
                    continue;
                }
            };
            match next {
                Some(Ok((message, handler))) => {
                    context.notification_health.good(format!("last notification of `{subscription}` came"));
                    while tasks.len() >= AT_ONCE {
                        tasks.join_next().await;
                    }
                    tasks.spawn(handle(Arc::clone(&context), message.attributes, handler));
                }
                Some(Err(err)) => break Some(err.to_string()),
                None => break Some("the stream ended".to_owned()),
            }
        };
        drop(stream);
        let _ = tokio::time::timeout(FLUSH_DEADLINE, async {
            while tasks.join_next().await.is_some() {}
            flush.shutdown().await;
        })
        .await;
        let Some(reason) = ended else { return };
        if context.notification_health.bad(format!("`{subscription}` is broken: {reason}")) || !broken {
            tracing::warn!(
                subscription,
                reason,
                "notifications are broken, scripts are found by listing until they come back"
            );
        }
        broken = true;
        tokio::select! {
            () = tokio::time::sleep(backoff) => {}
            () = stop.cancelled() => return,
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

async fn handle(context: Arc<Context>, attributes: HashMap<String, String>, handler: Handler) {
    let outcome = match hint(&attributes, context.bucket.name()) {
        Some(hint) => hints::handle(&context, &hint).await,
        None => {
            context.metrics.notified("other", Outcome::Irrelevant.as_str());
            Outcome::Irrelevant
        }
    };
    if outcome == Outcome::Failed {
        tokio::time::sleep(FAILED_PAUSE).await;
        handler.nack();
    } else {
        handler.ack();
    }
}

/// The hint in the attributes of a message
/// (<https://cloud.google.com/storage/docs/pubsub-notifications#attributes>). `None`: it is about something else.
fn hint(attributes: &HashMap<String, String>, bucket: &str) -> Option<Hint> {
    let get = |name| attributes.get(name).map(String::as_str);
    if get("bucketId") != Some(bucket) {
        return None;
    }
    let kind = match get("eventType")? {
        "OBJECT_FINALIZE" => Kind::Finalize,
        "OBJECT_DELETE" | "OBJECT_ARCHIVE" => Kind::Delete,
        _ => return None,
    };
    let generation = get("objectGeneration")?.parse().ok()?;
    Some(Hint { object: get("objectId")?.to_owned(), generation, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(changed: &[(&str, &str)]) -> HashMap<String, String> {
        let usual = [
            ("bucketId", "scripts"),
            ("objectId", "latest.lua"),
            ("objectGeneration", "17"),
            ("eventType", "OBJECT_FINALIZE"),
        ];
        usual.iter().chain(changed).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn attributes_become_a_hint() {
        let hint = hint(&attributes(&[]), "scripts").unwrap();

        assert_eq!(hint, Hint { object: "latest.lua".into(), generation: 17, kind: Kind::Finalize });
    }

    #[test]
    fn deleted_and_archived_objects_are_both_gone() {
        for event in ["OBJECT_DELETE", "OBJECT_ARCHIVE"] {
            assert_eq!(hint(&attributes(&[("eventType", event)]), "scripts").unwrap().kind, Kind::Delete);
        }
    }

    #[test]
    fn messages_about_something_else_are_no_hints() {
        for odd in [("bucketId", "other"), ("eventType", "OBJECT_METADATA_UPDATE"), ("objectGeneration", "x")] {
            assert_eq!(hint(&attributes(&[odd]), "scripts"), None, "{odd:?}");
        }
        assert_eq!(hint(&HashMap::new(), "scripts"), None);
    }
}
