//! The stream that messages come by: opened, lost, found again, and left.

use std::time::Duration;

use contract::Code;
use executor::pubsub::PubsubSettings;

use super::fake::{Fake, Sent};
use super::{Following, PATIENCE, Told, refused, settings};

#[tokio::test]
async fn the_stream_asks_for_what_can_be_held_and_no_more() {
    let mut fake = Fake::start().await;
    let _following = Following::start(&fake, Told::new([])).await;

    fake.until("a stream is opened", |seen| !seen.opened.is_empty()).await;

    let request = fake.seen().opened.remove(0);
    assert_eq!(request.subscription, "projects/p/subscriptions/rules");
    assert_eq!((request.max_outstanding_messages, request.max_outstanding_bytes), (1000, 64 << 20));
    assert_eq!(request.stream_ack_deadline_seconds, 30);
}

#[tokio::test]
async fn a_stream_that_broke_is_opened_anew_and_what_ran_is_still_acknowledged() {
    let (mut fake, door) = (Fake::start().await, Told::held());
    let following = Following::start(&fake, door.clone()).await;
    fake.send(Sent("m1", "before"), 0).await;
    door.until_deliveries(1).await;

    fake.break_off().await;
    fake.send(Sent("m2", "after"), 0).await;
    door.until_deliveries(2).await;
    door.may_end.add_permits(2);

    fake.until("both are acknowledged", |seen| seen.acked.len() == 2).await;
    assert_eq!(fake.seen().opened.len(), 2);
    following.counted(&["pubsub_broken_total 1"]);
}

#[tokio::test]
async fn a_drain_lets_end_what_runs_and_gives_back_what_waits() {
    let (mut fake, door) = (Fake::start().await, Told::held());
    door.verdicts.lock().unwrap().push_back(refused(Code::Overloaded));
    let following =
        Following::start_with(PubsubSettings { at_once: 2, ..settings(&fake.url) }, door.clone(), PATIENCE).await;

    fake.send(Sent("m1", "busy"), 0).await;
    door.until_deliveries(1).await;
    fake.send(Sent("m2", "runs"), 0).await;
    fake.send(Sent("m3", "queued"), 0).await;
    door.until_deliveries(2).await;
    following.until_held(3).await;
    following.stop.cancel();
    fake.until("what waits is given back", |seen| seen.nacked == ["queued"]).await;
    // Now the first learns that there is no room, and the second succeeds.
    door.may_end.add_permits(2);
    following.stopped().await;

    let mut ended = fake.seen();
    ended.nacked.sort();
    assert_eq!(ended.nacked.len() + ended.acked.len(), 3, "{ended:?}");
    assert_eq!((ended.acked.len(), door.ids().len()), (1, 2), "{ended:?}");
}

#[tokio::test]
async fn what_does_not_end_before_the_drain_deadline_is_given_back() {
    let (mut fake, door) = (Fake::start().await, Told::held());
    let following = Following::start_with(settings(&fake.url), door.clone(), Duration::from_millis(10)).await;
    fake.send(Sent("m1", "stuck"), 0).await;
    door.until_deliveries(1).await;

    following.stopped().await;

    fake.until("it is given back", |seen| seen.nacked == ["stuck"]).await;
}

#[tokio::test]
async fn a_stop_needs_no_stream_and_no_server() {
    let fake = Fake::start().await;
    let following = Following::start(&fake, Told::new([])).await;
    following.stopped().await;

    // Port 1 of loopback: nobody listens there.
    let alone = Following::start_with(settings("http://127.0.0.1:1"), Told::new([]), PATIENCE).await;
    alone.stopped().await;
}
