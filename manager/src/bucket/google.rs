//! [`Bucket`] over the official Cloud Storage clients.
//!
//! Contents travel over the JSON API (`Storage`), everything else over gRPC (`StorageControl`); that is how the client
//! crate divides them. Every call has a deadline, so that a dead endpoint is told within seconds.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use google_cloud_gax::error::rpc::Code;
use google_cloud_gax::paginator::Paginator;
use google_cloud_storage::Error;
use google_cloud_storage::client::{Storage, StorageControl};
use google_cloud_storage::model::Object;

use super::{Bucket, BucketError, Content, LIST_MAX, META_WRITE, Metadata, ObservedObject};
use crate::metrics::Metrics;

/// Retries included. Long enough for a slow day of the service, short enough for a person who waits.
const CALL_DEADLINE: Duration = Duration::from_secs(8);

/// A bucket of Cloud Storage.
pub struct GoogleBucket {
    name: String,
    /// `projects/_/buckets/NAME`, the form that the clients ask for.
    path: String,
    contents: Storage,
    control: StorageControl,
    metrics: Arc<Metrics>,
}

impl GoogleBucket {
    /// The bucket `name`, seen through these clients.
    pub fn new(name: &str, contents: Storage, control: StorageControl, metrics: Arc<Metrics>) -> Self {
        Self { name: name.to_owned(), path: format!("projects/_/buckets/{name}"), contents, control, metrics }
    }

    /// Waits for a call, but not for ever, and puts its error into our words.
    async fn call<T>(
        &self,
        operation: &'static str,
        object: &str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, BucketError> {
        let err = match tokio::time::timeout(CALL_DEADLINE, call).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(err)) => self.explain(operation, object, &err),
            Err(_) => BucketError::Unavailable {
                bucket: self.name.clone(),
                operation,
                object: object.to_owned(),
                reason: format!("no answer within {} s", CALL_DEADLINE.as_secs()),
            },
        };
        if matches!(err, BucketError::Unavailable { .. } | BucketError::Refused { .. }) {
            self.metrics.bucket_failed(operation);
        }
        Err(err)
    }

    fn explain(&self, operation: &'static str, object: &str, err: &Error) -> BucketError {
        let (bucket, object) = (self.name.clone(), object.to_owned());
        let code = err.status().map(|status| status.code);
        match err.http_status_code() {
            Some(404) => return BucketError::NotFound { bucket, object },
            Some(412) => return BucketError::Conflict { bucket, object },
            _ => {}
        }
        match code {
            Some(Code::NotFound) => BucketError::NotFound { bucket, object },
            Some(Code::FailedPrecondition | Code::Aborted) => BucketError::Conflict { bucket, object },
            Some(Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument) => {
                BucketError::Refused { bucket, operation, object, reason: err.to_string() }
            }
            _ if matches!(err.http_status_code(), Some(400..=403)) => {
                BucketError::Refused { bucket, operation, object, reason: err.to_string() }
            }
            _ => BucketError::Unavailable { bucket, operation, object, reason: err.to_string() },
        }
    }

    async fn find(&self, object: &str) -> Result<Option<ObservedObject>, BucketError> {
        let call = self.control.get_object().set_bucket(&self.path).set_object(object).send();
        match self.call("look at", object, call).await {
            Ok(found) => Ok(Some(observed(found))),
            Err(BucketError::NotFound { .. }) => Ok(None),
            Err(err) => Err(err),
        }
    }

    async fn pages(&self, prefix: &str, versions: bool) -> Result<Vec<ObservedObject>, BucketError> {
        let mut pages = self
            .control
            .list_objects()
            .set_parent(&self.path)
            .set_prefix(prefix)
            .set_versions(versions)
            .set_page_size(1000)
            .by_page();
        let mut objects = Vec::new();
        loop {
            let page = self.call("list", prefix, async { pages.next().await.transpose() }).await;
            let Some(page) = page.map_err(|err| self.without_bucket("list", err))? else { return Ok(objects) };
            objects.extend(page.objects.into_iter().map(observed));
            if objects.len() > LIST_MAX {
                return Err(BucketError::Refused {
                    bucket: self.name.clone(),
                    operation: "list",
                    object: prefix.to_owned(),
                    reason: format!("there are more than {LIST_MAX} objects"),
                });
            }
        }
    }

    /// Where only the bucket itself can be what was not found.
    fn without_bucket(&self, operation: &'static str, err: BucketError) -> BucketError {
        match err {
            BucketError::NotFound { bucket, object } => {
                self.metrics.bucket_failed(operation);
                BucketError::Unavailable { bucket, operation, object, reason: "there is no such bucket".to_owned() }
            }
            err => err,
        }
    }
}

#[tonic::async_trait]
impl Bucket for GoogleBucket {
    fn name(&self) -> &str {
        &self.name
    }

    async fn read(&self, object: &str, generation: Option<i64>, bytes_max: usize) -> Result<Content, BucketError> {
        let named = generation.map_or_else(|| object.to_owned(), |generation| format!("{object}#{generation}"));
        let too_large = || BucketError::TooLarge { bucket: self.name.clone(), object: named.clone(), bytes_max };
        let call = async {
            let mut request = self.contents.read_object(&self.path, object);
            if let Some(generation) = generation {
                request = request.set_generation(generation);
            }
            let mut answer = request.send().await?;
            let generation = answer.object().generation;
            let mut bytes = BytesMut::new();
            while let Some(part) = answer.next().await.transpose()? {
                if bytes.len() + part.len() > bytes_max {
                    return Ok(None);
                }
                bytes.extend_from_slice(&part);
            }
            Ok(Some(Content { generation, bytes: bytes.freeze() }))
        };
        self.call("read", &named, call).await?.ok_or_else(too_large)
    }

    async fn head(&self, object: &str) -> Result<Option<ObservedObject>, BucketError> {
        self.find(object).await
    }

    async fn write(
        &self,
        object: &str,
        bytes: Bytes,
        generation_match: i64,
        mut metadata: Metadata,
    ) -> Result<ObservedObject, BucketError> {
        let write = uuid::Uuid::now_v7().to_string();
        metadata.insert(META_WRITE.to_owned(), write.clone());
        let call = self
            .contents
            .write_object(&self.path, object, bytes)
            .set_if_generation_match(generation_match)
            .set_content_type(if object.ends_with(".json") { "application/json" } else { "text/x-luau" })
            .set_metadata(metadata)
            .send_buffered();
        match self.call("write", object, call).await {
            Ok(written) => Ok(observed(written)),
            Err(err @ (BucketError::Conflict { .. } | BucketError::Unavailable { .. })) => {
                // The write may have been carried out and its answer lost: then a retry was refused because of the
                // first attempt. What is live tells whose it is.
                match self.find(object).await {
                    Ok(Some(live)) if live.metadata.get(META_WRITE) == Some(&write) => Ok(live),
                    _ => Err(err),
                }
            }
            Err(err) => Err(self.without_bucket("write", err)),
        }
    }

    async fn delete(&self, object: &str, generation_match: i64) -> Result<(), BucketError> {
        let call = self
            .control
            .delete_object()
            .set_bucket(&self.path)
            .set_object(object)
            .set_if_generation_match(generation_match)
            .send();
        self.call("delete", object, call).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObservedObject>, BucketError> {
        self.pages(prefix, false).await
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<ObservedObject>, BucketError> {
        self.pages(prefix, true).await
    }
}

fn observed(object: Object) -> ObservedObject {
    let written_at_ms =
        object.create_time.map_or(0, |time| time.seconds() * 1000 + i64::from(time.nanos()) / 1_000_000);
    ObservedObject {
        name: object.name,
        generation: object.generation,
        size: u64::try_from(object.size).unwrap_or(0),
        written_at_ms,
        metadata: object.metadata.into_iter().collect(),
    }
}
