//! Bad input gets a clear answer, and what ran goes on.

use contract::{Code, Problem};
use harness::laptop::BUCKET;
use harness::wait::wait_until;
use serde_json::Value;

use crate::support::{DEADLINE, RULE, Stack, rule, stack};

/// Pushes a source that must be refused; the problem.
async fn refused(stack: &Stack, source: &[u8]) -> Problem {
    let problem = stack.manager.push("acme", "risk", source, "wait=10s").await.unwrap().unwrap_err();
    stack.rule_still_runs().await;
    problem
}

/// The words of a problem without its id.
fn words(problem: &Problem) -> String {
    let mut text = format!("{} {}: {}", problem.status, problem.code, problem.detail);
    for diagnostic in &problem.diagnostics {
        text += &format!("\n  {diagnostic}");
    }
    if let Some(hint) = &problem.hint {
        text += &format!("\nhint: {hint}");
    }
    text
}

fn body_words(body: &Value) -> String {
    words(&serde_json::from_value(body.clone()).unwrap_or_else(|err| panic!("{body} is no problem: {err}")))
}

#[tokio::test]
async fn scripts_that_the_gate_refuses_are_told_why_and_change_nothing() {
    let stack = stack(2).await;
    stack.push_rule().await;

    let syntax = refused(&stack, b"return function(input)\n  return { output = }\nend").await;
    assert_eq!((syntax.code, syntax.diagnostics[0].line), (Code::ScriptRefused, 2));
    insta::assert_snapshot!(words(&syntax), @r"
    422 script_refused: risk.luau:2: Expected identifier when parsing expression, got '}'
      risk.luau:2: Expected identifier when parsing expression, got '}'
    hint: nothing was changed; `moonswarm check FILE` judges as the manager does
    ");
    insta::assert_snapshot!(words(&refused(&stack, b"").await), @r"
    422 script_refused: `risk.luau` is empty
    hint: nothing was changed; `moonswarm check FILE` judges as the manager does
    ");
    insta::assert_snapshot!(words(&refused(&stack, b"return '\xff\xfe'").await), @r"
    422 script_refused: risk.luau:1: not UTF-8
      risk.luau:1: not UTF-8
    hint: nothing was changed; `moonswarm check FILE` judges as the manager does
    ");
    insta::assert_snapshot!(words(&refused(&stack, &vec![b' '; 300 << 10]).await), @r"
    413 too_large: `risk.luau` has 307200 bytes, the limit is 256 KiB
    hint: nothing was changed; `moonswarm check FILE` judges as the manager does
    ");
}

#[tokio::test]
async fn names_that_are_none_are_refused_by_manager_and_executor() {
    let stack = stack(1).await;
    stack.push_rule().await;

    for name in ["a..b".to_owned(), "x".repeat(65), "%2e%2e%2fetc".to_owned()] {
        let problem = stack.manager.push("acme", &name, RULE.as_bytes(), "").await.unwrap().unwrap_err();
        assert_eq!(problem.code, Code::BadRequest, "{problem:?}");
        assert!(problem.detail.contains("name"), "{problem:?}");
        let run = stack.run_on(0, "acme", &name).await;
        assert_eq!((run.status, &run.body["code"]), (400, &Value::from("bad_request")), "{run:?}");
    }
    stack.rule_still_runs().await;
}

#[tokio::test]
async fn calls_that_cannot_be_answered_are_told_why() {
    let stack = stack(1).await;
    stack.push_rule().await;
    let url = &stack.laptop.executor_urls[0];
    let run =
        async |tenant: &str, script: &str, input: Vec<u8>| stack.caller.run(url, tenant, script, input).await.unwrap();

    insta::assert_snapshot!(body_words(&run("nobody", "risk", b"{}".to_vec()).await.body), @r"
    404 unknown_tenant: release 2 has no script of tenant `nobody`
    hint: `moonswarm push FILE --tenant nobody` adds one
    ");
    insta::assert_snapshot!(body_words(&run("acme", "risc", b"{}".to_vec()).await.body), @r"
    404 unknown_script: release 2 has no script `risc` of tenant `acme`
    hint: `moonswarm list --tenant acme` shows its scripts
    ");
    insta::assert_snapshot!(body_words(&run("acme", "risk", b"{\"amount\": 1,\n oops}".to_vec()).await.body), @r"
    400 bad_json: input is not usable JSON: key must be a string at line 2 column 2
    hint: send JSON (RFC 8259), or no body at all for `null`
    ");
    insta::assert_snapshot!(body_words(&run("acme", "risk", vec![b' '; (1 << 20) + 1]).await.body), @r"
    413 too_large: the body may have 1048576 bytes, this one has 1048577 bytes
    hint: send less, or split the input over several calls
    ");
    stack.rule_still_runs().await;
}

#[tokio::test]
async fn a_bucket_of_1001_scripts_is_read_whole() {
    let stack = stack(1).await;
    stack.push_rule().await;

    for number in 0..1001 {
        let object = format!("tenants/many/scripts/rule-{number}.luau");
        stack.laptop.cloud.storage().put(BUCKET, &object, rule(number)).unwrap();
    }

    wait_until("the release has 1002 scripts", DEADLINE, async || {
        let status = stack.manager.status().await.unwrap().unwrap();
        if status.scripts == 1002 { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await
    .unwrap();
    stack.wait_for_k("many", "rule-0", 0).await;
    stack.wait_for_k("many", "rule-1000", 1000).await;
    stack.rule_still_runs().await;
}

#[tokio::test]
async fn a_refused_upload_leaves_the_old_version_and_stands_in_the_status() {
    let stack = stack(1).await;
    stack.push_rule().await;

    stack.laptop.cloud.storage().put(BUCKET, "tenants/acme/scripts/risk.luau", "return function( end").unwrap();

    let refused = wait_until("the status names the refused upload", DEADLINE, async || {
        let status = stack.manager.status().await.unwrap().unwrap();
        status.refused.first().cloned().ok_or(format!("{status:?}"))
    })
    .await
    .unwrap();
    assert_eq!(refused.script.as_str(), "risk");
    assert_eq!(refused.refused.unwrap().diagnostics[0].line, 1);
    stack.rule_still_runs().await;
}
