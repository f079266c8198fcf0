//! From change to release: order, batches, refusals, races.

use std::time::Duration;

use contract::release::POINTER_OBJECT;
use manager::hints::Kind;
use manager::reconcile::Outcome;

use crate::executor::Manners;
use crate::world::{Options, RISK, World};

#[tokio::test]
async fn a_push_is_live_on_all_executors_when_it_answers() {
    let world = World::start().await;
    let [one, two] = world.followers(["one", "two"]).await;

    let writes = world.bucket.writes();

    let answer = world.push("acme/risk", "return 1").await;

    let live = answer.live.unwrap();
    assert_eq!((live.executors, live.acknowledged, live.laggards.len()), (2, 2, 0));
    assert_eq!((answer.release, one.active(), two.active()), (2, 2, 2));
    assert_eq!(two.source("acme", "risk").unwrap(), "return 1");
    assert_eq!(world.bucket.writes() - writes, 2, "the script and the pointer");
}

#[tokio::test]
async fn a_second_push_travels_as_what_changed() {
    let world = World::start().await;
    let [one] = world.followers(["one"]).await;

    world.push("acme/risk", "return 1").await;
    world.push("acme/price", "return 2").await;

    assert_eq!(
        one.heard(),
        ["prepare 1 on 0", "activate 1", "prepare 2 on 1", "activate 2", "prepare 3 on 2", "activate 3"]
    );
    assert_eq!(one.source("acme", "risk").unwrap(), "return 1");
}

#[tokio::test]
async fn one_refusal_aborts_and_nobody_has_flipped() {
    let world = World::start().await;
    let [good] = world.followers(["good"]).await;
    let picky = world.follower_with("picky", Manners { dislikes: Some("bad"), ..Manners::default() }).await;
    world.push("acme/risk", "return 1").await;

    let answer = world.put("acme/risk", "", "return 'bad'").await;

    insta::assert_snapshot!(answer.problem(), @r"
    422 script_refused: `acme/risk`: executor `picky` on `node-of-picky` refused it: it can't be compiled here
    hint: no executor changed; the content is in the bucket and does not run, push a better one or roll back
    ");
    assert_eq!((good.active(), picky.active(), world.release()), (2, 2, 2));
    good.hears("abandon 3").await;
    let status = world.status().await;
    assert_eq!(status.refused[0].refused.as_ref().unwrap().generation, world.bucket.live(RISK).unwrap().0);
}

#[tokio::test]
async fn after_a_refusal_a_better_push_goes_through() {
    let world = World::start().await;
    let picky = world.follower_with("picky", Manners { dislikes: Some("bad"), ..Manners::default() }).await;
    world.push("acme/risk", "return 1").await;
    world.put("acme/risk", "", "return 'bad'").await.problem();

    let answer = world.push("acme/risk", "return 3").await;

    assert_eq!(picky.active(), answer.release);
    assert_eq!(picky.source("acme", "risk").unwrap(), "return 3");
    assert!(world.status().await.refused.is_empty());
}

#[tokio::test]
async fn a_refused_content_is_undone_by_pushing_what_runs() {
    let world = World::start().await;
    let _picky = world.follower_with("picky", Manners { dislikes: Some("bad"), ..Manners::default() }).await;
    world.push("acme/risk", "return 1").await;
    world.put("acme/risk", "", "return 'bad'").await.problem();

    let answer = world.push("acme/risk", "return 1").await;

    assert!(!answer.unchanged, "the bucket held something else");
    assert_eq!(world.bucket.live(RISK).unwrap().1, "return 1");
    assert!(world.status().await.refused.is_empty());
}

/// Uploads of which one can't run, found by one look at the bucket.
async fn check_culprit(vague: bool) {
    let world = World::start().await;
    let picky = world.voter("picky", Manners { dislikes: Some("bad"), vague, ..Manners::default() }).await;
    for index in 0..9 {
        let source = if index == 4 { "return 'bad'".to_owned() } else { format!("return {index}") };
        world.bucket.upload(&format!("tenants/acme/scripts/s{index}.luau"), &source);
    }

    let outcome = world.reconcile().await.unwrap();

    assert_eq!(outcome, Outcome::Repaired(8));
    picky.runs(world.release()).await;
    assert_eq!(picky.source("acme", "s8").unwrap(), "return 8");
    assert!(picky.source("acme", "s4").is_none());
    let status = world.status().await;
    assert_eq!((status.scripts, status.refused.len()), (8, 1));
    assert_eq!(status.refused[0].script.as_str(), "s4");
}

#[tokio::test]
async fn of_a_batch_the_named_culprit_alone_is_refused() {
    check_culprit(false).await;
}

#[tokio::test]
async fn of_a_batch_the_culprit_is_found_by_division_if_nobody_names_it() {
    check_culprit(true).await;
}

#[tokio::test]
async fn silence_is_not_refusal() {
    let world = World::with(Options { prepare_deadline: Duration::from_millis(50), ..Options::default() }).await;
    let [quick] = world.followers(["quick"]).await;
    let slow = world.silent_follower("slow").await;

    let answer = world.put("acme/risk", "?wait=3s", "return 1").await.body::<contract::api::ChangeAnswer>();

    let live = answer.live.unwrap();
    assert_eq!((live.executors, live.acknowledged), (2, 1));
    assert_eq!((live.laggards[0].executor.as_str(), live.laggards[0].node.as_str()), ("slow", "node-of-slow"));
    assert!(live.laggards[0].reason.starts_with("no answer to prepare for "), "{:?}", live.laggards);
    assert_eq!((quick.active(), slow.active()), (2, 1));

    slow.speak();

    slow.runs(2).await;
}

#[tokio::test]
async fn a_silent_executor_costs_only_the_first_push_its_deadline() {
    let world = World::with(Options { prepare_deadline: Duration::from_millis(300), ..Options::default() }).await;
    let _slow = world.silent_follower("slow").await;
    world.put("acme/risk", "", "return 1").await.body::<contract::api::ChangeAnswer>();

    let begun = std::time::Instant::now();
    for source in ["return 2", "return 3", "return 4"] {
        world.put("acme/risk", "", source).await.body::<contract::api::ChangeAnswer>();
    }

    assert!(begun.elapsed() < Duration::from_millis(600), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_answer_that_comes_late_to_an_old_release_is_not_activated() {
    let world = World::with(Options { prepare_deadline: Duration::from_millis(20), ..Options::default() }).await;
    let slow = world.silent_follower("slow").await;
    world.put("acme/risk", "", "return 1").await;
    world.put("acme/risk", "", "return 2").await;

    slow.speak();
    slow.hears("prepare 3 on 1").await;
    slow.speak();

    slow.runs(3).await;
    assert_eq!(slow.heard()[2..], ["prepare 2 on 1", "prepare 3 on 1", "activate 3"]);
}

#[tokio::test]
async fn a_commit_that_another_manager_won_is_put_on_top_of_theirs() {
    let (ours, theirs) = {
        let world = World::start().await;
        let other = world.neighbour().await;
        (world, other)
    };
    let [follower] = ours.followers(["one"]).await;
    theirs.push("acme/price", "return 'theirs'").await;

    let answer = ours.push("acme/risk", "return 'ours'").await;

    assert_eq!(answer.release, 3);
    follower.runs(3).await;
    assert_eq!(follower.source("acme", "price").unwrap(), "return 'theirs'");
    assert_eq!(follower.source("acme", "risk").unwrap(), "return 'ours'");
    assert_eq!(
        follower.heard()[2..],
        ["prepare 2 on 1", "abandon 2", "prepare 2 on 1", "prepare 3 on 1", "activate 3"]
    );
}

#[tokio::test]
async fn the_older_of_two_changes_of_one_script_is_told_that_it_lost() {
    let world = World::start().await;
    let other = world.neighbour().await;
    let _held = world.follower_with("one", Manners::default()).await;
    world.push("acme/risk", "return 1").await;
    other.reconcile().await.unwrap();
    // While our release is committed, the other manager commits a newer content of the same script.
    let generation = world.bucket.live(RISK).unwrap().0 + 2;
    let newer = format!("return {generation}");
    other.put("acme/risk", "", &newer).await.body::<contract::api::ChangeAnswer>();

    let answer = world.put("acme/risk", "", "return 'late'").await;

    let problem = answer.problem();
    assert!(problem.starts_with("412 conflict: `acme/risk` is at generation"), "{problem}");
    assert!(problem.contains("written by ada"), "{problem}");
}

#[tokio::test]
async fn a_pointer_that_was_deleted_is_made_again_and_numbers_go_on() {
    let world = World::start().await;
    world.push("acme/risk", "return 1").await;
    world.push("acme/risk", "return 2").await;
    world.bucket.delete_live(POINTER_OBJECT);

    let answer = world.push("acme/price", "return 3").await;

    assert_eq!(answer.release, 4);
    assert!(world.bucket.live(POINTER_OBJECT).is_some());
}

#[tokio::test]
async fn a_bucket_that_fails_the_commit_leaves_what_runs() {
    let world = World::start().await;
    let [follower] = world.followers(["one"]).await;
    world.push("acme/risk", "return 1").await;
    world.bucket.fail_writes_of(Some(POINTER_OBJECT));

    let answer = world.put("acme/risk", "", "return 2").await;

    insta::assert_snapshot!(answer.problem(), @r"
    503 bucket_unavailable: `acme/risk`: release the change: commit the release: bucket `scripts` does not answer (write `releases/current.json`): 503
    hint: what runs goes on; the change is in the bucket and is released as soon as that is possible
    ");
    assert_eq!((follower.active(), world.release()), (2, 2));

    world.bucket.fail_writes_of(None);
    world.reconcile().await.unwrap();

    follower.runs(world.release()).await;
    assert_eq!(follower.source("acme", "risk").unwrap(), "return 2");
}

#[tokio::test]
async fn a_pushed_script_that_the_bucket_tells_of_again_is_not_released_twice() {
    let world = World::start().await;
    let answer = world.push("acme/risk", "return 1").await;

    let outcome = world.hint(RISK, answer.generation.unwrap(), Kind::Finalize).await;

    assert_eq!(outcome, manager::hints::Outcome::Superseded);
    assert_eq!(world.release(), 2);
}

#[tokio::test]
async fn one_thousand_and_one_scripts_are_one_look_and_few_releases() {
    let world = World::start().await;
    let [follower] = world.followers(["one"]).await;
    for index in 0..1001 {
        world.bucket.upload(&format!("tenants/acme/scripts/s{index}.luau"), &format!("return {index}"));
    }

    let outcome = world.reconcile().await.unwrap();

    assert_eq!(outcome, Outcome::Repaired(1001));
    assert!(world.release() <= 4, "{} releases", world.release());
    follower.runs(world.release()).await;
    assert_eq!(follower.source("acme", "s1000").unwrap(), "return 1000");
}
