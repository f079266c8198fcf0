//! Errors as RFC 9457 problems: from what went wrong inside to what the caller is told.

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use contract::problem::MEDIA_TYPE;
use contract::{Code, Problem, ScriptName};
use uuid::Uuid;

use super::Api;
use crate::bucket::BucketError;
use crate::change::{ChangeError, Condition};
use crate::context::Context;
use crate::releaser::{ReleaseError, refusal_of};
use telemetry::chain;

/// A problem on its way out. The request id is put in by [`finish`].
#[derive(Debug)]
pub struct ApiError(Box<Problem>);

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response();
        response.extensions_mut().insert(Unfinished(self.0));
        response
    }
}

#[derive(Debug, Clone)]
struct Unfinished(Box<Problem>);

/// Gives each answer its request id, and problems their body and a line in the log.
pub(super) async fn finish(State(api): State<Api>, request: Request, next: Next) -> Response {
    let id = Uuid::now_v7().to_string();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    if let Some(Unfinished(mut problem)) = response.extensions_mut().remove() {
        api.context.metrics.problem(problem.code);
        if problem.status >= 500 {
            tracing::warn!(request_id = id, %method, path, code = %problem.code, detail = problem.detail, "request failed");
        } else {
            tracing::info!(request_id = id, %method, path, code = %problem.code, detail = problem.detail, "request refused");
        }
        problem.request_id.clone_from(&id);
        let body = serde_json::to_vec(&problem).expect("structs of strings and numbers are always JSON");
        *response.body_mut() = body.into();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.remove(axum::http::header::CONTENT_LENGTH);
        if matches!(problem.code, Code::Overloaded | Code::NotReady) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

/// The manager has not read the pointer yet.
pub(super) fn not_ready(context: &Context) -> ApiError {
    let seen = context.bucket_health.health();
    let detail = format!("this manager has not read the release pointer yet: {}", seen.detail);
    Problem::new(Code::NotReady, detail).with_hint("it goes on trying; what executors run goes on meanwhile").into()
}

/// Something is malformed.
pub(super) fn bad_request(detail: impl Into<String>) -> ApiError {
    Problem::new(Code::BadRequest, detail).into()
}

/// What a failed change is to its author.
pub(super) fn explain(context: &Context, tenant: &str, script: &str, err: ChangeError) -> ApiError {
    let name = format!("{tenant}/{script}");
    let problem = match err {
        ChangeError::NotReady => return not_ready(context),
        ChangeError::Refused(refusal) => {
            let command = if script == ScriptName::POLICY { "policy check" } else { "check" };
            Problem::new(refusal.code, refusal.detail)
                .with_diagnostics(refusal.diagnostics)
                .with_hint(format!("nothing was changed; `moonswarm {command} FILE` judges as the manager does"))
        }
        ChangeError::Conflict(conflict) => {
            let hint = match (&conflict.there, conflict.wanted) {
                (Some((generation, ..)), Condition::Generation(_)) => {
                    format!("look at what is there, then push with `If-Match: \"{generation}\"`")
                }
                _ => "look at what is there, then push again".to_owned(),
            };
            let detail = ChangeError::Conflict(conflict).to_string();
            Problem::new(Code::Conflict, detail).with_hint(hint)
        }
        ChangeError::Unknown => return unknown_script(context, tenant, script),
        ChangeError::UnknownVersion(detail) => Problem::new(Code::UnknownVersion, format!("`{name}`: {detail}"))
            .with_hint(format!("`moonswarm versions {script} --tenant {tenant}` shows those that are kept")),
        ChangeError::BadVersion(detail) => Problem::new(Code::BadRequest, detail)
            .with_hint(format!("`moonswarm versions {script} --tenant {tenant}` shows those that are kept")),
        ChangeError::Bucket(err) => return bucket(&err),
        ChangeError::Release(ReleaseError::Refused(refusal)) => {
            let refused = refusal_of(&refusal);
            Problem::new(refused.code, format!("`{name}`: {}", refused.detail)).with_hint(
                "no executor changed; the content is in the bucket and does not run, push a better one or roll back",
            )
        }
        ChangeError::Release(ReleaseError::Closed) => Problem::new(
            Code::NotReady,
            format!("this manager stops; `{name}` is in the bucket, another manager releases it"),
        ),
        err @ (ChangeError::Release(ReleaseError::Bucket(_)) | ChangeError::Slow) => {
            let code = if matches!(err, ChangeError::Slow) { Code::Overloaded } else { Code::BucketUnavailable };
            Problem::new(code, format!("`{name}`: {}", chain(&err)))
                .with_hint("what runs goes on; the change is in the bucket and is released as soon as that is possible")
        }
        err @ ChangeError::Release(_) => Problem::new(Code::ActivationFailed, format!("`{name}`: {}", chain(&err)))
            .with_hint("what runs goes on; the change is in the bucket, and the manager tries again by itself"),
    };
    problem.into()
}

/// The bucket failed a request.
pub(super) fn bucket(err: &BucketError) -> ApiError {
    Problem::new(Code::BucketUnavailable, err.to_string())
        .with_hint("what runs goes on; try again, `moonswarm status` tells when the bucket is back")
        .into()
}

/// No such tenant, or no such script of it.
pub(super) fn unknown_script(context: &Context, tenant: &str, script: &str) -> ApiError {
    let known = context.now().is_some_and(|current| current.release.scripts().contains_key(tenant));
    if known {
        return Problem::new(Code::UnknownScript, format!("tenant `{tenant}` has no script `{script}`"))
            .with_hint(format!("`moonswarm list --tenant {tenant}` shows its scripts"))
            .into();
    }
    unknown_tenant(tenant)
}

/// No script of this tenant runs.
pub(super) fn unknown_tenant(tenant: &str) -> ApiError {
    Problem::new(Code::UnknownTenant, format!("tenant `{tenant}` has no scripts"))
        .with_hint("`moonswarm list` shows all scripts; a tenant begins with its first push")
        .into()
}
