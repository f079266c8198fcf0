//! The local cloud under the official clients, under plain HTTP, and in bad weather.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like the tests themselves")]

mod boot;
mod events;
mod faults;
mod identity;
mod machines;
mod objects;
mod uploads;
mod wire;

use std::time::Duration;

use google_cloud_auth::credentials::{Credentials, anonymous};
use google_cloud_gax::paginator::ItemPaginator as _;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_pubsub::client::Subscriber;
use google_cloud_pubsub::model::Message;
use google_cloud_pubsub::subscriber::MessageStream;
use google_cloud_pubsub::subscriber::handler::Handler;
use google_cloud_storage::client::{Storage, StorageControl};
use harness::cloud::{LocalCloud, StackResources};

const BUCKET: &str = "scripts";
/// The bucket's name as the official clients want it.
const BUCKET_RESOURCE: &str = "projects/_/buckets/scripts";
const TOPIC: &str = "projects/test/topics/bucket";
const SUBSCRIPTION: &str = "projects/test/subscriptions/manager";

/// Far beyond what anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// Above this many bytes the official client uploads in pieces.
const RESUMABLE_FROM: usize = 512 * 1024;

/// A cloud with one stack, and official clients that never retry by themselves.
struct World {
    cloud: LocalCloud,
    storage: Storage,
    control: StorageControl,
    http: reqwest::Client,
}

impl World {
    async fn start() -> Self {
        // A provider that another test installed is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let cloud = LocalCloud::start(([127, 0, 0, 1], 0).into(), None).await.unwrap();
        cloud
            .set_up(&StackResources {
                project: "test".into(),
                bucket: BUCKET.into(),
                topic: TOPIC.into(),
                subscription: SUBSCRIPTION.into(),
            })
            .unwrap();
        let storage = Storage::builder()
            .with_endpoint(cloud.url())
            .with_credentials(anonymous())
            .with_retry_policy(NeverRetry)
            .with_resumable_upload_threshold(RESUMABLE_FROM)
            .with_resumable_upload_buffer_size(RESUMABLE_FROM)
            .build()
            .await
            .unwrap();
        let control = StorageControl::builder()
            .with_endpoint(cloud.url())
            .with_credentials(anonymous())
            .with_retry_policy(NeverRetry)
            .build()
            .await
            .unwrap();
        Self { cloud, storage, control, http: reqwest::Client::new() }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.cloud.url())
    }

    /// Writes an object by the test's own hand; returns its generation.
    fn put(&self, object: &str, content: &str) -> i64 {
        self.cloud.storage().put(BUCKET, object, content.to_owned()).unwrap()
    }

    /// Reads by the official client.
    async fn read(&self, object: &str, generation: Option<i64>) -> Result<Vec<u8>, google_cloud_storage::Error> {
        let mut request = self.storage.read_object(BUCKET_RESOURCE, object);
        if let Some(generation) = generation {
            request = request.set_generation(generation);
        }
        let mut response = request.send().await?;
        let mut content = Vec::new();
        while let Some(piece) = response.next().await.transpose()? {
            content.extend_from_slice(&piece);
        }
        Ok(content)
    }

    /// Names and generations of all objects, page by page, by the official client.
    async fn list(&self, versions: bool, page_size: i32) -> Vec<(String, i64)> {
        let request = self.control.list_objects().set_parent(BUCKET_RESOURCE);
        let mut items = request.set_versions(versions).set_page_size(page_size).by_item();
        let mut listed = Vec::new();
        while let Some(object) = items.next().await.transpose().unwrap() {
            listed.push((object.name, object.generation));
        }
        listed
    }

    async fn subscriber(&self) -> Subscriber {
        let subscriber = Subscriber::builder().with_endpoint(self.cloud.url()).with_credentials(anonymous());
        subscriber.with_grpc_subchannel_count(1_usize).build().await.unwrap()
    }

    /// The stack's subscription as a stream of the official client.
    async fn stream(&self) -> MessageStream {
        self.subscriber().await.subscribe(SUBSCRIPTION).build()
    }
}

fn anonymous() -> Credentials {
    anonymous::Builder::new().build()
}

/// The next message, or a failed test after [`DEADLINE`].
async fn next(stream: &mut MessageStream) -> (Message, Handler) {
    let next = tokio::time::timeout(DEADLINE, stream.next()).await.expect("no message came");
    next.expect("the stream ended").expect("the stream failed")
}

/// A notification in short: `TYPE object generation`.
fn told(message: &Message) -> String {
    let attribute = |name: &str| message.attributes.get(name).map_or("-", String::as_str);
    let event = attribute("eventType").trim_start_matches("OBJECT_");
    format!("{event} {} {}", attribute("objectId"), attribute("objectGeneration"))
}
