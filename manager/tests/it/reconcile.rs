//! The look at the whole bucket.

use contract::release::POINTER_OBJECT;
use manager::reconcile::Outcome;

use crate::world::{RISK, World};

const PRICE: &str = "tenants/acme/scripts/price.luau";

#[tokio::test]
async fn a_lost_notification_is_repaired() {
    let world = World::start().await;
    let [follower] = world.followers(["one"]).await;
    world.bucket.upload(RISK, "return 1");

    let outcome = world.reconcile().await.unwrap();

    assert_eq!(outcome, Outcome::Repaired(1));
    follower.runs(2).await;
    assert_eq!(world.reconcile().await.unwrap(), Outcome::Unchanged);
}

#[tokio::test]
async fn one_missing_object_is_removed() {
    let world = World::start().await;
    let [follower] = world.followers(["one"]).await;
    world.push("acme/risk", "return 1").await;
    world.push("acme/price", "return 2").await;
    world.bucket.delete_live(RISK);

    let outcome = world.reconcile().await.unwrap();

    assert_eq!(outcome, Outcome::Repaired(1));
    follower.runs(4).await;
    assert!(follower.source("acme", "risk").is_none() && follower.source("acme", "price").is_some());
}

#[tokio::test]
async fn an_emptied_bucket_stops_nothing_and_pushing_brings_it_back() {
    let world = World::start().await;
    let [follower] = world.followers(["one"]).await;
    world.push("acme/risk", "return 1").await;
    world.push("acme/price", "return 2").await;
    world.bucket.delete_all("");

    let outcome = world.reconcile().await.unwrap();

    assert_eq!((outcome, follower.active()), (Outcome::Guarded, 3));
    let bucket = world.status().await.bucket;
    assert!(!bucket.ok && bucket.detail.contains("2 scripts keep running, none is removed"), "{bucket:?}");

    let answer = world.push("acme/risk", "return 3").await;

    assert_eq!((answer.release, follower.source("acme", "risk").unwrap()), (4, "return 3".to_owned()));
    assert!(world.bucket.live(POINTER_OBJECT).is_some());
}

#[tokio::test]
async fn a_bucket_that_is_down_is_told_and_stops_nothing() {
    let world = World::start().await;
    let [follower] = world.followers(["one"]).await;
    world.push("acme/risk", "return 1").await;
    world.bucket.set_down(true);

    world.reconcile().await.unwrap_err();
    let answer = world.put("acme/risk", "", "return 2").await;

    insta::assert_snapshot!(answer.problem(), @r"
    503 bucket_unavailable: bucket `scripts` does not answer (write `tenants/acme/scripts/risk.luau`): connection refused
    hint: what runs goes on; try again, `moonswarm status` tells when the bucket is back
    ");
    assert_eq!((follower.active(), world.status().await.release), (2, 2));
}

#[tokio::test]
async fn what_another_manager_released_is_taken_over() {
    let world = World::start().await;
    let other = world.neighbour().await;
    let [follower] = world.followers(["one"]).await;
    other.push("acme/risk", "return 'theirs'").await;

    let outcome = world.reconcile().await.unwrap();

    assert_eq!((outcome, world.release()), (Outcome::Unchanged, 2));
    follower.runs(2).await;
    assert_eq!(follower.source("acme", "risk").unwrap(), "return 'theirs'");
}

#[tokio::test]
async fn a_refused_upload_is_not_read_again_and_again() {
    let world = World::start().await;
    world.bucket.upload(RISK, "return (");
    world.reconcile().await.unwrap();
    let reads = world.bucket.reads();

    let outcome = world.reconcile().await.unwrap();

    assert_eq!((outcome, world.bucket.reads()), (Outcome::Unchanged, reads));
    assert_eq!(world.status().await.refused.len(), 1);
}

#[tokio::test]
async fn a_refusal_is_forgotten_with_its_object() {
    let world = World::start().await;
    world.bucket.upload(RISK, "return (");
    world.reconcile().await.unwrap();
    world.bucket.delete_live(RISK);

    world.reconcile().await.unwrap();

    assert!(world.status().await.refused.is_empty());
}

#[tokio::test]
async fn names_that_are_not_allowed_are_told_in_the_status() {
    let world = World::start().await;
    world.bucket.upload("tenants/acme/scripts/a..b.luau", "return 1");
    world.bucket.upload(PRICE, "return 2");

    let outcome = world.reconcile().await.unwrap();

    assert_eq!(outcome, Outcome::Repaired(1));
    let bucket = world.status().await.bucket;
    assert!(
        bucket.ok
            && bucket
                .detail
                .contains("1 with a name that is not allowed, for example `tenants/acme/scripts/a..b.luau`"),
        "{bucket:?}"
    );
}

#[tokio::test]
async fn what_was_uploaded_while_no_manager_ran_is_found_at_the_start() {
    let mut world = World::start().await;
    world.push("acme/risk", "return 1").await;
    world.stop().await;
    world.bucket.upload(RISK, "return 2");

    let world = world.neighbour().await;
    let follower = world.follower("one").await;

    follower.runs(3).await;
    assert_eq!(follower.source("acme", "risk").unwrap(), "return 2");
}
