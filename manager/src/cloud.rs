//! Clients of Google's services, made from the settings.
//!
//! An endpoint of our own (the local cloud) goes with anonymous credentials, Google's with the machine's own. Retries
//! are bounded here: the clients' defaults go on for minutes, and a person waits behind most of these calls.

use std::sync::Arc;
use std::time::Duration;

use google_cloud_auth::credentials::{Credentials, anonymous};
use google_cloud_gax::client_builder::Error;
use google_cloud_gax::exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use google_cloud_gax::retry_policy::{RetryPolicy, RetryPolicyExt};
use google_cloud_pubsub::client::Subscriber;
use google_cloud_storage::client::{Storage, StorageControl};
use google_cloud_storage::retry_policy::RetryableErrors;

use crate::bucket::google::GoogleBucket;
use crate::metrics::Metrics;
use crate::settings::Endpoints;

/// A script has at most 256 KiB and a pointer of ten thousand scripts about 3 MB: one request carries them.
const ONE_REQUEST_BYTES: usize = 8 << 20;

/// A client that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("make the client for {service}")]
pub struct CloudError {
    service: &'static str,
    #[source]
    err: Error,
}

impl CloudError {
    fn of(service: &'static str) -> impl FnOnce(Error) -> Self {
        move |err| Self { service, err }
    }
}

/// The bucket named in the settings.
///
/// # Errors
/// [`CloudError`]: no credentials, or an endpoint that is none. A service that does not answer is no error yet.
pub async fn bucket(name: &str, endpoints: &Endpoints, metrics: Arc<Metrics>) -> Result<GoogleBucket, CloudError> {
    let mut contents = Storage::builder()
        .with_retry_policy(retries())
        .with_backoff_policy(backoff())
        .with_resumable_upload_threshold(ONE_REQUEST_BYTES);
    let mut control = StorageControl::builder()
        .with_retry_policy(retries())
        .with_backoff_policy(backoff())
        .with_attempt_timeout(Duration::from_secs(5));
    if let Endpoints::Own { storage, .. } = endpoints {
        contents = contents.with_endpoint(storage).with_credentials(anonymous());
        control = control.with_endpoint(storage).with_credentials(anonymous());
    }
    let contents = contents.build().await.map_err(CloudError::of("Cloud Storage"))?;
    let control = control.build().await.map_err(CloudError::of("Cloud Storage"))?;
    Ok(GoogleBucket::new(name, contents, control, metrics))
}

/// The client that pulls notifications.
///
/// # Errors
/// [`CloudError`], as [`bucket`].
pub async fn subscriber(endpoints: &Endpoints) -> Result<Subscriber, CloudError> {
    let mut subscriber = Subscriber::builder().with_grpc_subchannel_count(1);
    if let Endpoints::Own { pubsub, .. } = endpoints {
        subscriber = subscriber.with_endpoint(pubsub).with_credentials(anonymous());
    }
    subscriber.build().await.map_err(CloudError::of("Pub/Sub"))
}

fn anonymous() -> Credentials {
    anonymous::Builder::new().build()
}

fn retries() -> impl RetryPolicy {
    RetryableErrors.with_time_limit(Duration::from_secs(4)).with_attempt_limit(5)
}

fn backoff() -> ExponentialBackoff {
    ExponentialBackoffBuilder::new()
        .with_initial_delay(Duration::from_millis(20))
        .with_maximum_delay(Duration::from_secs(1))
        .clamp()
}
