//! Bad weather: every fault does what it says, is counted, and ends.

use std::time::{Duration, Instant};

use google_cloud_gax::error::rpc::Code;
use harness::cloud::{FailWhen, StorageFault, StorageVerb};

use super::{BUCKET, BUCKET_RESOURCE, SUBSCRIPTION, World, next, told};

/// Ids of the objects of the next notifications.
async fn ids(world: &World, count: usize) -> Vec<String> {
    let mut stream = world.stream().await;
    let mut ids = Vec::new();
    for _ in 0..count {
        let (message, handler) = next(&mut stream).await;
        ids.push(message.attributes["objectId"].clone());
        handler.ack();
    }
    ids
}

#[tokio::test]
async fn lost_notifications_never_come() {
    let world = World::start().await;
    world.cloud.faults().lose_notifications(1);
    world.put("lost", "1");
    world.put("told", "1");
    world.cloud.faults().lose_all_notifications(true);
    world.put("lost too", "1");
    world.cloud.faults().lose_all_notifications(false);
    world.put("told too", "1");

    assert_eq!(ids(&world, 2).await, ["told", "told too"]);
    assert_eq!(world.cloud.faults().counts().notifications_lost, 2);
    assert_eq!(world.cloud.pubsub().stats(SUBSCRIPTION).unwrap().ready, 0);
}

#[tokio::test]
async fn doubled_notifications_come_twice_with_ids_of_their_own() {
    let world = World::start().await;
    world.cloud.faults().double_notifications(1);
    world.put("a", "1");
    world.put("b", "1");
    let mut stream = world.stream().await;

    let (first, _first) = next(&mut stream).await;
    let (second, _second) = next(&mut stream).await;
    let (third, _third) = next(&mut stream).await;

    assert_eq!(told(&first), told(&second));
    assert_ne!(first.message_id, second.message_id);
    assert_eq!(third.attributes["objectId"], "b");
    assert_eq!(world.cloud.faults().counts().notifications_doubled, 1);
}

#[tokio::test]
async fn held_notifications_come_in_reverse() {
    let world = World::start().await;
    world.cloud.faults().hold_notifications();
    for name in ["a", "b", "c"] {
        world.put(name, "1");
    }
    assert_eq!(world.cloud.pubsub().stats(SUBSCRIPTION).unwrap().ready, 0);

    assert_eq!(world.cloud.faults().release_notifications_reversed(), 3);

    assert_eq!(ids(&world, 3).await, ["c", "b", "a"]);
}

#[tokio::test]
async fn delayed_notifications_come_late() {
    let world = World::start().await;
    let delay = Duration::from_millis(200);
    world.cloud.faults().delay_notifications(delay);
    let start = Instant::now();
    world.put("a", "1");

    assert_eq!(ids(&world, 1).await, ["a"]);
    assert!(start.elapsed() >= delay);
    assert_eq!(world.cloud.faults().counts().notifications_delayed, 1);
}

#[tokio::test]
async fn storage_fails_as_often_as_asked_in_both_protocols() {
    let world = World::start().await;
    world.put("a", "1");
    world.cloud.faults().fail_next_storage(2, 503);

    let read = world.read("a", None).await.unwrap_err();
    let list = world.control.list_objects().set_parent(BUCKET_RESOURCE).send().await.unwrap_err();

    assert_eq!(read.http_status_code(), Some(503));
    assert_eq!(list.status().unwrap().code, Code::Unavailable);
    assert_eq!(world.read("a", None).await.unwrap(), b"1");
    assert_eq!(world.cloud.faults().counts().storage_failed, 2);
}

#[tokio::test]
async fn one_verb_can_be_down_while_the_others_work() {
    let world = World::start().await;
    let write = || world.storage.write_object(BUCKET_RESOURCE, "a", "1").send_buffered();
    world.cloud.faults().storage_unavailable(true, Some(StorageVerb::Insert));

    assert_eq!(write().await.unwrap_err().http_status_code(), Some(503));
    assert_eq!(world.list(false, 0).await, []);
    world.cloud.faults().storage_unavailable(false, Some(StorageVerb::Insert));

    assert!(write().await.is_ok());
}

#[tokio::test]
async fn a_write_can_happen_though_its_answer_is_lost() {
    let world = World::start().await;
    let fault = StorageFault { status: 504, verb: Some(StorageVerb::Insert), times: 1, when: FailWhen::After };
    world.cloud.faults().fail_storage(fault);
    let write = || world.storage.write_object(BUCKET_RESOURCE, "a", "1").set_if_generation_match(0).send_buffered();

    assert_eq!(write().await.unwrap_err().http_status_code(), Some(504));
    assert_eq!(write().await.unwrap_err().http_status_code(), Some(412));
    assert_eq!(world.read("a", None).await.unwrap(), b"1");
}

#[tokio::test]
async fn a_broken_stream_is_rebuilt_and_loses_nothing() {
    let world = World::start().await;
    let mut stream = world.stream().await;
    world.put("a", "1");
    let (first, handler) = next(&mut stream).await;
    handler.ack();

    world.cloud.faults().break_streams();
    world.put("b", "1");
    let (second, handler) = next(&mut stream).await;
    handler.ack();

    assert_eq!((first.attributes["objectId"].as_str(), second.attributes["objectId"].as_str()), ("a", "b"));
    assert_eq!(world.cloud.faults().counts().streams_broken, 1);
}

#[tokio::test]
async fn an_outage_of_pubsub_ends() {
    let world = World::start().await;
    let mut stream = world.stream().await;
    world.put("a", "1");
    next(&mut stream).await.1.ack();

    world.cloud.faults().pubsub_unavailable(true);
    world.put("b", "1");
    let waiting = tokio::time::timeout(Duration::from_millis(300), stream.next()).await;
    assert!(waiting.is_err(), "the outage let {waiting:?} through");
    world.cloud.faults().clear();

    assert_eq!(next(&mut stream).await.0.attributes["objectId"], "b");
    assert!(world.cloud.faults().counts().pubsub_refused > 0);
}

#[tokio::test]
async fn shutdown_ends_connections_and_frees_the_port() {
    let world = World::start().await;
    let mut stream = world.stream().await;
    world.put("a", "1");
    next(&mut stream).await.1.ack();
    let address = world.cloud.addr();

    world.cloud.shutdown().await;

    let reused = harness::cloud::LocalCloud::start(address, None).await.unwrap();
    assert_eq!(reused.addr(), address);
    assert!(reused.storage().list(BUCKET, "").is_err());
}
