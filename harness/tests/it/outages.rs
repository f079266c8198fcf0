//! The bucket, the notifications, the manager, an executor: each may be gone for a while.

use std::time::Duration;

use contract::Code;
use harness::laptop::{BUCKET, TOPIC};
use harness::wait::wait_until;

use crate::support::{DEADLINE, rule, stack};

#[tokio::test]
async fn without_the_bucket_a_push_is_refused_and_everything_goes_on() {
    let stack = stack(2).await;
    stack.push_rule().await;

    stack.laptop.cloud.faults().storage_unavailable(true, None);
    let problem = stack.manager.push("acme", "risk", rule(2).as_bytes(), "wait=10s").await.unwrap().unwrap_err();
    stack.rule_still_runs().await;
    stack.laptop.cloud.faults().storage_unavailable(false, None);

    assert_eq!(problem.code, Code::BucketUnavailable, "{problem:?}");
    stack.manager.push("acme", "risk", rule(2).as_bytes(), "wait=10s").await.unwrap().unwrap();
    stack.wait_for_k("acme", "risk", 2).await;
}

#[tokio::test]
async fn a_bucket_that_was_deleted_stops_nothing() {
    let stack = stack(1).await;
    stack.push_rule().await;

    stack.laptop.cloud.storage().delete_bucket(BUCKET, true).unwrap();

    let problem = stack.manager.push("acme", "risk", rule(2).as_bytes(), "wait=5s").await.unwrap().unwrap_err();
    assert_eq!(problem.code, Code::BucketUnavailable, "{problem:?}");
    assert!(problem.detail.contains(BUCKET), "{problem:?}");
    stack.rule_still_runs().await;
}

#[tokio::test]
async fn executors_answer_without_a_manager_and_a_new_one_changes_nothing() {
    let mut stack = stack(2).await;
    stack.push_rule().await;
    let before = stack.manager.status().await.unwrap().unwrap().release;

    stack.laptop.manager.kill().await.unwrap();
    stack.rule_still_runs().await;
    stack.laptop.restart_manager().await.unwrap();

    wait_until("both executors follow the new manager", DEADLINE, async || match stack.manager.status().await {
        Ok(Ok(status)) if status.executors_current == 2 && status.release == before => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
    .unwrap();
    stack.rule_still_runs().await;
    stack.manager.push("acme", "risk", rule(2).as_bytes(), "wait=10s").await.unwrap().unwrap();
    stack.wait_for_k("acme", "risk", 2).await;
}

#[tokio::test]
async fn an_executor_boots_from_its_cache_while_manager_and_bucket_are_gone() {
    let mut stack = stack(1).await;
    stack.push_rule().await;

    stack.laptop.executors[0].terminate(DEADLINE).await.unwrap();
    stack.laptop.manager.kill().await.unwrap();
    stack.laptop.restart_executor(0).await.unwrap();

    stack.wait_for_k("acme", "risk", 1).await;
}

#[tokio::test]
async fn a_killed_executor_comes_back_with_the_current_release() {
    let mut stack = stack(2).await;
    stack.push_rule().await;

    stack.laptop.executors[1].kill().await.unwrap();
    let answer = stack.manager.push("acme", "risk", rule(2).as_bytes(), "").await.unwrap().unwrap();
    stack.laptop.restart_executor(1).await.unwrap();

    stack.wait_for_k("acme", "risk", 2).await;
    assert_eq!(stack.run_on(1, "acme", "risk").await.release, Some(answer.release));
}

#[tokio::test]
async fn a_lost_notification_is_repaired_by_listing() {
    let stack = stack(1).await;
    stack.push_rule().await;

    stack.laptop.cloud.faults().lose_notifications(1);
    stack.laptop.cloud.storage().put(BUCKET, "tenants/acme/scripts/risk.luau", rule(2)).unwrap();

    stack.wait_for_k("acme", "risk", 2).await;
}

#[tokio::test]
async fn a_notification_older_than_the_running_version_changes_nothing() {
    let stack = stack(1).await;
    let old = stack.laptop.cloud.storage().put(BUCKET, "tenants/acme/scripts/risk.luau", rule(1)).unwrap();
    stack.wait_for_k("acme", "risk", 1).await;
    stack.manager.push("acme", "risk", rule(2).as_bytes(), "wait=10s").await.unwrap().unwrap();
    let release = stack.manager.status().await.unwrap().unwrap().release;

    let cloud = &stack.laptop.cloud;
    let attributes = [
        ("eventType", "OBJECT_FINALIZE".to_owned()),
        ("bucketId", BUCKET.to_owned()),
        ("objectId", "tenants/acme/scripts/risk.luau".to_owned()),
        ("objectGeneration", old.to_string()),
        ("payloadFormat", "JSON_API_V1".to_owned()),
    ];
    let acked = cloud.pubsub().stats(harness::laptop::SUBSCRIPTION).unwrap().acked;
    cloud.pubsub().publish(TOPIC, attributes.map(|(key, value)| (key.to_owned(), value)).into(), b"{}").unwrap();

    wait_until("the old notification is acknowledged", DEADLINE, async || {
        let stats = cloud.pubsub().stats(harness::laptop::SUBSCRIPTION).unwrap();
        if stats.acked > acked && stats.outstanding == 0 { Ok(()) } else { Err(format!("{stats:?}")) }
    })
    .await
    .unwrap();
    stack.wait_for_k("acme", "risk", 2).await;
    assert_eq!(stack.manager.status().await.unwrap().unwrap().release, release);
}

#[tokio::test]
async fn programs_end_well_when_asked_and_when_their_parent_is_gone() {
    let mut stack = stack(1).await;
    stack.push_rule().await;

    let executor = stack.laptop.executors[0].terminate(Duration::from_secs(10)).await.unwrap();
    let manager = stack.laptop.manager.terminate(Duration::from_secs(10)).await.unwrap();

    assert!(executor.success() && manager.success(), "executor {executor}, manager {manager}");
}
