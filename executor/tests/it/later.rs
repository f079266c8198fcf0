//! Executions that take longer than their caller waits.

use http::Method;

use crate::caller::Caller;
use crate::world::running;

const SLOW: &str = "return function(input) task.wait(0.3) return { slept = input } end";
const ENDLESS: &str = "return function() task.wait(1.9) return 1 end";

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_wait_is_sent_away_and_finds_the_very_answer_later() {
    let (_world, mut caller) = running(&[("acme", "slow", SLOW)]).await;

    let away = caller.post("/v1/run/acme/slow?wait=0", "7").await;
    assert_eq!(away.status, 202);
    let path = away.header("location").to_owned();
    let early = caller.get(&path).await;
    assert_eq!((early.status, early.header("location")), (202, &*path));

    let there = caller.get(&format!("{path}?wait=10s")).await;

    assert_eq!((there.status, there.body.as_str()), (200, r#"{"slept":7}"#));
    assert_eq!(path, format!("/v1/executions/{}", there.header("x-moonswarm-execution-id")));
    assert_eq!((there.header("x-moonswarm-release"), there.header("content-type")), ("1", "application/json"));
    assert_eq!(caller.get(&path).await.body, there.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_long_enough_has_the_answer_at_once() {
    let (_world, mut caller) = running(&[("acme", "slow", SLOW)]).await;

    let reply = caller.post("/v1/run/acme/slow", "7").await;

    assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"slept":7}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_served_while_one_waits() {
    let quick = "return function() return 1 end";
    let (_world, mut caller) = running(&[("acme", "slow", ENDLESS), ("acme", "quick", quick)]).await;
    let path = caller.post("/v1/run/acme/slow?wait=0", "").await.header("location").to_owned();

    assert_eq!(caller.post("/v1/run/acme/quick", "").await.body, "1");

    assert_eq!(caller.get(&path).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_waits_can_be_cancelled() {
    let (_world, mut caller) = running(&[("acme", "slow", ENDLESS)]).await;
    let path = caller.post("/v1/run/acme/slow?wait=0", "").await.header("location").to_owned();

    assert_eq!(caller.ask(Method::DELETE, &path, "").await.status, 204);

    let reply = caller.get(&format!("{path}?wait=10s")).await;
    assert_eq!((reply.status, reply.problem().code), (409, contract::Code::Cancelled));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_hangs_up_does_not_end_what_it_was_sent_away_from() {
    let world = crate::world::World::with_release(&[("acme", "slow", SLOW)]);
    let executor = world.start();
    let mut caller = Caller::connect(executor.address()).await;
    let path = caller.post("/v1/run/acme/slow?wait=0", "7").await.header("location").to_owned();
    drop(caller);

    let mut other = Caller::connect(executor.address()).await;
    let reply = other.get(&format!("{path}?wait=10s")).await;

    assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"slept":7}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_or_not_asked_rightly_says_so() {
    let (_world, mut caller) = running(&[("acme", "slow", SLOW)]).await;

    let told = [
        caller.get("/v1/executions/0197a1b2-0000-7000-8000-000000000000").await,
        caller.ask(Method::DELETE, "/v1/executions/0197a1b2-0000-7000-8000-000000000000", "").await,
        caller.get("/v1/executions/nonsense").await,
        caller.post("/v1/run/acme/slow?wait=2h", "").await,
        caller.ask(Method::PUT, "/v1/executions/x", "").await,
    ];

    let told: Vec<_> = told.iter().map(|reply| format!("{} {}", reply.status, reply.problem().detail)).collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    404 this executor knows no execution `0197a1b2-0000-7000-8000-000000000000`
    404 this executor knows no execution `0197a1b2-0000-7000-8000-000000000000`
    400 `nonsense` is no id of an execution
    400 `wait` is `2h`
    405 PUT does not go with /v1/executions/x; use GET, HEAD, DELETE
    ");
}
