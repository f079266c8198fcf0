//! Policies, with real programs: what an operator and a tenant say holds at once, and can be taken back.

use contract::api::PolicyAnswer;
use harness::client::RunAnswer;
use harness::laptop::BUCKET;
use harness::wait::wait_until;
use reqwest::Method;

use crate::support::{DEADLINE, Stack, stack};

const LONG: &str = "return function() local x = 0 while true do x += 1 end end";
const OWN: &str = r#"return function() return { limits = { cpu = "7ms" } } end"#;
const OVER_WIDE: &str = r#"return function() return { limits = { cpu = "10s", wall = "10min" } } end"#;
const OPERATORS: &str = r#"return function() return { defaults = { limits = { cpu = "11ms" } } } end"#;
const SLOW: &str = r#"return function() return { rate = { per_second = 0.01, burst = 1 } } end"#;

impl Stack {
    async fn policy(&self, tenant: &str, source: &str) {
        let answer = self.manager.push(tenant, "@policy", source.as_bytes(), "wait=10s").await.unwrap().unwrap();
        assert!(answer.live.unwrap().is_complete());
    }

    /// On every executor, `acme/long` is told that it may use this much CPU time.
    async fn allows(&self, cpu: &str) {
        for index in 0..self.laptop.executor_urls.len() {
            let hint = self.run_on(index, "acme", "long").await.body["hint"].to_string();
            assert!(hint.contains(&format!("an execution may take {cpu} of CPU time")), "executor {index}: {hint}");
        }
    }
}

async fn with_a_long_script() -> Stack {
    let stack = stack(2).await;
    stack.manager.push("acme", "long", LONG.as_bytes(), "wait=10s").await.unwrap().unwrap();
    stack
}

#[tokio::test]
async fn a_policy_holds_on_every_executor_when_its_push_returns_and_a_rollback_restores_the_former() {
    let stack = with_a_long_script().await;
    stack.allows("50ms (built in)").await;

    stack.policy("@stack", OPERATORS).await;
    stack.allows("11ms (the stack's defaults)").await;
    stack.policy("acme", OWN).await;
    stack.allows("7ms (the tenant's policy)").await;
    stack.policy("acme", OVER_WIDE).await;
    stack.allows("11ms (the stack's defaults)").await;

    stack.manager.rollback("acme", "@policy", None).await.unwrap().unwrap();
    stack.allows("7ms (the tenant's policy)").await;
    stack.manager.remove("acme", "@policy").await.unwrap().unwrap();
    stack.manager.remove("@stack", "@policy").await.unwrap().unwrap();
    stack.allows("50ms (built in)").await;
}

#[tokio::test]
async fn a_policy_may_be_uploaded_to_the_bucket_and_what_is_none_is_refused() {
    let stack = with_a_long_script().await;

    stack.laptop.cloud.storage().put(BUCKET, "tenants/acme/scripts/@policy.luau", OWN).unwrap();
    let terms = wait_until("the policy holds", DEADLINE, async || {
        let answer = stack.manager.request(Method::GET, "/v1/tenants/acme/policy").send().await.unwrap();
        let terms: PolicyAnswer = answer.json().await.unwrap();
        if terms.tenant_version.is_some() { Ok(terms) } else { Err(format!("{terms:?}")) }
    })
    .await
    .unwrap();
    assert_eq!(terms.effective.cpu.to_string(), "7ms (the tenant's policy)");
    wait_until("executors follow", DEADLINE, async || {
        let hint = stack.run_on(0, "acme", "long").await.body["hint"].to_string();
        if hint.contains("7ms") { Ok(()) } else { Err(hint) }
    })
    .await
    .unwrap();

    let problem =
        stack.manager.push("acme", "@policy", b"return function() return 5 end", "").await.unwrap().unwrap_err();
    assert_eq!(problem.code, contract::Code::ScriptRefused);
    stack.allows("7ms (the tenant's policy)").await;
}

#[tokio::test]
async fn who_is_too_fast_is_told_when_to_come_back_until_the_policy_goes() {
    let stack = with_a_long_script().await;
    stack.push_rule().await;
    stack.policy("acme", SLOW).await;
    let url = &stack.laptop.executor_urls[0];
    let run = async || -> RunAnswer { stack.caller.run(url, "acme", "risk", "{}").await.unwrap() };

    assert_eq!(run().await.status, 200);
    let refused = run().await;

    assert_eq!((refused.status, &refused.body["code"]), (429, &"overloaded".into()));
    let said = reqwest::Client::new().post(format!("{url}/v1/run/acme/risk")).send().await.unwrap();
    let after: u64 = said.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=100).contains(&after), "{after}");
    stack.manager.remove("acme", "@policy").await.unwrap().unwrap();
    assert_eq!(run().await.status, 200);
}
