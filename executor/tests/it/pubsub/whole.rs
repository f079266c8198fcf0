//! From a message to the script: a whole executor behind the front door.

use super::fake::{Fake, Sent};
use super::settings;
use crate::caller::Caller;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn messages_run_scripts_and_events_and_are_drained() {
    let mut fake = Fake::start().await;
    let risk = "return function(input, ctx) ctx.log.info('ran', input.n) return 1 end";
    let stock =
        "return { on = { [\"order.created\"] = function(event) if event.data.n == 2 then error('no stock') end end } }";
    let mut world = World::with_release(&[("acme", "risk", risk), ("acme", "stock", stock)]);
    world.settings.pubsub = Some(settings(&fake.url));
    let executor = world.start();
    let event = |name: &str| {
        let pairs = [("tenant", "acme"), ("event", name)];
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    };

    fake.send(Sent("m1", "script"), 1).await;
    fake.send_with(Sent("m2", "event"), 1, event("order.created"), r#"{"n":1}"#).await;
    fake.send_with(Sent("m3", "unwanted"), 1, event("order.deleted"), "{}").await;
    fake.until("what succeeds is acknowledged", |seen| seen.acked.len() == 3).await;
    fake.send_with(Sent("m4", "fails"), 1, event("order.created"), r#"{"n":2}"#).await;
    fake.until("what fails is given back", |seen| seen.nacked == ["fails"]).await;

    let metrics = Caller::connect(executor.address()).await.get("/metrics").await.body;
    assert!(metrics.contains("moonswarm_pubsub_delivered_total 4\n"), "{metrics}");
    assert!(metrics.contains(r#"tenant="acme",code="ok"} 2"#), "{metrics}");
    tokio::task::spawn_blocking(|| executor.drain()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_through_middleware() {
    let mut fake = Fake::start().await;
    let layer = "return { before = function(ctx, input, call)
        if input.n == 2 then error('not this one') end
        return { n = input.n, of = call.script }
    end }";
    let risk = "return function(input) assert(input.of == 'risk') return 1 end";
    let mut world = World::with_release(&[("acme", "risk", risk), ("@stack", "base", layer)]);
    world.settings.pubsub = Some(settings(&fake.url));
    let executor = world.start();
    let to = |tenant: &str| {
        let pairs = [("tenant", tenant), ("script", if tenant == "acme" { "risk" } else { "base" })];
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    };

    fake.send_with(Sent("m1", "passes"), 1, to("acme"), r#"{"n":1}"#).await;
    fake.until("what passes is acknowledged", |seen| seen.acked == ["passes"]).await;
    fake.send_with(Sent("m2", "refused"), 1, to("acme"), r#"{"n":2}"#).await;
    fake.until("what is refused is given back", |seen| seen.nacked == ["refused"]).await;
    fake.send_with(Sent("m3", "reserved"), 1, to("@stack"), "{}").await;
    fake.until("the operator's scripts are nobody's to call", |seen| seen.nacked == ["refused", "reserved"]).await;
    tokio::task::spawn_blocking(|| executor.drain()).await.unwrap();
}
