//! What becomes of a message.

use contract::Code;
use executor::pubsub::{Delivery, Door, PubsubSettings, Target, Verdict};

use super::fake::{Fake, Sent};
use super::{Following, PATIENCE, Told, refused, settings};

#[tokio::test]
async fn a_message_is_acknowledged_when_its_execution_succeeded_and_not_before() {
    let (mut fake, door) = (Fake::start().await, Told::held());
    let following = Following::start(&fake, door.clone()).await;

    fake.send(Sent("m1", "a1"), 0).await;
    door.until_deliveries(1).await;
    let delivery = door.deliveries.borrow()[0].clone();
    assert_eq!((delivery.tenant.as_str(), &delivery.input[..]), ("acme", &b"{}"[..]));
    assert_eq!(delivery.target, Target::Script("risk".parse().unwrap()));
    assert!(fake.seen().acked.is_empty());

    door.may_end.add_permits(1);
    fake.until("it is acknowledged", |seen| seen.acked == ["a1"]).await;
    following.counted(&["pubsub_delivered_total 1", r#"pubsub_ended_total{outcome="acked"} 1"#, "pubsub_held 0"]);
}

#[tokio::test]
async fn what_fails_for_good_is_given_back_where_there_are_dead_letters_and_dropped_where_there_are_none() {
    let verdicts = [refused(Code::ScriptError), refused(Code::UnknownScript)];
    let (mut fake, door) = (Fake::start().await, Told::new(verdicts));
    let following = Following::start(&fake, door).await;

    fake.send(Sent("m1", "with"), 1).await;
    fake.until("it is given back", |seen| seen.nacked == ["with"]).await;
    fake.send(Sent("m2", "without"), 0).await;
    fake.until("it is acknowledged", |seen| seen.acked == ["without"]).await;

    following.counted(&[r#"ended_total{outcome="nacked"} 1"#, r#"ended_total{outcome="dropped"} 1"#]);
}

#[tokio::test]
async fn a_message_that_nobody_can_run_never_reaches_the_door() {
    let (mut fake, door) = (Fake::start().await, Told::new([]));
    let following = Following::start(&fake, door.clone()).await;
    let attributes = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();

    fake.send_with(Sent("m1", "bare"), 1, attributes(&[]), "{}").await;
    fake.send_with(Sent("m2", "both"), 0, attributes(&[("tenant", "a"), ("script", "s"), ("event", "e")]), "{}").await;
    fake.send_with(Sent("m3", "large"), 1, attributes(&[("tenant", "a"), ("event", "e")]), &" ".repeat(2 << 20)).await;
    fake.until("all are answered", |seen| seen.nacked.len() == 2 && seen.acked == ["both"]).await;

    assert_eq!(door.ids(), [""; 0]);
    following.counted(&["pubsub_delivered_total 3"]);
}

#[tokio::test]
async fn where_there_is_no_room_a_message_waits_and_costs_no_attempt() {
    let verdicts = [refused(Code::NotReady), refused(Code::Overloaded)];
    let (mut fake, door) = (Fake::start().await, Told::new(verdicts));
    let following = Following::start(&fake, door.clone()).await;

    fake.send(Sent("m1", "a1"), 1).await;
    fake.until("it is acknowledged", |seen| seen.acked == ["a1"]).await;

    assert_eq!(door.ids(), ["m1", "m1", "m1"]);
    assert!(fake.seen().nacked.is_empty());
    following.counted(&["pubsub_waited_total 2"]);
}

#[tokio::test]
async fn a_message_that_comes_again_after_its_end_is_acknowledged_without_an_execution() {
    let (mut fake, door) = (Fake::start().await, Told::new([]));
    let following = Following::start(&fake, door.clone()).await;

    fake.send(Sent("m1", "first"), 0).await;
    fake.until("it is acknowledged", |seen| seen.acked == ["first"]).await;
    fake.send(Sent("m1", "again"), 0).await;
    fake.until("the copy is acknowledged", |seen| seen.acked == ["first", "again"]).await;

    assert_eq!(door.ids(), ["m1"]);
    following.counted(&[r#"ended_total{outcome="duplicate"} 1"#]);
}

#[tokio::test]
async fn a_copy_that_comes_while_the_first_runs_shares_its_end() {
    let (mut fake, door) = (Fake::start().await, Told::held());
    let following = Following::start(&fake, door.clone()).await;

    fake.send(Sent("m1", "first"), 0).await;
    fake.send(Sent("m1", "copy"), 0).await;
    fake.send(Sent("m2", "other"), 0).await;
    // The other one came behind the copy: so the copy has been seen.
    door.until_deliveries(2).await;
    door.may_end.add_permits(2);
    fake.until("all are acknowledged", |seen| seen.acked.len() == 3).await;

    assert_eq!(door.ids(), ["m1", "m2"]);
    following.counted(&[r#"ended_total{outcome="duplicate"} 1"#, r#"ended_total{outcome="acked"} 2"#]);
}

#[tokio::test]
async fn a_message_that_was_given_back_is_run_when_it_comes_again() {
    let (mut fake, door) = (Fake::start().await, Told::new([refused(Code::ScriptError)]));
    let _following = Following::start(&fake, door.clone()).await;

    fake.send(Sent("m1", "first"), 1).await;
    fake.until("it is given back", |seen| seen.nacked == ["first"]).await;
    fake.send(Sent("m1", "second"), 2).await;
    fake.until("it is acknowledged", |seen| seen.acked == ["second"]).await;

    assert_eq!(door.ids(), ["m1", "m1"]);
}

/// Panics at the first message.
#[derive(Clone)]
struct Fragile(Told);

impl Door for Fragile {
    async fn deliver(&self, delivery: Delivery) -> Verdict {
        let first = self.0.deliveries.borrow().is_empty();
        let verdict = self.0.deliver(delivery).await;
        assert!(!first, "the test says so");
        verdict
    }
}

#[tokio::test]
async fn a_door_that_panics_costs_one_attempt_and_nothing_else() {
    let (mut fake, door) = (Fake::start().await, Told::new([]));
    let following = Following::start(&fake, Fragile(door.clone())).await;

    fake.send(Sent("m1", "first"), 1).await;
    fake.until("it is given back", |seen| seen.nacked == ["first"]).await;
    fake.send(Sent("m1", "second"), 2).await;
    fake.until("it is acknowledged", |seen| seen.acked == ["second"]).await;

    following.counted(&[r#"ended_total{outcome="nacked"} 1"#, "pubsub_held 0"]);
}

#[tokio::test]
async fn messages_of_one_tenant_leave_room_for_another() {
    let (mut fake, door) = (Fake::start().await, Told::held());
    let bounds = PubsubSettings { at_once: 2, tenant_at_once: 1, ..settings(&fake.url) };
    let _following = Following::start_with(bounds, door.clone(), PATIENCE).await;
    let beta = [("tenant", "beta"), ("event", "order.created")].map(|(k, v)| (k.to_owned(), v.to_owned()));

    fake.send(Sent("m1", "a1"), 0).await;
    fake.send(Sent("m2", "a2"), 0).await;
    fake.send_with(Sent("m3", "a3"), 0, beta.into(), "").await;

    door.until_deliveries(2).await;
    assert_eq!(door.ids(), ["m1", "m3"]);
    door.may_end.add_permits(3);
    fake.until("all are acknowledged", |seen| seen.acked.len() == 3).await;
}

#[tokio::test]
async fn executions_at_once_have_a_bound() {
    let (mut fake, door) = (Fake::start().await, Told::held());
    let following =
        Following::start_with(PubsubSettings { at_once: 2, ..settings(&fake.url) }, door.clone(), PATIENCE).await;

    for index in 0..3 {
        fake.send(Sent(&format!("m{index}"), &format!("a{index}")), 0).await;
    }
    door.until_deliveries(2).await;
    following.until_held(3).await;
    assert_eq!(door.ids().len(), 2);

    door.may_end.add_permits(3);
    fake.until("all are acknowledged", |seen| seen.acked.len() == 3).await;
    assert_eq!(door.ids().len(), 3);
}
