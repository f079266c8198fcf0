//! Events, and how many executions of a script there are at once.

use contract::Code;

use crate::world::running;

const LISTENS: &str =
    "return { on = { [\"order.created\"] = function(event, ctx) return { event.name, event.data.id } end } }";
const FAILS: &str = "return { on = { [\"order.created\"] = function() error(\"no stock\") end } }";
const HANDLES: &str = "return function() return 1 end";

fn outcomes(body: &str) -> serde_json::Value {
    serde_json::from_str::<serde_json::Value>(body).unwrap()["outcomes"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_goes_to_every_script_that_wants_it_and_tells_what_became_of_it() {
    let scripts =
        [("acme", "stock", LISTENS), ("acme", "mail", FAILS), ("acme", "risk", HANDLES), ("zoo", "x", LISTENS)];
    let (_world, mut caller) = running(&scripts).await;

    let reply = caller.post("/v1/events/acme/order.created", r#"{"id":7}"#).await;

    assert_eq!((reply.status, reply.header("x-moonswarm-release")), (200, "1"));
    let outcomes = outcomes(&reply.body);
    assert_eq!(outcomes["stock"]["result"], serde_json::json!(["order.created", 7]));
    assert_eq!(outcomes["mail"]["problem"]["code"], "script_error");
    assert_eq!(outcomes["mail"]["problem"]["detail"], "mail.luau:1: no stock");
    assert_eq!(outcomes.as_object().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_nobody_wants_starts_no_vm() {
    let (_world, mut caller) = running(&[("acme", "stock", LISTENS)]).await;

    let reply = caller.post("/v1/events/acme/order.deleted", "{}").await;

    assert_eq!((reply.status, outcomes(&reply.body)), (200, serde_json::json!({})));
    let metrics = caller.get("/metrics").await.body;
    assert!(metrics.contains("moonswarm_vms 0\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_unknown_tenants_and_with_odd_names_are_refused() {
    let (_world, mut caller) = running(&[("acme", "stock", LISTENS)]).await;

    assert_eq!(caller.post("/v1/events/nobody/order.created", "").await.problem().code, Code::UnknownTenant);
    assert_eq!(caller.post("/v1/events/acme/a..b", "").await.problem().code, Code::BadRequest);
    assert_eq!(caller.get("/v1/events/acme/order.created").await.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_bounds_how_many_of_it_run_at_once() {
    let one = "return { limits = { concurrency = 1 }, handle = function() task.wait(0.5) return 1 end }";
    let (_world, mut caller) = running(&[("acme", "one", one)]).await;
    let first = caller.post("/v1/run/acme/one?wait=0", "").await.header("location").to_owned();

    let second = caller.post("/v1/run/acme/one", "").await;

    assert_eq!((second.status, second.problem().code), (429, Code::Overloaded));
    assert_eq!(second.header("retry-after"), "1");
    assert_eq!(caller.get(&format!("{first}?wait=10s")).await.body, "1");
    assert_eq!(caller.post("/v1/run/acme/one", "").await.status, 200);
}
