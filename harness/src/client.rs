//! What a user's programs send: pushes to a manager, calls to an executor. Sees only the public faces.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use contract::api::{self, ChangeAnswer, ExecutorList, ScriptList, Status, VersionList};
use contract::{Problem, Version};
use reqwest::{Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;

/// No call takes longer; the slowest is a push that waits for a rolling activation.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Makes TLS available to every client of this process; needed once before the first, also where no TLS is used
/// (reqwest without a provider panics when a client is built).
pub fn install_crypto() {
    // Already installed is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A manager's API.
#[derive(Debug, Clone)]
pub struct Manager {
    client: reqwest::Client,
    url: String,
    token: Option<String>,
}

/// An answer that is either the expected body or a problem.
pub type Answer<T> = std::result::Result<T, Problem>;

impl Manager {
    /// The manager at `url`, for example `http://127.0.0.1:7700`.
    ///
    /// # Errors
    /// The HTTP client can't be made.
    pub fn new(url: impl Into<String>, token: Option<String>) -> Result<Self> {
        install_crypto();
        let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        Ok(Self { client, url: url.into(), token })
    }

    /// Pushes a script; `query` is for example `wait=10s&activation=rolling`.
    ///
    /// # Errors
    /// No answer, or one that is neither a change nor a problem.
    pub async fn push(&self, tenant: &str, script: &str, source: &[u8], query: &str) -> Result<Answer<ChangeAnswer>> {
        let path = format!("/v1/tenants/{tenant}/scripts/{script}?{query}");
        answer(self.request(Method::PUT, &path).body(source.to_vec())).await
    }

    /// Pushes only if the object still has this generation.
    ///
    /// # Errors
    /// As [`Manager::push`].
    pub async fn push_if(
        &self,
        tenant: &str,
        script: &str,
        source: &[u8],
        generation: i64,
    ) -> Result<Answer<ChangeAnswer>> {
        let path = format!("/v1/tenants/{tenant}/scripts/{script}?wait=10s");
        answer(self.request(Method::PUT, &path).header("if-match", generation.to_string()).body(source.to_vec())).await
    }

    /// Removes a script.
    ///
    /// # Errors
    /// As [`Manager::push`].
    pub async fn remove(&self, tenant: &str, script: &str) -> Result<Answer<ChangeAnswer>> {
        answer(self.request(Method::DELETE, &format!("/v1/tenants/{tenant}/scripts/{script}?wait=10s"))).await
    }

    /// Takes a script back to an older version, or to the one before.
    ///
    /// # Errors
    /// As [`Manager::push`].
    pub async fn rollback(&self, tenant: &str, script: &str, to: Option<&str>) -> Result<Answer<ChangeAnswer>> {
        let path = format!("/v1/tenants/{tenant}/scripts/{script}:rollback?wait=10s");
        let body = api::RollbackRequest { to: to.map(ToOwned::to_owned) };
        answer(self.request(Method::POST, &path).json(&body)).await
    }

    /// Kept versions, newest first.
    ///
    /// # Errors
    /// As [`Manager::push`].
    pub async fn versions(&self, tenant: &str, script: &str) -> Result<Answer<VersionList>> {
        answer(self.request(Method::GET, &format!("/v1/tenants/{tenant}/scripts/{script}/versions"))).await
    }

    /// All scripts.
    ///
    /// # Errors
    /// As [`Manager::push`].
    pub async fn scripts(&self) -> Result<Answer<ScriptList>> {
        answer(self.request(Method::GET, "/v1/scripts")).await
    }

    /// All executors.
    ///
    /// # Errors
    /// As [`Manager::push`].
    pub async fn executors(&self) -> Result<Answer<ExecutorList>> {
        answer(self.request(Method::GET, "/v1/executors")).await
    }

    /// What an operator wants to know first.
    ///
    /// # Errors
    /// As [`Manager::push`].
    pub async fn status(&self) -> Result<Answer<Status>> {
        answer(self.request(Method::GET, "/v1/status")).await
    }

    /// Any other request.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }
}

/// Sends a request and reads its answer as a body or as a problem.
///
/// # Errors
/// No answer, or one that is neither.
pub async fn answer<T: DeserializeOwned>(request: RequestBuilder) -> Result<Answer<T>> {
    let response = request.send().await?;
    let status = response.status();
    let body = response.bytes().await?;
    if status.is_success() {
        return serde_json::from_slice(&body).map(Ok).with_context(|| told(status, &body));
    }
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => Ok(Err(problem)),
        Err(_) => bail!("{}", told(status, &body)),
    }
}

fn told(status: reqwest::StatusCode, body: &[u8]) -> String {
    format!("unexpected answer {status}: {}", String::from_utf8_lossy(body))
}

/// What an executor answered to a run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunAnswer {
    /// HTTP status.
    pub status: u16,
    /// Release that gave the answer.
    pub release: Option<u64>,
    /// Version of the script that gave it.
    pub version: Option<Version>,
    /// The body, `null` if it is no JSON.
    pub body: serde_json::Value,
}

/// Calls executors.
#[derive(Debug, Clone)]
pub struct Caller {
    client: reqwest::Client,
    token: Option<String>,
}

impl Caller {
    /// A caller with the executors' token, if they need one.
    ///
    /// # Errors
    /// The HTTP client can't be made.
    pub fn new(token: Option<String>) -> Result<Self> {
        install_crypto();
        Ok(Self { client: reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?, token })
    }

    /// Runs a script on the executor at `url`.
    ///
    /// # Errors
    /// No answer.
    pub async fn run(
        &self,
        url: &str,
        tenant: &str,
        script: &str,
        input: impl Into<reqwest::Body>,
    ) -> Result<RunAnswer> {
        let request = self.client.post(format!("{url}/v1/run/{tenant}/{script}")).body(input);
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let response = request.send().await.with_context(|| format!("run {tenant}/{script} on {url}"))?;
        let header = |name: &str| header(&response, name);
        Ok(RunAnswer {
            status: response.status().as_u16(),
            release: header(api::HEADER_RELEASE).and_then(|text| text.parse().ok()),
            version: header(api::HEADER_VERSION).and_then(|text| Version::try_from(text).ok()),
            body: serde_json::from_slice(&response.bytes().await?).unwrap_or_default(),
        })
    }
}

fn header(response: &Response, name: &str) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}
