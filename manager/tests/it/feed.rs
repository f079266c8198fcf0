//! Executors that come, go, and come back.

use std::time::Duration;

use contract::api::ChangeAnswer;
use contract::release::SigningKey;
use tokio_util::sync::CancellationToken;

use crate::executor::{Follower, Manners};
use crate::world::{Options, World, until};

#[tokio::test]
async fn a_new_executor_gets_the_whole_release() {
    let world = World::start().await;
    world.push("acme/risk", "return 1").await;

    let follower = world.follower("late").await;

    follower.runs(2).await;
    assert_eq!(follower.heard(), ["prepare 2 on 0", "activate 2"]);
}

#[tokio::test]
async fn an_executor_that_runs_the_current_release_is_left_alone() {
    let world = World::start().await;
    world.push("acme/risk", "return 1").await;
    let digest = world.manager().context.now().unwrap().release.statement.digest.clone();

    let follower = world.follower_with("back", Manners { active: (2, digest), ..Manners::default() }).await;
    world.push("acme/price", "return 2").await;

    // It says that it runs release 2, but has nothing of it: the whole is sent then.
    assert_eq!(follower.heard(), ["prepare 3 on 2", "prepare 3 on 0", "activate 3"]);
}

#[tokio::test]
async fn an_executor_that_is_ahead_makes_the_release_overtake_it() {
    let world = World::start().await;
    world.push("acme/risk", "return 1").await;

    let follower = world.follower_with("ahead", Manners { active: (41, "x".repeat(64)), ..Manners::default() }).await;

    follower.runs(42).await;
    assert_eq!(follower.source("acme", "risk").unwrap(), "return 1");
    let status = world.status().await;
    assert_eq!((status.release, status.executors_current), (42, 1));
}

#[tokio::test]
async fn while_there_are_no_scripts_an_executor_from_another_life_is_left_alone() {
    let world = World::start().await;

    let follower = world.follower_with("ahead", Manners { active: (41, "x".repeat(64)), ..Manners::default() }).await;
    let answer = world.push("acme/risk", "return 1").await;

    assert_eq!((answer.release, follower.active()), (42, 42));
}

#[tokio::test]
async fn a_lost_executor_counts_for_a_while_and_is_then_forgotten() {
    let world = World::with(Options { lost_after: Duration::from_millis(2500), ..Options::default() }).await;
    let [stays, goes] = world.followers(["stays", "goes"]).await;
    drop(goes);
    until("the loss is noticed", || {
        let executors = world.manager().context.registry.executors();
        executors.iter().any(|executor| !executor.connected).then_some(()).ok_or_else(|| format!("{executors:?}"))
    })
    .await;

    let early: ChangeAnswer = world.put("acme/risk", "?wait=500ms", "return 1").await.body();
    let late: ChangeAnswer = world.put("acme/risk", "?wait=5s", "return 2").await.body();

    let early = early.live.unwrap();
    assert_eq!((early.executors, early.acknowledged), (2, 1));
    assert!(early.laggards[0].reason.starts_with("feed lost "), "{:?}", early.laggards);
    let late = late.live.unwrap();
    assert_eq!((late.executors, late.acknowledged), (1, 1));
    assert_eq!(stays.active(), 3);
}

#[tokio::test]
async fn an_executor_that_says_goodbye_is_not_waited_for() {
    let world = World::start().await;
    let [_stays, goes] = world.followers(["stays", "goes"]).await;

    goes.goodbye().await;

    until("it is forgotten", || {
        let executors = world.manager().context.registry.executors();
        (executors.len() == 1).then_some(()).ok_or_else(|| format!("{executors:?}"))
    })
    .await;
}

#[tokio::test]
async fn an_executor_that_comes_back_keeps_its_identity() {
    let world = World::start().await;
    let [first] = world.followers(["one"]).await;
    world.push("acme/risk", "return 1").await;

    let again = world.follower_with("one", Manners::default()).await;

    assert_eq!(first.ended().await, "this manager ends the stream; connect again");
    again.runs(2).await;
    assert_eq!(world.manager().context.registry.executors().len(), 1);
}

#[tokio::test]
async fn an_executor_that_does_not_read_its_feed_is_disconnected() {
    let world = World::with(Options { prepare_deadline: Duration::from_millis(1), ..Options::default() }).await;
    let _deaf = world.follower_with("deaf", Manners { deaf: true, ..Manners::default() }).await;

    // Large enough that neither sockets nor windows can hold it all.
    for index in 0..80 {
        let source = format!("return '{index}{}'", "x".repeat(200 << 10));
        world.put("acme/risk", "", &source).await.body::<ChangeAnswer>();
    }

    let executors = world.manager().context.registry.executors();
    assert!(!executors[0].connected, "{executors:?}");
}

#[tokio::test]
async fn the_feed_wants_its_token() {
    let world = World::with(Options { feed_token: Some("feed"), ..Options::default() }).await;
    for token in [None, Some("wrong")] {
        let manners = Manners { token, ..Manners::default() };
        let stranger = Follower::connect(&world.url, "stranger", world.keys.clone(), manners).await;
        assert!(stranger.ended().await.contains("feed token is missing or wrong"));
    }

    let friend = world.follower_with("friend", Manners { token: Some("feed"), ..Manners::default() }).await;
    world.push("acme/risk", "return 1").await;

    assert_eq!(friend.active(), 2);
}

#[tokio::test]
async fn nobody_is_told_anything_before_the_pointer_was_read() {
    let world = World::start().await;
    world.push("acme/risk", "return 1").await;
    world.bucket.set_down(true);
    let blind = world.neighbour().await;
    let follower = blind.follower("one").await;
    assert!(follower.heard().is_empty());

    world.bucket.set_down(false);

    follower.runs(2).await;
}

#[tokio::test]
async fn a_restart_changes_nothing_that_runs() {
    let world = World::start().await;
    let [before] = world.followers(["before"]).await;
    world.push("acme/risk", "return 1").await;
    world.push("acme/price", "return 2").await;
    let held = before.held();

    let world = world.restart().await;
    let after =
        world.follower_with("after", Manners { active: (held.number, held.digest), ..Manners::default() }).await;
    let status = world.status().await;

    assert_eq!((status.release, status.scripts, status.executors_current), (3, 2, 1));
    assert!(after.heard().is_empty());
    let answer = world.push("acme/risk", "return 3").await;
    assert_eq!(answer.release, 4);
}

#[tokio::test]
async fn stopping_ends_streams_after_the_changes_under_way() {
    let mut world = World::with(Options { prepare_deadline: Duration::from_secs(5), ..Options::default() }).await;
    let slow = world.silent_follower("slow").await;
    let done = CancellationToken::new();

    let client = reqwest::Client::new();
    let (url, told) = (format!("{}/v1/tenants/acme/scripts/risk?wait=5s", world.url), done.clone());
    let push = tokio::spawn(async move {
        let _told = told.drop_guard();
        let answer = client.put(url).body("return 1").send().await.unwrap();
        answer.text().await.unwrap()
    });
    slow.hears("prepare 2 on 1").await;
    let stopping = async { world.stop().await };
    let speaking = async {
        slow.speak();
        done.cancelled().await;
    };
    tokio::join!(stopping, speaking);

    let answer: ChangeAnswer = serde_json::from_str(&push.await.unwrap()).unwrap();
    assert!(answer.live.unwrap().is_complete());
    assert_eq!(slow.ended().await, "this manager ends the stream; connect again");
}

#[tokio::test]
async fn a_pointer_signed_with_another_key_is_not_taken() {
    let world = World::start().await;
    world.push("acme/risk", "return 1").await;

    let stranger = World::over(world.bucket.clone(), &SigningKey::generate(), Options::default()).await;
    let answer = stranger.get("/readyz").await;

    let problem = answer.problem();
    assert!(problem.contains("is not to be trusted") && problem.contains("release is signed with key"), "{problem}");
}

#[tokio::test]
async fn a_lost_source_is_told_and_does_not_stop_deltas() {
    let world = World::start().await;
    let [old] = world.followers(["old"]).await;
    world.push("acme/risk", "return 1").await;
    world.push("acme/price", "return 2").await;
    let held = old.held();
    world.bucket.lose(crate::world::RISK);

    let world = world.restart().await;
    let fresh = world.follower("fresh").await;
    let answer: ChangeAnswer = world.put("acme/price", "?wait=200ms", "return 3").await.body();

    assert_eq!(fresh.active(), 0);
    let reason = &answer.live.unwrap().laggards[0].reason;
    assert!(reason.contains("the source of `acme/risk` is not in the bucket"), "{reason}");
    let bucket = world.status().await.bucket;
    assert!(!bucket.ok && bucket.detail.contains("`acme/risk`"), "{bucket:?}");
    drop((held, fresh));
}
