//! The manager's API, one function per call.

use std::time::Duration;

use contract::api::{
    ChangeAnswer, ChangeQuery, ExecutorList, HEADER_AUTHOR, PolicyAnswer, RollbackRequest, ScriptList, Status,
    VersionList,
};
use contract::ids::Form;
use contract::{ScriptName, TenantName};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use serde::de::DeserializeOwned;

use crate::client::{Client, ClientError, Request};
use crate::settings::Endpoint;

/// A connection to a manager.
#[derive(Debug, Clone)]
pub(crate) struct Manager {
    client: Client,
}

/// What the change needs beside its content.
#[derive(Debug, Clone, Default)]
pub(crate) struct Terms {
    /// How long the manager shall wait until executors run it.
    pub(crate) wait: Option<Duration>,
    /// How executors are moved.
    pub(crate) activation: contract::api::Activation,
    /// Only if this generation runs; 0 = only if there is no such script.
    pub(crate) if_generation: Option<i64>,
    /// Who does it.
    pub(crate) author: Option<String>,
}

impl Terms {
    fn query(&self) -> ChangeQuery {
        let wait = self.wait.map(|wait| format!("{}ms", wait.as_millis()));
        ChangeQuery { wait, activation: Some(self.activation) }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match self.if_generation {
            Some(0) => {
                headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
            }
            // An entity tag is quoted (RFC 9110 §8.8.3).
            Some(generation) => {
                let tag = HeaderValue::try_from(format!("\"{generation}\"")).expect("a quoted number is visible ASCII");
                headers.insert(IF_MATCH, tag);
            }
            None => {}
        }
        if let Some(author) = self.author.as_deref().and_then(|author| HeaderValue::try_from(author).ok()) {
            headers.insert(HeaderName::from_static(HEADER_AUTHOR), author);
        }
        headers
    }

    fn request<'a>(&self, method: Method, path: &'a [&'a str]) -> Request<'a> {
        Request {
            query: Some(self.query()),
            headers: self.headers(),
            wait: self.wait.unwrap_or_default(),
            ..Request::new(method, path)
        }
    }
}

impl Manager {
    /// A manager at `endpoint`. Connects on first use.
    ///
    /// # Errors
    /// [`ClientError::Setup`].
    pub(crate) fn new(endpoint: Endpoint) -> Result<Self, ClientError> {
        Ok(Self { client: Client::new(endpoint)? })
    }

    /// Who is asked.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        self.client.endpoint()
    }

    /// The same, with less patience.
    pub(crate) fn with_timeout(&self, timeout: Duration) -> Self {
        Self { client: self.client.with_timeout(timeout) }
    }

    /// `PUT /v1/tenants/{tenant}/scripts/{script}`
    pub(crate) async fn push(
        &self,
        tenant: &TenantName,
        script: &ScriptName,
        source: Vec<u8>,
        terms: &Terms,
    ) -> Result<ChangeAnswer, ClientError> {
        let path = ["v1", "tenants", tenant.as_str(), "scripts", script.as_str()];
        let media_type = match Form::of(&source) {
            Form::Luau => "text/x-luau",
            Form::Zip => "application/zip",
            Form::Tar => "application/x-tar",
        };
        let request = Request { body: Some((media_type, source)), ..terms.request(Method::PUT, &path) };
        self.client.ask(request).await?.json()
    }

    /// `DELETE /v1/tenants/{tenant}/scripts/{script}`
    pub(crate) async fn remove(
        &self,
        tenant: &TenantName,
        script: &ScriptName,
        terms: &Terms,
    ) -> Result<ChangeAnswer, ClientError> {
        let path = ["v1", "tenants", tenant.as_str(), "scripts", script.as_str()];
        self.client.ask(terms.request(Method::DELETE, &path)).await?.json()
    }

    /// `POST /v1/tenants/{tenant}/scripts/{script}:rollback`
    pub(crate) async fn rollback(
        &self,
        tenant: &TenantName,
        script: &ScriptName,
        to: Option<String>,
        terms: &Terms,
    ) -> Result<ChangeAnswer, ClientError> {
        let action = format!("{script}:rollback");
        let path = ["v1", "tenants", tenant.as_str(), "scripts", &action];
        let body = serde_json::to_vec(&RollbackRequest { to }).expect("a struct of texts is JSON");
        let request = Request { body: Some(("application/json", body)), ..terms.request(Method::POST, &path) };
        self.client.ask(request).await?.json()
    }

    /// `GET /v1/scripts`, or those of one tenant: `GET /v1/tenants/{tenant}/scripts`
    pub(crate) async fn scripts(&self, tenant: Option<&TenantName>) -> Result<ScriptList, ClientError> {
        match tenant {
            Some(tenant) => self.get(&["v1", "tenants", tenant.as_str(), "scripts"]).await,
            None => self.get(&["v1", "scripts"]).await,
        }
    }

    /// `GET /v1/tenants/{tenant}/scripts/{script}/versions`
    pub(crate) async fn versions(&self, tenant: &TenantName, script: &ScriptName) -> Result<VersionList, ClientError> {
        self.get(&["v1", "tenants", tenant.as_str(), "scripts", script.as_str(), "versions"]).await
    }

    /// `GET /v1/tenants/{tenant}/policy`, or that of one script: `GET /v1/tenants/{tenant}/scripts/{script}/policy`
    pub(crate) async fn policy(
        &self,
        tenant: &TenantName,
        script: Option<&ScriptName>,
    ) -> Result<PolicyAnswer, ClientError> {
        match script {
            Some(script) => self.get(&["v1", "tenants", tenant.as_str(), "scripts", script.as_str(), "policy"]).await,
            None => self.get(&["v1", "tenants", tenant.as_str(), "policy"]).await,
        }
    }

    /// `GET /v1/executors`
    pub(crate) async fn executors(&self) -> Result<ExecutorList, ClientError> {
        self.get(&["v1", "executors"]).await
    }

    /// `GET /v1/status`
    pub(crate) async fn status(&self) -> Result<Status, ClientError> {
        self.get(&["v1", "status"]).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, ClientError> {
        self.client.ask(Request::new(Method::GET, path)).await?.json()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_becomes_a_precondition() {
        let headers = |if_generation| Terms { if_generation, ..Terms::default() }.headers();

        assert_eq!(headers(Some(7))[IF_MATCH], "\"7\"");
        assert_eq!(headers(Some(0))[IF_NONE_MATCH], "*");
        assert!(headers(None).is_empty());
    }
}
