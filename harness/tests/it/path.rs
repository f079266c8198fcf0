//! From push to live, with real programs.

use std::process::Stdio;

use contract::Version;
use harness::laptop::BUCKET;
use serde_json::json;

use crate::support::{DEADLINE, RULE, rule, stack};

#[tokio::test]
async fn a_push_that_waited_is_live_on_every_executor() {
    let stack = stack(3).await;

    let answer = stack.manager.push("acme", "risk", RULE.as_bytes(), "wait=10s").await.unwrap().unwrap();

    let live = answer.live.unwrap();
    assert_eq!((live.executors, live.acknowledged), (3, 3));
    for index in 0..3 {
        let run = stack.run_on(index, "acme", "risk").await;
        assert_eq!((run.status, &run.body), (200, &json!({"output": {"k": 1}})));
        assert_eq!(run.version, Some(Version::of(RULE.as_bytes())));
        assert_eq!(run.release, Some(answer.release));
    }
}

#[tokio::test]
async fn the_same_content_again_changes_nothing() {
    let stack = stack(1).await;
    let first = stack.manager.push("acme", "risk", RULE.as_bytes(), "wait=10s").await.unwrap().unwrap();

    let again = stack.manager.push("acme", "risk", RULE.as_bytes(), "wait=10s").await.unwrap().unwrap();

    assert!(again.unchanged);
    assert_eq!((again.release, again.generation), (first.release, first.generation));
}

#[tokio::test]
async fn an_upload_to_the_bucket_goes_live_by_its_notification() {
    let stack = stack(2).await;

    stack.laptop.cloud.storage().put(BUCKET, "tenants/acme/scripts/risk.luau", RULE).unwrap();

    stack.wait_for_k("acme", "risk", 1).await;
}

#[tokio::test]
async fn a_package_that_was_pushed_or_uploaded_runs_and_may_take_a_texts_place() {
    let stack = stack(2).await;
    let package = |k: u64| {
        let mut tar = tar::Builder::new(Vec::new());
        let rule = rule(k);
        for (path, source) in [("risk/init.luau", "return require('./rules/k')"), ("risk/rules/k.luau", rule.as_str())]
        {
            let mut header = tar::Header::new_ustar();
            header.set_size(source.len() as u64);
            tar.append_data(&mut header, path, source.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
    };
    stack.push_rule().await;

    stack.manager.push("acme", "risk", &package(2), "wait=10s").await.unwrap().unwrap();
    stack.wait_for_k("acme", "risk", 2).await;

    stack.laptop.cloud.storage().put(BUCKET, "tenants/acme/scripts/risk.tar", package(3)).unwrap();
    stack.wait_for_k("acme", "risk", 3).await;

    stack.manager.push("acme", "risk", rule(4).as_bytes(), "wait=10s").await.unwrap().unwrap();
    stack.wait_for_k("acme", "risk", 4).await;
}

#[tokio::test]
async fn the_founding_object_runs_as_default_latest() {
    let stack = stack(1).await;
    let source =
        r#"host_log("info", "hello " .. input.user_id) result = { output = input.user_id .. os.date("!%Y", 0) }"#;

    stack.laptop.cloud.storage().put(BUCKET, "latest.lua", source).unwrap();

    let url = &stack.laptop.executor_urls[0];
    let run = harness::wait::wait_until("default/latest answers", DEADLINE, async || {
        let run = stack.caller.run(url, "default", "latest", r#"{"user_id":"u-1 "}"#).await.unwrap();
        if run.status == 200 { Ok(run) } else { Err(format!("{run:?}")) }
    })
    .await
    .unwrap();
    assert_eq!(run.body, json!({"output": "u-1 1970"}));
}

#[tokio::test]
async fn a_rollback_brings_the_former_version_back_and_names_it() {
    let stack = stack(2).await;
    stack.push_rule().await;
    stack.manager.push("acme", "risk", rule(2).as_bytes(), "wait=10s").await.unwrap().unwrap();
    stack.wait_for_k("acme", "risk", 2).await;

    let back = stack.manager.rollback("acme", "risk", None).await.unwrap().unwrap();

    assert_eq!(back.version, Some(Version::of(RULE.as_bytes())));
    stack.rule_still_runs().await;
    let versions = stack.manager.versions("acme", "risk").await.unwrap().unwrap().versions;
    assert_eq!(versions.len(), 3, "{versions:?}");
    assert!(versions[0].running);
}

#[tokio::test]
async fn a_removed_script_is_unknown_everywhere() {
    let stack = stack(2).await;
    stack.push_rule().await;

    stack.manager.remove("acme", "risk").await.unwrap().unwrap();

    for index in 0..2 {
        let run = stack.run_on(index, "acme", "risk").await;
        assert_eq!((run.status, &run.body["code"]), (404, &json!("unknown_tenant")));
    }
}

#[tokio::test]
async fn of_two_authors_at_once_one_wins_and_the_other_is_told_who() {
    let stack = stack(1).await;
    stack.push_rule().await;
    let before = stack.manager.versions("acme", "risk").await.unwrap().unwrap().versions[0].generation;

    let (two, three) = (rule(2), rule(3));
    let (first, second) = tokio::join!(
        stack.manager.push_if("acme", "risk", two.as_bytes(), before),
        stack.manager.push_if("acme", "risk", three.as_bytes(), before),
    );

    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(u8::from(first.is_ok()) + u8::from(second.is_ok()), 1, "{first:?} {second:?}");
    let problem = first.err().or(second.err()).unwrap();
    assert_eq!(problem.code, contract::Code::Conflict);
    assert!(problem.detail.contains("generation"), "{}", problem.detail);
}

#[tokio::test]
async fn the_authors_program_pushes_waits_and_says_how_many_executors_run_it() {
    let stack = stack(3).await;
    let programs = harness::programs::Programs::build().unwrap();
    let examples = harness::programs::workspace().join("examples");

    let output = tokio::process::Command::new(programs.moonswarm)
        .args(["push", "risk.luau", "--tenant", "acme", "--wait", "--manager", &stack.laptop.manager_url])
        .current_dir(&examples)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();

    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("live on 3/3 executors"), "{said}");
    let input = fs_err::read(examples.join("risk.json")).unwrap();
    let run = stack.caller.run(&stack.laptop.executor_urls[2], "acme", "risk", input).await.unwrap();
    assert_eq!(run.status, 200, "{run:?}");
    assert!(run.body["output"]["decision"].is_string(), "{run:?}");
}
