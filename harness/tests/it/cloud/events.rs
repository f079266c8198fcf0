//! From a change in the bucket to a message in the official client, and what becomes of messages there.

use std::collections::HashMap;
use std::time::Duration;

use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::client::{Publisher, SchemaService, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::model::Message;
use harness::wait::wait_until;
use serde_json::json;

use super::{BUCKET, BUCKET_RESOURCE, DEADLINE, SUBSCRIPTION, TOPIC, World, anonymous, next, told};

/// Waits until so many messages were acknowledged.
async fn acknowledged(world: &World, count: u64) {
    let acked = async || {
        let stats = world.cloud.pubsub().stats(SUBSCRIPTION).map_err(|error| error.to_string())?;
        if stats.acked == count { Ok(()) } else { Err(format!("{stats:?}")) }
    };
    wait_until("acknowledgements", DEADLINE, acked).await.unwrap();
}

#[tokio::test]
async fn a_write_is_told_read_by_generation_and_acknowledged() {
    let world = World::start().await;
    let mut stream = world.stream().await;
    let write = world.storage.write_object(BUCKET_RESOURCE, "tenants/acme/scripts/risk.luau", "return 1");
    let written = write.set_if_generation_match(0).send_buffered().await.unwrap();

    let (message, handler) = next(&mut stream).await;
    let generation: i64 = message.attributes["objectGeneration"].parse().unwrap();
    let content = world.read(&message.attributes["objectId"], Some(generation)).await.unwrap();
    handler.ack();

    assert_eq!((generation, content.as_slice()), (written.generation, b"return 1".as_slice()));
    assert_eq!(message.attributes["eventType"], "OBJECT_FINALIZE");
    assert_eq!(message.attributes["bucketId"], BUCKET);
    let payload: serde_json::Value = serde_json::from_slice(&message.data).unwrap();
    assert_eq!((&payload["kind"], &payload["size"]), (&json!("storage#object"), &json!("8")));
    acknowledged(&world, 1).await;
}

#[tokio::test]
async fn overwriting_and_deleting_are_told_in_order() {
    let world = World::start().await;
    let mut stream = world.stream().await;
    let first = world.put("a", "1");
    let second = world.put("a", "2");
    world.cloud.storage().delete(BUCKET, "a").unwrap();

    let mut events = Vec::new();
    for _ in 0..4 {
        let (message, handler) = next(&mut stream).await;
        events.push((told(&message), message.attributes.get("overwroteGeneration").cloned()));
        handler.ack();
    }

    assert_eq!(
        events,
        [
            (format!("FINALIZE a {first}"), None),
            (format!("FINALIZE a {second}"), Some(first.to_string())),
            (format!("ARCHIVE a {first}"), None),
            (format!("ARCHIVE a {second}"), None),
        ]
    );
}

#[tokio::test]
async fn a_message_given_back_comes_again() {
    let world = World::start().await;
    let mut stream = world.stream().await;
    let generation = world.put("a", "1");

    let (first, handler) = next(&mut stream).await;
    handler.nack();
    let (second, handler) = next(&mut stream).await;
    handler.ack();

    assert_eq!(first.message_id, second.message_id);
    assert_eq!(told(&second), format!("FINALIZE a {generation}"));
    acknowledged(&world, 1).await;
}

#[tokio::test]
async fn a_message_whose_lease_ends_comes_again() {
    let world = World::start().await;
    world.put("a", "1");
    let post = async |verb: &str, body: serde_json::Value| {
        let url = world.url(&format!("/v1/{SUBSCRIPTION}:{verb}"));
        let response = world.http.post(url).json(&body).send().await.unwrap();
        response.json::<serde_json::Value>().await.unwrap()
    };
    let pulled = post("pull", json!({ "maxMessages": 1 })).await;
    let lease = pulled["receivedMessages"][0]["ackId"].clone();
    let mut stream = world.stream().await;

    // The puller asks for the shortest lease there is, and is never heard of again.
    post("modifyAckDeadline", json!({ "ackIds": [lease], "ackDeadlineSeconds": 1 })).await;
    let (again, handler) = next(&mut stream).await;
    post("acknowledge", json!({ "ackIds": [lease] })).await;

    assert_eq!(again.attributes["objectId"], "a");
    let stats = world.cloud.pubsub().stats(SUBSCRIPTION).unwrap();
    assert_eq!((stats.expired, stats.outstanding, stats.acked), (1, 1, 0));
    handler.ack();
    acknowledged(&world, 1).await;
}

#[tokio::test]
async fn a_waiting_pull_answers_as_soon_as_there_is_a_message() {
    let world = World::start().await;
    let url = world.url(&format!("/v1/{SUBSCRIPTION}:pull"));
    let pull = tokio::spawn(world.http.post(url).json(&json!({ "maxMessages": 1 })).send());

    world.put("a", "1");
    let answered = tokio::time::timeout(Duration::from_secs(5), pull).await.expect("it waited on").unwrap();

    let pulled: serde_json::Value = answered.unwrap().json().await.unwrap();
    assert_eq!(pulled["receivedMessages"][0]["message"]["attributes"]["objectId"], "a");
}

#[tokio::test]
async fn messages_are_published_by_client_and_by_hand() {
    let world = World::start().await;
    let publisher = Publisher::builder(TOPIC).with_endpoint(world.cloud.url()).with_credentials(anonymous());
    let publisher = publisher.build().await.unwrap();
    let mut stream = world.stream().await;

    publisher.publish(Message::new().set_data("by client")).await.unwrap();
    let old = HashMap::from([("objectGeneration".to_owned(), "1".to_owned())]);
    world.cloud.pubsub().publish(TOPIC, old, "by hand").unwrap();
    let (first, _first) = next(&mut stream).await;
    let (second, _second) = next(&mut stream).await;

    assert_eq!((first.data.as_ref(), second.data.as_ref()), (b"by client".as_slice(), b"by hand".as_slice()));
    assert_eq!(second.attributes["objectGeneration"], "1");
}

#[tokio::test]
async fn a_missing_subscription_ends_the_stream_at_once() {
    let world = World::start().await;
    let mut missing = world.subscriber().await.subscribe("projects/test/subscriptions/none").build();
    let mut deleted = world.stream().await;
    world.put("a", "1");
    let (_, _handler) = next(&mut deleted).await;

    world.cloud.pubsub().delete_subscription(SUBSCRIPTION).unwrap();
    let missing = tokio::time::timeout(DEADLINE, missing.next()).await.unwrap().unwrap();
    let deleted = tokio::time::timeout(DEADLINE, deleted.next()).await.unwrap().unwrap();

    for ended in [missing, deleted] {
        assert_eq!(ended.unwrap_err().status().unwrap().code, Code::NotFound);
    }
}

#[tokio::test]
async fn topics_and_subscriptions_are_administered_by_the_official_clients() {
    let world = World::start().await;
    let url = world.cloud.url();
    let topics = TopicAdmin::builder().with_endpoint(url).with_credentials(anonymous()).build().await.unwrap();
    let admin = SubscriptionAdmin::builder().with_endpoint(url).with_credentials(anonymous()).build().await.unwrap();
    let (topic, subscription) = ("projects/test/topics/other", "projects/test/subscriptions/other");
    let create = || topics.create_topic().set_name(topic).send();
    let subscribe = |topic: &'static str| {
        let request = admin.create_subscription().set_name(subscription).set_topic(topic);
        request.set_ack_deadline_seconds(30).send()
    };
    let code = |error: google_cloud_pubsub::Error| error.status().unwrap().code;

    assert_eq!(create().await.unwrap().name, topic);
    assert_eq!(code(create().await.unwrap_err()), Code::AlreadyExists);
    assert_eq!(code(subscribe("projects/test/topics/none").await.unwrap_err()), Code::NotFound);
    assert_eq!(subscribe(topic).await.unwrap().ack_deadline_seconds, 30);
    let shown = admin.get_subscription().set_subscription(subscription).send().await.unwrap();
    assert_eq!((shown.topic.as_str(), shown.ack_deadline_seconds), (topic, 30));
    let listed = admin.list_subscriptions().set_project("projects/test").send().await.unwrap();
    assert_eq!(listed.subscriptions.len(), 2);
    let listed = topics.list_topics().set_project("projects/test").send().await.unwrap();
    assert_eq!(listed.topics.len(), 2);

    admin.delete_subscription().set_subscription(subscription).send().await.unwrap();
    topics.delete_topic().set_topic(topic).send().await.unwrap();

    let gone = admin.get_subscription().set_subscription(subscription).send().await.unwrap_err();
    assert_eq!(code(gone), Code::NotFound);
    assert_eq!(code(topics.get_topic().set_topic(topic).send().await.unwrap_err()), Code::NotFound);
}

#[tokio::test]
async fn policies_of_topics_are_kept() {
    let world = World::start().await;
    let client = SchemaService::builder().with_endpoint(world.cloud.url()).with_credentials(anonymous());
    let client = client.build().await.unwrap();

    let read = client.get_iam_policy().set_resource(TOPIC).send().await.unwrap();
    let mut new = read.clone();
    new.version = 3;
    let written = client.set_iam_policy().set_resource(TOPIC).set_policy(new.clone()).send().await.unwrap();
    let stale = client.set_iam_policy().set_resource(TOPIC).set_policy(new).send().await.unwrap_err();

    assert_ne!(written.etag, read.etag);
    assert_eq!(stale.http_status_code(), Some(409));
}
