//! Middleware and the life cycle, from the push to the call, with real programs.

use harness::laptop::BUCKET;
use harness::wait::wait_until;
use serde_json::json;

use crate::support::{DEADLINE, Stack, stack};

/// Refuses inputs without a key.
const GUARD: &str = "return { before = function(ctx, input)
    if not input.key then error('no key', 0) end
    return { k = input.key }
end }";

/// Notes what it looked at.
const AUDIT: &str = "return { after = function(ctx, result, input, call)
    result.audited = call.tenant .. '/' .. call.script
    return result
end }";

const ECHO: &str = "return function(input) return input end";

async fn run(stack: &Stack, tenant: &str, input: &str) -> (u16, serde_json::Value) {
    let url = &stack.laptop.executor_urls[0];
    let answer = stack.caller.run(url, tenant, "echo", input.to_owned()).await.unwrap();
    (answer.status, answer.body)
}

#[tokio::test]
async fn a_layer_is_pushed_and_taken_back_like_any_script() {
    let stack = stack(2).await;
    let push = async |tenant: &str, script: &str, source: &str| {
        let answer = stack.manager.push(tenant, script, source.as_bytes(), "wait=10s").await.unwrap().unwrap();
        assert!(answer.live.unwrap().is_complete());
    };
    push("acme", "echo", ECHO).await;
    push("zoo", "echo", ECHO).await;
    assert_eq!(run(&stack, "acme", "{}").await, (200, json!({})));

    push("acme", "guard", GUARD).await;
    let (status, problem) = run(&stack, "acme", "{}").await;
    assert_eq!((status, &problem["code"]), (403, &json!("rejected_by_middleware")));
    assert_eq!(problem["detail"], "`guard` refused the call: no key");
    assert_eq!(run(&stack, "acme", r#"{"key":7}"#).await, (200, json!({ "k": 7 })));
    assert_eq!(run(&stack, "zoo", "{}").await, (200, json!({})));

    push("@stack", "audit", AUDIT).await;
    assert_eq!(run(&stack, "acme", r#"{"key":7}"#).await, (200, json!({ "k": 7, "audited": "acme/echo" })));
    assert_eq!(run(&stack, "zoo", "{}").await, (200, json!({ "audited": "zoo/echo" })));

    let broken = AUDIT.replace("call.tenant", "call.missing");
    push("@stack", "audit", &broken).await;
    let (status, problem) = run(&stack, "zoo", "{}").await;
    assert_eq!((status, &problem["code"]), (422, &json!("middleware_failed")));

    stack.manager.rollback("@stack", "audit", None).await.unwrap().unwrap();
    wait_until("the layer is taken back", DEADLINE, async || {
        let answer = run(&stack, "zoo", "{}").await;
        if answer == (200, json!({ "audited": "zoo/echo" })) { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await
    .unwrap();

    stack.manager.remove("acme", "guard").await.unwrap().unwrap();
    wait_until("nobody needs a key any more", DEADLINE, async || {
        let answer = run(&stack, "acme", "{}").await;
        if answer.0 == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_operators_layer_may_be_uploaded_to_the_bucket() {
    let stack = stack(1).await;
    stack.manager.push("acme", "echo", ECHO.as_bytes(), "wait=10s").await.unwrap().unwrap();

    stack.laptop.cloud.storage().put(BUCKET, "tenants/@stack/scripts/audit.luau", AUDIT).unwrap();

    wait_until("calls are audited", DEADLINE, async || {
        let answer = run(&stack, "acme", "{}").await;
        if answer == (200, json!({ "audited": "acme/echo" })) { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await
    .unwrap();
    let (status, problem) = {
        let url = &stack.laptop.executor_urls[0];
        let answer = stack.caller.run(url, "@stack", "audit", "{}").await.unwrap();
        (answer.status, answer.body)
    };
    assert_eq!((status, &problem["code"]), (404, &json!("unknown_tenant")));
}

#[tokio::test]
async fn a_new_version_is_told_what_it_replaces_and_its_failure_takes_nothing_back() {
    let stack = stack(1).await;
    let version = |k: u64| {
        format!(
            "told = 'nothing'
            return {{ state = 'tenant', handle = function() return {{ k = {k}, told = told }} end,
                on = {{ OnStartup = function() told = 'start' end,
                        OnReload = function(event) told = #event.data.old + #event.data.new error('oh no') end }} }}"
        )
    };
    let push = async |k: u64| {
        let answer = stack.manager.push("acme", "echo", version(k).as_bytes(), "wait=10s").await.unwrap().unwrap();
        assert!(answer.live.unwrap().is_complete());
    };

    push(1).await;
    assert_eq!(run(&stack, "acme", "{}").await, (200, json!({ "k": 1, "told": "start" })));
    push(2).await;
    assert_eq!(run(&stack, "acme", "{}").await.1["k"], 2);
}
