//! Rolling activation: what the manager does around Swarm.

use std::sync::Arc;

use contract::api::ChangeAnswer;

use crate::executor::Manners;
use crate::world::{Options, PaperSwarm, RISK, World, until};

async fn world(swarm: &Arc<PaperSwarm>) -> World {
    World::with(Options { swarm: Some(Arc::clone(swarm)), ..Options::default() }).await
}

#[tokio::test]
async fn executors_are_replaced_and_not_told_to_swap() {
    let swarm = Arc::new(PaperSwarm::default());
    let world = world(&swarm).await;
    let [old] = world.followers(["old"]).await;
    world.push("acme/risk", "return 1").await;
    let going_on = swarm.gate.lock().await;

    let push = world.put("acme/risk", "?wait=10s&activation=rolling", "return 2");
    let swap = async {
        let bundle = until("the roll begins", || swarm.rolled.lock().unwrap().last().cloned().ok_or("no roll")).await;
        assert_eq!(old.active(), 2, "the old one is left alone");
        let digest = contract::release::digest(&bundle.release.scripts);
        let new = world.follower_with("new", Manners { active: (3, digest), ..Manners::default() }).await;
        old.goodbye().await;
        drop(going_on);
        new
    };
    let (answer, new) = tokio::join!(push, swap);

    let answer: ChangeAnswer = answer.body();
    assert_eq!((answer.release, answer.live.unwrap().acknowledged), (3, 1));
    assert!(new.heard().is_empty(), "it booted from the config");
}

#[tokio::test]
async fn what_swarm_takes_back_is_taken_back_in_the_bucket() {
    let swarm = Arc::new(PaperSwarm::default());
    *swarm.fails.lock().unwrap() = Some("task exited with code 1");
    let world = world(&swarm).await;
    let [follower] = world.followers(["one"]).await;
    let first = world.push("acme/risk", "return 1").await;

    let answer = world.put("acme/risk", "?wait=10s&activation=rolling", "return 2").await;

    insta::assert_snapshot!(answer.problem(), @r"
    502 activation_failed: `acme/risk`: the rolling activation of release 3 was taken back: task exited with code 1; release 4 runs version 486d9affb60d again
    hint: `docker service ps` shows why tasks failed; push a better content
    ");
    follower.runs(4).await;
    assert_eq!(follower.source("acme", "risk").unwrap(), "return 1");
    assert!(!follower.heard().contains(&"activate 3".to_owned()), "{:?}", follower.heard());
    let (generation, content) = world.bucket.live(RISK).unwrap();
    assert!(content == "return 1" && generation > first.generation.unwrap());
    world.reconcile().await.unwrap();
    assert_eq!(world.release(), 4);
}

#[tokio::test]
async fn a_new_script_that_swarm_takes_back_is_gone_again() {
    let swarm = Arc::new(PaperSwarm::default());
    *swarm.fails.lock().unwrap() = Some("no node takes it");
    let world = world(&swarm).await;
    world.push("acme/price", "return 0").await;

    let answer = world.put("acme/risk", "?wait=10s&activation=rolling", "return 2").await;

    let problem = answer.problem();
    assert!(problem.contains("release 4 is without `acme/risk` again"), "{problem}");
    assert!(world.bucket.live(RISK).is_none());
}

#[tokio::test]
async fn a_bucket_that_keeps_what_was_taken_back_does_not_bring_it_back() {
    let swarm = Arc::new(PaperSwarm::default());
    *swarm.fails.lock().unwrap() = Some("task exited with code 1");
    let world = world(&swarm).await;
    world.push("acme/risk", "return 1").await;
    let going_on = swarm.gate.lock().await;

    let push = world.put("acme/risk", "?wait=10s&activation=rolling", "return 2");
    let spoil = async {
        until("the roll begins", || swarm.rolled.lock().unwrap().last().cloned().ok_or("no roll")).await;
        world.bucket.fail_writes_of(Some(RISK));
        drop(going_on);
    };
    let (answer, ()) = tokio::join!(push, spoil);

    assert!(answer.problem().contains("release 4 runs version 486d9affb60d again"));
    world.reconcile().await.unwrap();
    assert_eq!(world.release(), 4);
    assert_eq!(world.status().await.refused[0].refused.as_ref().unwrap().code, contract::Code::ActivationFailed);
}

#[tokio::test]
async fn other_changes_are_told_to_wait() {
    let swarm = Arc::new(PaperSwarm::default());
    let world = world(&swarm).await;
    let going_on = swarm.gate.lock().await;
    let first: ChangeAnswer = world.put("acme/risk", "?activation=rolling", "return 1").await.body();
    assert_eq!((first.release, first.live), (2, None));

    let answer = world.put("acme/price", "", "return 2").await;

    insta::assert_snapshot!(answer.problem(), @r"
    429 overloaded: a rolling activation is under way, other changes wait for its end
    hint: nothing was changed; `moonswarm status` tells when it is done
    ");
    assert_eq!(answer.headers["retry-after"], "1");
    drop(going_on);
}

#[tokio::test]
async fn without_a_swarm_there_is_no_rolling_activation() {
    let world = World::start().await;

    let answer = world.put("acme/risk", "?activation=rolling", "return 1").await;

    insta::assert_snapshot!(answer.problem(), @r"
    400 bad_request: this manager has no Docker Swarm: rolling activation is not possible
    hint: leave `activation=rolling` away, or start the manager with --docker
    ");
    assert_eq!(world.release(), 1);
}
