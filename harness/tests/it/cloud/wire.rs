//! The words on the wire: errors in Google's shape, unknown calls, the REST forms that no Rust client has.

use googleapis_tonic_google_storage_v2::google::storage::v2 as pb;
use pb::storage_client::StorageClient;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{BUCKET_RESOURCE, SUBSCRIPTION, TOPIC, World};

impl World {
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let request = self.http.request(method, self.url(path));
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
}

#[tokio::test]
async fn errors_have_googles_shape() {
    let world = World::start().await;
    world.put("a", "1");
    let path = "/upload/storage/v1/b/scripts/o?uploadType=media&name=a&ifGenerationMatch=0";

    let (_, conflict) = world.ask(Method::POST, path, None).await;
    let (_, missing) = world.ask(Method::GET, "/storage/v1/b/scripts/o/b", None).await;
    let (_, no_topic) = world.ask(Method::GET, "/v1/projects/test/topics/none", None).await;

    insta::assert_snapshot!(format!("{conflict}\n{missing}\n{no_topic}"), @r#"
    {"error":{"code":412,"errors":[{"domain":"global","location":"If-Match","locationType":"header","message":"At least one of the pre-conditions you specified did not hold.","reason":"conditionNotMet"}],"message":"At least one of the pre-conditions you specified did not hold."}}
    {"error":{"code":404,"errors":[{"domain":"global","message":"No such object: scripts/b","reason":"notFound"}],"message":"No such object: scripts/b"}}
    {"error":{"code":404,"message":"Resource not found (resource=projects/test/topics/none).","status":"NOT_FOUND"}}
    "#);
}

#[tokio::test]
async fn nothing_unknown_succeeds() {
    let world = World::start().await;
    for (method, path, expected) in [
        (Method::GET, "/", 404),
        (Method::GET, "/compute/v1/projects/p/zones/moon-a/instances", 404),
        (Method::GET, "/compute/v1/projects/p/global/backendServices", 501),
        (Method::GET, "/v1/projects/p/secrets/s", 404),
        (Method::GET, "/v1/projects/p/locations", 501),
        (Method::POST, "/v1/projects/p/serviceAccounts/a:signBlob", 404),
        (Method::PUT, "/storage/v1/b/scripts", 501),
        (Method::GET, "/storage/v1/b/scripts/acl", 501),
        (Method::POST, "/upload/storage/v1/b/scripts/o", 400),
        (Method::POST, "/upload/storage/v1/b/scripts/o?uploadType=magic&name=a", 501),
        (Method::POST, "/v1/projects/test/topics/bucket:seek", 501),
        (Method::GET, "/v1/projects/test/snapshots", 501),
        (Method::POST, "/google.storage.v2.Storage/GetObject", 415),
        (Method::POST, "/upload/storage/v1/b/scripts/o?uploadType=media&name=a&ifGenerationMatches=0", 400),
        (Method::GET, "/storage/v1/b/scripts/o?matchGlob=*", 400),
    ] {
        let (status, body) = world.ask(method, path, None).await;
        assert_eq!(status.as_u16(), expected, "{path}: {body}");
    }
    assert_eq!(world.cloud.storage().list("scripts", "").unwrap(), []);
}

#[tokio::test]
async fn reads_on_condition_answer_not_modified() {
    let world = World::start().await;
    let generation = world.put("a", "1");
    let path = |condition: &str, value: i64| format!("/storage/v1/b/scripts/o/a?alt=media&{condition}={value}");

    let same = world.ask(Method::GET, &path("ifGenerationNotMatch", generation), None).await;
    let other = world.ask(Method::GET, &path("ifGenerationMatch", generation - 1), None).await;
    let missing = world.ask(Method::GET, "/storage/v1/b/scripts/o/b?alt=media", None).await;

    assert_eq!(same, (StatusCode::NOT_MODIFIED, "".into()));
    assert_eq!(other.0, StatusCode::PRECONDITION_FAILED);
    assert_eq!(missing, (StatusCode::NOT_FOUND, "No such object: scripts/b".into()));
}

#[tokio::test]
async fn metadata_changes_on_condition_by_both_protocols() {
    let world = World::start().await;
    let generation = world.put("a", "1");
    let body = json!({ "metadata": { "author": "ada", "draft": "yes" } });
    let path = "/storage/v1/b/scripts/o/a?ifMetagenerationMatch=1";

    let (first, told) = world.ask(Method::PATCH, path, Some(body.clone())).await;
    let (second, _) = world.ask(Method::PATCH, path, Some(body)).await;
    let channel = tonic::transport::Endpoint::from_shared(world.cloud.url().to_owned()).unwrap();
    let mut client = StorageClient::new(channel.connect().await.unwrap());
    let object = pb::Object { bucket: BUCKET_RESOURCE.into(), name: "a".into(), ..Default::default() };
    let updated = client.update_object(pb::UpdateObjectRequest {
        object: Some(object),
        if_generation_match: Some(generation),
        update_mask: Some(prost_types::FieldMask { paths: vec!["metadata.draft".into()] }),
        ..Default::default()
    });
    let updated = updated.await.unwrap().into_inner();

    assert_eq!((first, second), (StatusCode::OK, StatusCode::PRECONDITION_FAILED));
    assert_eq!((&told["metageneration"], &told["generation"]), (&json!("2"), &json!(generation.to_string())));
    assert_eq!((updated.metageneration, updated.metadata), (3, [("author".into(), "ada".into())].into()));
}

#[tokio::test]
async fn notification_configurations_are_made_shown_and_removed() {
    let world = World::start().await;
    let path = "/storage/v1/b/scripts/notificationConfigs";
    let topic = |name: &str| format!("//pubsub.googleapis.com/projects/test/topics/{name}");
    let wanted = json!({
        "topic": topic("bucket"),
        "payload_format": "NONE",
        "event_types": ["OBJECT_METADATA_UPDATE"],
        "object_name_prefix": "tenants/",
    });

    let (made, config) = world.ask(Method::POST, path, Some(wanted.clone())).await;
    let (no_topic, _) = world.ask(Method::POST, path, Some(json!({ "topic": topic("none") }))).await;
    let (no_event, _) =
        world.ask(Method::POST, path, Some(json!({ "topic": topic("bucket"), "event_types": ["X"] }))).await;
    let (_, list) = world.ask(Method::GET, path, None).await;
    let one = format!("{path}/{}", config["id"].as_str().unwrap());
    let (shown, _) = world.ask(Method::GET, &one, None).await;
    let (removed, _) = world.ask(Method::DELETE, &one, None).await;
    let (gone, _) = world.ask(Method::GET, &one, None).await;

    assert_eq!(made, StatusCode::OK);
    for (name, value) in wanted.as_object().unwrap() {
        assert_eq!(&config[name], value, "{name}");
    }
    assert_eq!((no_topic.as_u16(), no_event.as_u16()), (400, 400));
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    assert_eq!((shown.as_u16(), removed.as_u16(), gone.as_u16()), (200, 204, 404));
}

#[tokio::test]
async fn a_bucket_is_changed_by_json_on_condition() {
    let world = World::start().await;
    let path = "/storage/v1/b/scripts?ifMetagenerationMatch=1";
    let body = json!({ "versioning": { "enabled": false }, "labels": { "stack": "test" } });

    let (first, bucket) = world.ask(Method::PATCH, path, Some(body.clone())).await;
    let (second, _) = world.ask(Method::PATCH, path, Some(body)).await;
    let (_, layout) = world.ask(Method::GET, "/storage/v1/b/scripts/storageLayout", None).await;
    let (lifecycle, _) =
        world.ask(Method::PATCH, "/storage/v1/b/scripts", Some(json!({ "website": { "x": 1 } }))).await;

    assert_eq!((first.as_u16(), second.as_u16(), lifecycle.as_u16()), (200, 412, 501));
    assert_eq!(layout["location"], "US");
    assert_eq!((&bucket["versioning"]["enabled"], &bucket["labels"]["stack"]), (&json!(false), &json!("test")));
}

#[tokio::test]
async fn messages_are_published_pulled_and_acknowledged_by_rest() {
    let world = World::start().await;
    let subscription = format!("/v1/{SUBSCRIPTION}");
    let messages = json!({ "messages": [{ "data": "aGVsbG8=", "attributes": { "kind": "greeting" } }] });

    let (_, published) = world.ask(Method::POST, &format!("/v1/{TOPIC}:publish"), Some(messages)).await;
    let pull = async || {
        let body = json!({ "maxMessages": 5, "returnImmediately": true });
        world.ask(Method::POST, &format!("{subscription}:pull"), Some(body)).await
    };
    let (_, pulled) = pull().await;
    let received = &pulled["receivedMessages"][0];
    let ids = json!({ "ackIds": [received["ackId"]] });
    let (acked, _) = world.ask(Method::POST, &format!("{subscription}:acknowledge"), Some(ids)).await;
    let (foreign, _) =
        world.ask(Method::POST, &format!("{subscription}:acknowledge"), Some(json!({ "ackIds": ["x"] }))).await;

    assert_eq!(published["messageIds"], json!(["1"]));
    assert_eq!(
        (&received["message"]["data"], &received["message"]["attributes"]["kind"]),
        (&json!("aGVsbG8="), &json!("greeting"))
    );
    assert_eq!((acked.as_u16(), foreign.as_u16()), (200, 400));
    assert_eq!(world.cloud.pubsub().stats(SUBSCRIPTION).unwrap().acked, 1);
    assert_eq!(pull().await.1, json!({}));
}
