//! HTTP with JSON, credentials, and what a status means.

use std::time::Duration;

use google_cloud_auth::credentials::{Builder, CacheableResource, Credentials};
use http::Extensions;
pub(super) use reqwest::Method;
use serde_json::Value;

use crate::cloud::Fault;
use crate::stack::{Endpoints, Url};

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const CALL_DEADLINE: Duration = Duration::from_secs(60);
/// Of an answer that is not JSON.
const REASON_MAX: usize = 300;

/// A client that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is logged in.
    #[error("there are no credentials for Google Cloud: `gcloud auth application-default login` makes some")]
    Credentials(#[source] google_cloud_auth::build_errors::Error),
    /// TLS or the resolver.
    #[error("the HTTP client can't be made")]
    Http(#[from] reqwest::Error),
}

/// Where each service is, without a slash at the end.
pub(super) struct Bases {
    pub(super) storage: String,
    pub(super) pubsub: String,
    pub(super) compute: String,
    pub(super) iam: String,
    pub(super) resource_manager: String,
    pub(super) secret_manager: String,
}

/// A call that failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) fault: Fault,
    pub(super) reason: String,
}

pub(super) struct Rest {
    http: reqwest::Client,
    /// For Google itself. An endpoint of one's own gets none.
    credentials: Option<Credentials>,
    own: Vec<String>,
    pub(super) bases: Bases,
}

impl Rest {
    pub(super) fn new(endpoints: &Endpoints) -> Result<Self, ClientError> {
        let mut own = Vec::new();
        let mut base = |endpoint: &Option<Url>, google: &str| match endpoint.as_ref().or(endpoints.all.as_ref()) {
            Some(url) => {
                own.push(format!("{}/", url.as_str()));
                url.as_str().to_owned()
            }
            None => format!("https://{google}.googleapis.com"),
        };
        let bases = Bases {
            storage: base(&endpoints.storage, "storage"),
            pubsub: base(&endpoints.pubsub, "pubsub"),
            compute: base(&endpoints.compute, "compute"),
            iam: base(&endpoints.iam, "iam"),
            resource_manager: base(&endpoints.resource_manager, "cloudresourcemanager"),
            secret_manager: base(&endpoints.secret_manager, "secretmanager"),
        };
        // Six services: where all are one's own, nobody has to be logged in.
        let credentials = match own.len() {
            6 => None,
            _ => Some(Builder::default().with_scopes([SCOPE]).build().map_err(ClientError::Credentials)?),
        };
        let http =
            reqwest::Client::builder().timeout(CALL_DEADLINE).redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { http, credentials, own, bases })
    }

    /// The answer as it came.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<reqwest::Response, Failure> {
        let passing = |reason: String| Failure { fault: Fault::Passing, reason };
        let mut request = self.http.request(method, url);
        if !self.own.iter().any(|own| url.starts_with(own))
            && let Some(credentials) = &self.credentials
        {
            let headers = credentials.headers(Extensions::new()).await.map_err(|err| passing(err.to_string()))?;
            if let CacheableResource::New { data, .. } = headers {
                request = request.headers(data);
            }
        }
        if !body.is_empty() {
            request = request.header(reqwest::header::CONTENT_TYPE, content_type);
        }
        // Google wants a length on every write, also where there is nothing to say.
        request = request.body(body);
        let answer = request.send().await.map_err(|err| passing(format!("{:#}", Chain(&err))))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap_or_default();
        Err(failure(status, &text))
    }

    /// A call with JSON in both directions; no body for `Null`.
    pub(super) async fn call(&self, method: Method, url: &str, body: Value) -> Result<Value, Failure> {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let answer = self.send(method, url, "application/json", body).await?;
        let text = answer.text().await.map_err(|err| Failure { fault: Fault::Passing, reason: err.to_string() })?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|err| Failure {
            fault: Fault::Refused,
            reason: format!("{url} answers with something else than JSON ({err}): {}", shortened(&text)),
        })
    }

    /// `None` for what is not there.
    pub(super) async fn get(&self, url: &str) -> Result<Option<Value>, Failure> {
        match self.call(Method::GET, url, Value::Null).await {
            Ok(value) => Ok(Some(value)),
            Err(failure) if failure.is_missing() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// What is gone already is as good.
    pub(super) async fn gone(&self, method: Method, url: &str) -> Result<(), Failure> {
        match self.call(method, url, Value::Null).await {
            Err(failure) if !failure.is_missing() => Err(failure),
            _ => Ok(()),
        }
    }
}

impl Failure {
    pub(super) fn is_missing(&self) -> bool {
        self.reason.starts_with("404 ")
    }

    pub(super) fn is_conflict(&self) -> bool {
        self.reason.starts_with("412 ")
    }

    /// What was only just made is not known everywhere at once.
    pub(super) fn passing_if(mut self, passing: bool) -> Self {
        if passing && matches!(self.fault, Fault::Refused | Fault::Denied) {
            self.fault = Fault::Passing;
        }
        self
    }
}

/// What a status and Google's error document mean (<https://cloud.google.com/apis/design/errors>).
pub(super) fn failure(status: u16, text: &str) -> Failure {
    let document: Value = serde_json::from_str(text).unwrap_or_default();
    let error = &document["error"];
    let message = error["message"].as_str().map_or_else(|| shortened(text), ToOwned::to_owned);
    let why = error["errors"][0]["reason"].as_str().or(error["status"].as_str()).unwrap_or_default();
    let fault = match (status, why) {
        (408 | 429 | 500..=599, _) | (412, _) | (409, "ABORTED" | "aborted") => Fault::Passing,
        (_, "resourceNotReady" | "resourceInUseByAnotherResource" | "rateLimitExceeded") => Fault::Passing,
        (_, "quotaExceeded" | "QUOTA_EXCEEDED" | "RESOURCE_EXHAUSTED" | "limitExceeded") => Fault::Quota,
        (409, _) => Fault::Exists,
        (401 | 403, _) => Fault::Denied,
        _ => Fault::Refused,
    };
    Failure { fault, reason: format!("{status} {why}: {message}") }
}

fn shortened(text: &str) -> String {
    text.chars().take(REASON_MAX).collect()
}

/// An error with its causes, for one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(err) = cause {
            write!(f, ": {err}")?;
            cause = err.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_mean_what_google_says() {
        let of = |status, reason: &str| {
            failure(status, &format!(r#"{{"error":{{"message":"m","errors":[{{"reason":"{reason}"}}]}}}}"#)).fault
        };

        assert_eq!(of(503, "backendError"), Fault::Passing);
        assert_eq!(of(429, ""), Fault::Passing);
        assert_eq!(of(412, "conditionNotMet"), Fault::Passing);
        assert_eq!(of(409, "alreadyExists"), Fault::Exists);
        assert_eq!(of(400, "resourceInUseByAnotherResource"), Fault::Passing);
        assert_eq!(of(403, "quotaExceeded"), Fault::Quota);
        assert_eq!(of(403, "forbidden"), Fault::Denied);
        assert_eq!(of(400, "invalid"), Fault::Refused);
        assert_eq!(failure(409, r#"{"error":{"status":"ABORTED"}}"#).fault, Fault::Passing);
        assert!(failure(404, "not json").is_missing());
    }
}
