//! Notifications: doubled, late, wrong, and about things that are gone.

use manager::hints::{Kind, Outcome};

use crate::executor::Manners;
use crate::world::{RISK, World};

#[tokio::test]
async fn an_upload_goes_live_by_its_notification() {
    let world = World::start().await;
    let [follower] = world.followers(["one"]).await;
    let generation = world.bucket.upload(RISK, "return 1");

    let outcome = world.hint(RISK, generation, Kind::Finalize).await;

    assert_eq!(outcome, Outcome::Released);
    follower.runs(2).await;
    assert_eq!(follower.source("acme", "risk").unwrap(), "return 1");
}

#[tokio::test]
async fn a_doubled_notification_does_nothing_more() {
    let world = World::start().await;
    let generation = world.bucket.upload(RISK, "return 1");

    let first = world.hint(RISK, generation, Kind::Finalize).await;
    let reads = world.bucket.reads();
    let second = world.hint(RISK, generation, Kind::Finalize).await;

    assert_eq!((first, second), (Outcome::Released, Outcome::Superseded));
    assert_eq!((world.release(), world.bucket.reads()), (2, reads));
}

#[tokio::test]
async fn notifications_in_the_wrong_order_end_with_the_newest() {
    let world = World::start().await;
    let old = world.bucket.upload(RISK, "return 1");
    let new = world.bucket.upload(RISK, "return 2");

    let second = world.hint(RISK, new, Kind::Finalize).await;
    let first = world.hint(RISK, old, Kind::Finalize).await;

    assert_eq!((second, first), (Outcome::Released, Outcome::Superseded));
    assert_eq!(world.bucket.live(RISK).unwrap().1, "return 2");
    assert_eq!(world.release(), 2);
}

#[tokio::test]
async fn a_notification_of_something_old_brings_what_is_live() {
    let world = World::start().await;
    let [follower] = world.followers(["one"]).await;
    let old = world.bucket.upload(RISK, "return 1");
    world.bucket.upload(RISK, "return 2");

    let outcome = world.hint(RISK, old, Kind::Finalize).await;

    assert_eq!(outcome, Outcome::Released);
    follower.runs(2).await;
    assert_eq!(follower.source("acme", "risk").unwrap(), "return 2");
}

#[tokio::test]
async fn a_late_notification_does_not_bring_a_deleted_script_back() {
    let world = World::start().await;
    let answer = world.push("acme/risk", "return 1").await;
    world.call(reqwest::Method::DELETE, "/v1/tenants/acme/scripts/risk", &[], "").await.body::<serde_json::Value>();

    let outcome = world.hint(RISK, answer.generation.unwrap(), Kind::Finalize).await;

    assert_eq!(outcome, Outcome::Superseded);
    assert_eq!((world.release(), world.status().await.scripts), (3, 0));
}

#[tokio::test]
async fn a_deletion_of_what_runs_removes_it() {
    let world = World::start().await;
    let [follower] = world.followers(["one"]).await;
    let answer = world.push("acme/risk", "return 1").await;
    world.bucket.delete_live(RISK);

    let outcome = world.hint(RISK, answer.generation.unwrap(), Kind::Delete).await;

    assert_eq!(outcome, Outcome::Released);
    follower.runs(3).await;
    assert!(follower.source("acme", "risk").is_none());
}

#[tokio::test]
async fn while_the_pointer_is_gone_no_deletion_is_followed() {
    let world = World::start().await;
    let [follower] = world.followers(["one"]).await;
    let answer = world.push("acme/risk", "return 1").await;
    world.bucket.delete_all("");

    let outcome = world.hint(RISK, answer.generation.unwrap(), Kind::Delete).await;

    assert_eq!((outcome, world.release()), (Outcome::Guarded, answer.release));
    assert_eq!(follower.source("acme", "risk").unwrap(), "return 1");
}

#[tokio::test]
async fn the_end_of_an_overwritten_generation_is_nothing() {
    let world = World::start().await;
    let old = world.push("acme/risk", "return 1").await;
    world.push("acme/risk", "return 2").await;

    let outcome = world.hint(RISK, old.generation.unwrap(), Kind::Delete).await;

    assert_eq!(outcome, Outcome::Superseded);
    assert_eq!(world.status().await.scripts, 1);
}

#[tokio::test]
async fn a_false_word_of_a_deletion_removes_nothing() {
    let world = World::start().await;
    let answer = world.push("acme/risk", "return 1").await;

    let outcome = world.hint(RISK, answer.generation.unwrap(), Kind::Delete).await;

    assert_eq!(outcome, Outcome::Superseded);
    assert_eq!(world.status().await.scripts, 1);
}

#[tokio::test]
async fn an_upload_that_does_not_compile_leaves_the_old_one_and_is_told() {
    let world = World::start().await;
    let [follower] = world.followers(["one"]).await;
    world.push("acme/risk", "return 1").await;
    let generation = world.bucket.upload(RISK, "return (");

    let outcome = world.hint(RISK, generation, Kind::Finalize).await;

    assert_eq!(outcome, Outcome::Refused);
    assert_eq!((follower.active(), follower.source("acme", "risk").unwrap()), (2, "return 1".to_owned()));
    let refused = world.status().await.refused.remove(0).refused.unwrap();
    assert_eq!((refused.generation, refused.code), (generation, contract::Code::ScriptRefused));
    assert_eq!((refused.diagnostics[0].file.as_str(), refused.diagnostics[0].line), ("risk.luau", 1));
}

#[tokio::test]
async fn an_upload_that_is_too_large_is_refused_without_being_read() {
    let world = World::start().await;
    let generation = world.bucket.upload(RISK, &"-".repeat(1600 << 10));

    let outcome = world.hint(RISK, generation, Kind::Finalize).await;

    assert_eq!((outcome, world.bucket.reads()), (Outcome::Refused, 1), "only the pointer was read, at the start");
    let refused = world.status().await.refused.remove(0).refused.unwrap();
    insta::assert_snapshot!(refused.detail, @"the script has 1638400 bytes, the most allowed is 1572864");
}

#[tokio::test]
async fn an_executor_that_refuses_an_upload_is_told_of_in_the_status() {
    let world = World::start().await;
    let picky = world.voter("picky", Manners { dislikes: Some("bad"), ..Manners::default() }).await;
    let generation = world.bucket.upload(RISK, "return 'bad'");

    let outcome = world.hint(RISK, generation, Kind::Finalize).await;

    assert_eq!((outcome, picky.active()), (Outcome::Refused, 1));
    assert_eq!(world.status().await.refused[0].refused.as_ref().unwrap().generation, generation);
}

#[tokio::test]
async fn objects_that_are_no_scripts_do_not_matter() {
    let world = World::start().await;

    assert_eq!(world.hint("releases/current.json", 1, Kind::Finalize).await, Outcome::Irrelevant);
    assert_eq!(world.hint("notes.txt", 1, Kind::Delete).await, Outcome::Irrelevant);
    assert_eq!(world.hint("tenants/acme/scripts/a..b.luau", 1, Kind::Finalize).await, Outcome::Refused);
}

#[tokio::test]
async fn the_founding_object_is_a_script() {
    let world = World::start().await;
    let [follower] = world.followers(["one"]).await;
    let generation = world.bucket.upload("latest.lua", "result = { output = input }");

    let outcome = world.hint("latest.lua", generation, Kind::Finalize).await;

    assert_eq!(outcome, Outcome::Released);
    follower.runs(2).await;
    assert_eq!(follower.source("default", "latest").unwrap(), "result = { output = input }");
}

#[tokio::test]
async fn while_the_bucket_is_gone_a_notification_is_to_come_again() {
    let world = World::start().await;
    world.bucket.set_down(true);

    assert_eq!(world.hint(RISK, 1, Kind::Finalize).await, Outcome::Failed);
}
