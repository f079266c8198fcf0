//! Server traits for the Google services that the local cloud speaks.
//!
//! The message types come from crates that generate clients only, so the traits are written from this list of methods.
//! A method that is not listed answers UNIMPLEMENTED: the generated router does that by itself.

use tonic_build::manual::{Builder, Method, MethodBuilder, Service};

const PUBSUB: &str = "::googleapis_tonic_google_pubsub_v1::google::pubsub::v1";
const STORAGE: &str = "::googleapis_tonic_google_storage_v2::google::storage::v2";
const IAM: &str = "::googleapis_tonic_google_iam_v1::google::iam::v1";
/// `()` can't be written as an output type: the generator wants a path.
const EMPTY: &str = "crate::cloud::generated::Empty";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let publisher = [
        ("CreateTopic", "Topic", "Topic"),
        ("UpdateTopic", "UpdateTopicRequest", "Topic"),
        ("Publish", "PublishRequest", "PublishResponse"),
        ("GetTopic", "GetTopicRequest", "Topic"),
        ("ListTopics", "ListTopicsRequest", "ListTopicsResponse"),
        ("ListTopicSubscriptions", "ListTopicSubscriptionsRequest", "ListTopicSubscriptionsResponse"),
        ("DeleteTopic", "DeleteTopicRequest", ""),
    ];
    let subscriber = [
        ("CreateSubscription", "Subscription", "Subscription"),
        ("GetSubscription", "GetSubscriptionRequest", "Subscription"),
        ("UpdateSubscription", "UpdateSubscriptionRequest", "Subscription"),
        ("ListSubscriptions", "ListSubscriptionsRequest", "ListSubscriptionsResponse"),
        ("DeleteSubscription", "DeleteSubscriptionRequest", ""),
        ("ModifyAckDeadline", "ModifyAckDeadlineRequest", ""),
        ("Acknowledge", "AcknowledgeRequest", ""),
        ("Pull", "PullRequest", "PullResponse"),
    ];
    let storage = [
        ("DeleteBucket", "DeleteBucketRequest", ""),
        ("GetBucket", "GetBucketRequest", "Bucket"),
        ("CreateBucket", "CreateBucketRequest", "Bucket"),
        ("ListBuckets", "ListBucketsRequest", "ListBucketsResponse"),
        ("UpdateBucket", "UpdateBucketRequest", "Bucket"),
        ("ComposeObject", "ComposeObjectRequest", "Object"),
        ("DeleteObject", "DeleteObjectRequest", ""),
        ("GetObject", "GetObjectRequest", "Object"),
        ("UpdateObject", "UpdateObjectRequest", "Object"),
        ("ListObjects", "ListObjectsRequest", "ListObjectsResponse"),
        ("RewriteObject", "RewriteObjectRequest", "RewriteResponse"),
        ("MoveObject", "MoveObjectRequest", "Object"),
    ];
    let streaming_pull = method(PUBSUB, ("StreamingPull", "StreamingPullRequest", "StreamingPullResponse"))
        .client_streaming()
        .server_streaming()
        .build();

    let publisher = service("Publisher", "google.pubsub.v1", PUBSUB, &publisher, None);
    let subscriber = service("Subscriber", "google.pubsub.v1", PUBSUB, &subscriber, Some(streaming_pull));
    let storage = service("Storage", "google.storage.v2", STORAGE, &storage, None);
    let policies = [
        ("GetIamPolicy", "GetIamPolicyRequest", "Policy"),
        ("SetIamPolicy", "SetIamPolicyRequest", "Policy"),
        ("TestIamPermissions", "TestIamPermissionsRequest", "TestIamPermissionsResponse"),
    ];
    let control = service("StorageControl", "google.storage.control.v2", IAM, &policies, None);
    Builder::new().build_client(false).compile(&[publisher, subscriber, storage, control]);
}

/// A method by its name, input and output (`""` = empty), as the service definition has them.
type Unary = (&'static str, &'static str, &'static str);

fn service(name: &str, package: &str, types: &str, unary: &[Unary], streaming: Option<Method>) -> Service {
    let service = Service::builder().name(name).package(package);
    let service = unary.iter().fold(service, |service, unary| service.method(method(types, *unary).build()));
    streaming.into_iter().fold(service, |service, method| service.method(method)).build()
}

fn method(types: &str, (name, input, output): Unary) -> MethodBuilder {
    let output = if output.is_empty() { EMPTY.to_owned() } else { format!("{types}::{output}") };
    Method::builder()
        .name(snake_case(name))
        .route_name(name)
        .input_type(format!("{types}::{input}"))
        .output_type(output)
        .codec_path("::tonic_prost::ProstCodec")
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
