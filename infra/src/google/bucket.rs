//! Buckets, and the bucket in which the engine keeps what it knows.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::rest::{ClientError, Failure, Rest};
use super::{Answer, GoogleCloud, Method, number, spec};
use crate::cloud::Live;
use crate::resource::Bucket;
use crate::stack::Stack;
use crate::store::{Object, Store, StoreError};

fn closed() -> Value {
    json!({ "uniformBucketLevelAccess": { "enabled": true }, "publicAccessPrevention": "enforced" })
}

impl GoogleCloud {
    pub(super) fn bucket_url(&self, name: &str) -> String {
        format!("{}/storage/v1/b/{name}", self.rest.bases.storage)
    }

    pub(super) async fn read_bucket(&self, name: &str) -> Answer<Option<Live>> {
        let Some(found) = self.rest.get(&self.bucket_url(name)).await? else { return Ok(None) };
        let rules = found["lifecycle"]["rule"].as_array().cloned().unwrap_or_default();
        let lifecycle: Vec<Value> = rules
            .iter()
            .map(|rule| {
                let condition = &rule["condition"];
                json!({
                    "overwritten_days": number(&condition["daysSinceNoncurrentTime"]),
                    "keep_newest": number(&condition["numNewerVersions"]),
                })
            })
            .collect();
        let mut live = self.live(
            &found,
            spec(json!({
                "kind": "bucket",
                "location": found["location"],
                "versioning": found["versioning"]["enabled"].as_bool().unwrap_or(false),
                "lifecycle": lifecycle,
            }))?,
        );
        if let crate::resource::Spec::Bucket(bucket) = &mut live.spec {
            let access = &found["iamConfiguration"];
            bucket.closed =
                access["uniformBucketLevelAccess"]["enabled"] == true && access["publicAccessPrevention"] == "enforced";
        }
        Ok(Some(live))
    }

    fn bucket_fields(bucket: &Bucket) -> Value {
        let rules: Vec<Value> = bucket
            .lifecycle
            .iter()
            .map(|rule| {
                let condition = json!({
                    "daysSinceNoncurrentTime": rule.overwritten_days,
                    "numNewerVersions": rule.keep_newest,
                });
                json!({ "action": { "type": "Delete" }, "condition": condition })
            })
            .collect();
        json!({
            "versioning": { "enabled": bucket.versioning },
            "iamConfiguration": closed(),
            "lifecycle": { "rule": rules },
        })
    }

    pub(super) async fn create_bucket(&self, name: &str, bucket: &Bucket) -> Answer<()> {
        let mut body = Self::bucket_fields(bucket);
        body["name"] = name.into();
        body["location"] = bucket.location.as_str().into();
        body["labels"] = self.labels();
        let url = format!("{}/storage/v1/b?project={}", self.rest.bases.storage, self.project);
        self.rest.call(Method::POST, &url, body).await.map(drop)
    }

    pub(super) async fn update_bucket(&self, name: &str, bucket: &Bucket) -> Answer<()> {
        self.rest.call(Method::PATCH, &self.bucket_url(name), Self::bucket_fields(bucket)).await.map(drop)
    }

    /// Every version of every object first: a bucket that is not empty stays.
    pub(super) async fn delete_bucket(&self, name: &str) -> Answer<()> {
        loop {
            let url = format!("{}/o?versions=true&maxResults=1000", self.bucket_url(name));
            let Some(page) = self.rest.get(&url).await? else { return Ok(()) };
            let Some(items) = page["items"].as_array().filter(|items| !items.is_empty()) else { break };
            for item in items {
                let object = encode(item["name"].as_str().unwrap_or_default());
                let generation = number(&item["generation"]);
                let url = format!("{}/o/{object}?generation={generation}", self.bucket_url(name));
                self.rest.gone(Method::DELETE, &url).await?;
            }
        }
        self.rest.gone(Method::DELETE, &self.bucket_url(name)).await
    }
}

fn encode(object: &str) -> String {
    utf8_percent_encode(object, NON_ALPHANUMERIC).to_string()
}

/// The bucket of the state. It is not a resource of the stack: it has to be there before anything else, and outlives it.
pub struct GoogleStore {
    rest: Rest,
    project: String,
    bucket: String,
    location: String,
}

impl GoogleStore {
    /// The state of this stack.
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn new(stack: &Stack) -> Result<Self, ClientError> {
        Ok(Self {
            rest: Rest::new(&stack.endpoints)?,
            project: stack.project.clone(),
            bucket: stack.state_bucket(),
            location: stack.region.to_uppercase(),
        })
    }

    /// Makes the bucket if it is not there: versioned, closed, and nobody else's.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn prepare(&self) -> Result<(), StoreError> {
        if self.rest.get(&self.url()).await.map_err(|failure| self.failed("look at", "", failure))?.is_some() {
            return Ok(());
        }
        let body = json!({
            "name": self.bucket,
            "location": self.location,
            "versioning": { "enabled": true },
            "iamConfiguration": closed(),
            "labels": { "managed-by": "moonswarm" },
        });
        let url = format!("{}/storage/v1/b?project={}", self.rest.bases.storage, self.project);
        match self.rest.call(Method::POST, &url, body).await {
            Ok(_) => Ok(()),
            // Another engine may have been as fast, which is as good; what is somebody else's can't be read.
            Err(failure) => match self.rest.get(&self.url()).await {
                Ok(Some(_)) => Ok(()),
                _ => Err(self.failed("make", "", failure)),
            },
        }
    }

    fn url(&self) -> String {
        format!("{}/storage/v1/b/{}", self.rest.bases.storage, self.bucket)
    }

    fn object_url(&self, object: &str) -> String {
        format!("{}/o/{}", self.url(), encode(object))
    }

    fn failed(&self, operation: &'static str, object: &str, failure: Failure) -> StoreError {
        StoreError::Failed { operation, object: format!("gs://{}/{object}", self.bucket), reason: failure.reason }
    }
}

impl Store for GoogleStore {
    async fn get(&self, object: &str) -> Result<Option<Object>, StoreError> {
        let url = format!("{}?alt=media", self.object_url(object));
        let answer = match self.rest.send(Method::GET, &url, "", Vec::new()).await {
            Ok(answer) => answer,
            // No bucket, no object: nothing was ever written.
            Err(failure) if failure.is_missing() => return Ok(None),
            Err(failure) => return Err(self.failed("read", object, failure)),
        };
        let header = answer.headers().get("x-goog-generation").and_then(|value| value.to_str().ok()?.parse().ok());
        let broken = |reason: String| StoreError::Failed { operation: "read", object: object.to_owned(), reason };
        let generation = header.ok_or_else(|| broken("the answer does not say its generation".to_owned()))?;
        let bytes = answer.bytes().await.map_err(|err| broken(err.to_string()))?;
        Ok(Some(Object { generation, bytes: bytes.to_vec() }))
    }

    async fn put(&self, object: &str, bytes: Vec<u8>, generation: i64) -> Result<i64, StoreError> {
        let (base, bucket, name) = (&self.rest.bases.storage, &self.bucket, encode(object));
        let url = format!(
            "{base}/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}&ifGenerationMatch={generation}"
        );
        let failure = match self.rest.send(Method::POST, &url, "application/json", bytes.clone()).await {
            Ok(answer) => {
                let written: Value = answer.json().await.unwrap_or_default();
                return Ok(number(&written["generation"]).cast_signed());
            }
            Err(failure) => failure,
        };
        // It may have been written and the answer lost.
        if let Ok(Some(live)) = self.get(object).await
            && live.generation != generation
        {
            return if live.bytes == bytes {
                Ok(live.generation)
            } else {
                Err(StoreError::Conflict(object.to_owned()))
            };
        }
        if failure.is_conflict() {
            return Err(StoreError::Conflict(object.to_owned()));
        }
        Err(self.failed("write", object, failure))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, i64)>, StoreError> {
        let mut found = Vec::new();
        let mut page_token = String::new();
        loop {
            let url = format!("{}/o?prefix={}&pageToken={}", self.url(), encode(prefix), encode(&page_token));
            let url = if page_token.is_empty() { url.trim_end_matches("&pageToken=").to_owned() } else { url };
            let page = self.rest.get(&url).await.map_err(|failure| self.failed("list", prefix, failure))?;
            let Some(page) = page else { return Ok(found) };
            for item in page["items"].as_array().into_iter().flatten() {
                let name = item["name"].as_str().unwrap_or_default().to_owned();
                found.push((name, number(&item["generation"]).cast_signed()));
            }
            match page["nextPageToken"].as_str() {
                Some(token) if !token.is_empty() => page_token = token.to_owned(),
                _ => return Ok(found),
            }
        }
    }

    async fn delete(&self, object: &str, generation: i64) -> Result<(), StoreError> {
        let url = format!("{}?ifGenerationMatch={generation}", self.object_url(object));
        match self.rest.gone(Method::DELETE, &url).await {
            Ok(()) => Ok(()),
            Err(failure) if failure.is_conflict() => Err(StoreError::Conflict(object.to_owned())),
            Err(failure) => Err(self.failed("delete", object, failure)),
        }
    }
}
