//! Scripts that are packages, and what the gate asks of every script.

use std::sync::Arc;

use bytes::Bytes;
use contract::Version;
use contract::api::{ChangeAnswer, ScriptInfo};
use manager::bucket::Metadata;
use manager::hints::{Kind, Outcome};
use reqwest::Method;

use crate::world::{Answer, Options, PaperSwarm, RISK, World};

const RISK_TAR: &str = "tenants/acme/scripts/risk.tar";
const PATH: &str = "/v1/tenants/acme/scripts/risk";

fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn package(answer: &str) -> Vec<u8> {
    tar(&[("init.luau", "return require('./answer')"), ("answer.luau", answer)])
}

async fn put(world: &World, headers: &[(&str, &str)], bytes: &[u8]) -> Answer {
    world.call(Method::PUT, &format!("{PATH}?wait=5s"), headers, bytes.to_vec()).await
}

#[tokio::test]
async fn a_package_is_released_from_its_bytes_and_lies_in_an_object_of_its_form() {
    let world = World::start().await;
    let [_follower] = world.followers(["one"]).await;
    let bytes = package("return function() return 1 end");

    let answer: ChangeAnswer = put(&world, &[], &bytes).await.body();

    assert_eq!(answer.version, Some(Version::of(&bytes)));
    assert_eq!(world.bucket.live(RISK_TAR).unwrap().1, bytes);
    let info: ScriptInfo = world.get(PATH).await.body();
    assert_eq!((info.running.unwrap().object.as_str(), info.source), (RISK_TAR, None));
}

#[tokio::test]
async fn an_uploaded_package_goes_live_by_its_notification() {
    let world = World::start().await;
    let bytes = Bytes::from(package("return function() return 1 end"));
    let generation = world.bucket.put(RISK_TAR, bytes, Metadata::new());

    assert_eq!(world.hint(RISK_TAR, generation, Kind::Finalize).await, Outcome::Released);
    assert_eq!(world.release(), 2);
}

#[tokio::test]
async fn a_script_that_becomes_a_package_moves_and_moves_back() {
    let world = World::start().await;
    let [follower] = world.followers(["one"]).await;
    let first = world.push("acme/risk", "return 1").await;

    let second: ChangeAnswer = put(&world, &[], &package("return 2")).await.body();

    assert!(second.generation > first.generation);
    assert_eq!(world.bucket.live(RISK), None);
    world.reconcile().await.unwrap();
    assert_eq!(world.release(), second.release);

    let back: ChangeAnswer = world.rollback("acme/risk", None).await.body();

    assert_eq!(back.version, first.version);
    assert_eq!(follower.source("acme", "risk").unwrap(), "return 1");
    assert_eq!((world.bucket.live(RISK).unwrap().1, world.bucket.live(RISK_TAR)), ("return 1".into(), None));

    let again: ChangeAnswer = world.rollback("acme/risk", second.version.as_ref().map(Version::short)).await.body();
    assert_eq!(again.version, second.version);
}

#[tokio::test]
async fn an_author_of_another_form_keeps_to_the_same_conditions() {
    let world = World::start().await;
    let first = world.push("acme/risk", "return 1").await.generation.unwrap().to_string();

    let absent = put(&world, &[("if-none-match", "*")], &package("return 2")).await;
    let other = put(&world, &[("if-match", "1")], &package("return 2")).await;
    assert_eq!((absent.status, other.status), (412, 412));

    // Another author uploads while this manager still believes in the old generation.
    world.bucket.upload(RISK, "return 'other'");
    let late = put(&world, &[("if-match", &first)], &package("return 2")).await;
    assert!(late.problem().contains("written by bucket upload"), "{}", late.text);
    assert_eq!(world.bucket.live(RISK_TAR), None);

    world.reconcile().await.unwrap();
    let running = world.get(PATH).await.body::<ScriptInfo>().running.unwrap().generation.to_string();
    assert_eq!(put(&world, &[("if-match", &running)], &package("return 2")).await.status, 200);
}

#[tokio::test]
async fn a_package_after_one_that_was_refused_goes_through() {
    let world = World::start().await;
    world.push("acme/risk", "return 1").await;
    let generation = world.bucket.put(RISK_TAR, Bytes::from(package("return")), Metadata::new());
    world.bucket.put(RISK_TAR, Bytes::from(package("return return")), Metadata::new());
    assert_eq!(world.hint(RISK_TAR, generation, Kind::Finalize).await, Outcome::Refused);

    let answer = put(&world, &[], &package("return 2")).await;

    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn a_package_that_swarm_takes_back_is_a_text_again() {
    let swarm = Arc::new(PaperSwarm::default());
    *swarm.fails.lock().unwrap() = Some("task exited with code 1");
    let world = World::with(Options { swarm: Some(Arc::clone(&swarm)), ..Options::default() }).await;
    let [follower] = world.followers(["one"]).await;
    world.push("acme/risk", "return 1").await;

    let path = format!("{PATH}?wait=10s&activation=rolling");
    let answer = world.call(Method::PUT, &path, &[], package("return 2")).await;

    assert_eq!(answer.status, 502, "{}", answer.text);
    follower.runs(4).await;
    assert_eq!(follower.source("acme", "risk").unwrap(), "return 1");
    world.reconcile().await.unwrap();
    assert_eq!(world.release(), 4);
}

#[tokio::test]
async fn a_refused_package_names_every_place_and_changes_nothing() {
    let world = World::start().await;
    let bytes = tar(&[("init.luau", "return ="), ("rules/vip.luau", "local = 1")]);

    let answer = put(&world, &[], &bytes).await;

    insta::assert_snapshot!(answer.problem(), @"
    422 script_refused: init.luau:1: Expected identifier when parsing expression, got '='; and 1 more
    hint: nothing was changed; `moonswarm check FILE` judges as the manager does
    at init.luau:1: Expected identifier when parsing expression, got '='
    at rules/vip.luau:1: Expected identifier when parsing variable name, got '='
    ");
    assert_eq!((world.release(), world.bucket.writes()), (1, 1));
}

#[tokio::test]
async fn a_test_that_fails_refuses_the_push() {
    let world = World::start().await;
    let source = "local function handle(input) return { output = input.n + 1 } end
return { handle = handle, tests = {
  counts = function(t) t.equal(handle({ n = 1 }, t.ctx), { output = 3 }) end,
} }";

    insta::assert_snapshot!(world.put("acme/risk", "", source).await.problem(), @r#"
    422 script_refused: risk.luau:3: test "counts" failed: got {"output":2}, expected {"output":3}
    hint: nothing was changed; `moonswarm check FILE` judges as the manager does
    at risk.luau:3: test "counts" failed: got {"output":2}, expected {"output":3}
    "#);
    assert_eq!(world.release(), 1);
}

#[tokio::test]
async fn a_declaration_that_can_not_be_right_refuses_the_push() {
    let world = World::start().await;
    let source = "return { handle = print, state = 'warm', limits = { cpu = 20 } }";

    insta::assert_snapshot!(world.put("acme/risk", "", source).await.problem(), @r#"
    422 script_refused: risk.luau: `limits.cpu` is the number 20; expected a text such as "20ms" or "1s", at least 1ms; and 1 more
    hint: nothing was changed; `moonswarm check FILE` judges as the manager does
    at risk.luau: `limits.cpu` is the number 20; expected a text such as "20ms" or "1s", at least 1ms
    at risk.luau: `state` is "warm"; expected "fresh", "pooled" or "tenant"
    "#);
    assert_eq!(world.release(), 1);
}
