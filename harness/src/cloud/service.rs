//! What the younger JSON services have in common: how they refuse, and how they take a request apart.

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::parameters::{ParameterError, Parameters, path_parts};

/// Above what any of these services takes.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// A refusal: HTTP status, its name, and a text for people. <https://cloud.google.com/apis/design/errors>
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct ServiceError {
    pub(super) status: u16,
    pub(super) message: String,
}

impl ServiceError {
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, message)
    }

    pub(super) fn not_implemented(what: impl std::fmt::Display) -> Self {
        Self::new(501, format!("The local cloud does not implement {what}"))
    }

    /// `error.status`; a 409 is ABORTED where two wrote at once, and told so by [`Self::aborted`].
    fn name(&self) -> &'static str {
        match self.status {
            400 if self.message.contains(" state.") => "FAILED_PRECONDITION",
            400 => "INVALID_ARGUMENT",
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "NOT_FOUND",
            409 if self.message.contains("concurrent") => "ABORTED",
            409 => "ALREADY_EXISTS",
            412 => "FAILED_PRECONDITION",
            429 => "RESOURCE_EXHAUSTED",
            501 => "UNIMPLEMENTED",
            503 => "UNAVAILABLE",
            _ => "INTERNAL",
        }
    }

    /// 409: somebody else changed it since it was read.
    pub(super) fn aborted() -> Self {
        let message =
            "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff.";
        Self::new(409, message)
    }
}

impl IntoResponse for ServiceError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let reason = match self.status {
            403 => "forbidden",
            404 => "notFound",
            409 => "alreadyExists",
            _ => "badRequest",
        };
        let detail = json!({ "message": self.message, "domain": "global", "reason": reason });
        let error = json!({ "code": self.status, "message": self.message, "status": self.name(), "errors": [detail] });
        (status, Json(json!({ "error": error }))).into_response()
    }
}

impl From<ParameterError> for ServiceError {
    fn from(error: ParameterError) -> Self {
        Self::invalid(error.to_string())
    }
}

/// A request taken apart.
#[derive(Debug)]
pub(super) struct ServiceCall {
    pub(super) method: Method,
    /// Behind the version, each part decoded, the last one without its verb.
    pub(super) path: Vec<String>,
    /// What stands behind a colon at the end: `getIamPolicy`.
    pub(super) verb: String,
    pub(super) parameters: Parameters,
    pub(super) body: Map<String, Value>,
}

impl ServiceCall {
    /// Reads a request whose path begins with a version, `/v1/`.
    pub(super) async fn read(request: Request) -> Result<Self, ServiceError> {
        let (parts, body) = request.into_parts();
        let too_large = |_| ServiceError::invalid(format!("The body has over {BODY_BYTES_MAX} bytes."));
        let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(too_large)?;
        let body = if body.is_empty() {
            Map::new()
        } else {
            let unread = |error| ServiceError::invalid(format!("Invalid JSON payload received. {error}"));
            serde_json::from_slice(&body).map_err(unread)?
        };
        let mut path = path_parts(parts.uri.path().trim_start_matches('/'));
        path.remove(0);
        let last = path.pop().unwrap_or_default();
        let (last, verb) = match last.rsplit_once(':') {
            Some((last, verb)) => (last.to_owned(), verb.to_owned()),
            None => (last, String::new()),
        };
        path.push(last);
        let mut parameters = Parameters::parse(parts.uri.query());
        // The version of policies that a caller understands; there are no others here than version 1 and 3, told alike.
        parameters.text("options.requestedPolicyVersion");
        Ok(Self { method: parts.method, path, verb, parameters, body })
    }

    /// The call as people write it.
    pub(super) fn told(&self) -> String {
        let colon = if self.verb.is_empty() { "" } else { ":" };
        format!("{} /{}{colon}{}", self.method, self.path.join("/"), self.verb)
    }

    /// A page of a list: `pageSize` items from where `pageToken` says, with the next token.
    pub(super) fn page(&mut self, items: Vec<Value>) -> Result<(Vec<Value>, Option<String>), ServiceError> {
        let size: usize = self.parameters.value("pageSize")?.unwrap_or(0);
        let size = if size == 0 { 1000 } else { size.min(1000) };
        let token = self.parameters.text("pageToken").unwrap_or_default();
        let from: usize = if token.is_empty() {
            0
        } else {
            token.parse().map_err(|_| ServiceError::invalid("Invalid page token: this server never gave it."))?
        };
        let next = (items.len() > from + size).then(|| (from + size).to_string());
        Ok((items.into_iter().skip(from).take(size).collect(), next))
    }
}

/// A list resource with its next page's token.
pub(super) fn list(name: &str, (items, next): (Vec<Value>, Option<String>)) -> Value {
    let mut list = json!({});
    if !items.is_empty() {
        list[name] = items.into();
    }
    if let Some(next) = next {
        list["nextPageToken"] = next.into();
    }
    list
}
