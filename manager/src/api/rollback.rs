//! `…/versions` and `POST …:rollback`.

use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use contract::api::{RollbackRequest, VersionList};
use contract::ids::{ScriptName, TenantName};
use contract::{Code, Problem};

use super::Api;
use super::error::{ApiError, explain};
use super::input;
use super::scripts::{admit, answer};
use crate::change::{self, Rollback};

/// A rollback request is one short field.
const BODY_BYTES_MAX: usize = 4 << 10;

/// `GET …/versions`.
pub(super) async fn list(
    State(api): State<Api>,
    Path((tenant, script)): Path<(String, String)>,
) -> Result<Json<VersionList>, ApiError> {
    let (tenant, script): (TenantName, ScriptName) = (input::name(&tenant)?, input::name(&script)?);
    let versions = change::versions(&api.context, &tenant, &script).await;
    let versions = versions.map_err(|err| explain(&api.context, tenant.as_str(), script.as_str(), err))?;
    Ok(Json(VersionList { tenant, script, versions }))
}

/// `POST …/{script}:{action}`. The router can't match behind the colon, so the action is found here.
pub(super) async fn act(
    State(api): State<Api>,
    Path((tenant, target)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let accepted = Instant::now();
    let Some((script, "rollback")) = target.rsplit_once(':') else {
        let path = uri.path().escape_debug().to_string();
        let detail = format!("`{path}` does not take POST; the action on a script is `:rollback`");
        return Err(Problem::new(Code::MethodNotAllowed, detail).with_hint("a script is pushed with PUT").into());
    };
    let (tenant, script): (TenantName, ScriptName) = (input::name(&tenant)?, input::name(script)?);
    let (activate, condition, author) = (input::activate(&uri)?, input::condition(&headers)?, input::author(&headers)?);
    let _place = admit(&api, activate)?;
    let body = input::body(&headers, body, BODY_BYTES_MAX, "the rollback request").await?;
    let request: RollbackRequest = if body.trim_ascii().is_empty() {
        RollbackRequest::default()
    } else {
        serde_json::from_slice(&body).map_err(|err| {
            Problem::new(Code::BadJson, format!("the rollback request is not of its form: {err}"))
                .with_hint("send nothing, or `{\"to\":\"VERSION\"}`")
        })?
    };
    let rollback = Rollback {
        tenant: tenant.clone(),
        script: script.clone(),
        to: request.to,
        author,
        condition,
        activation: activate.activation,
    };
    let changed = change::rollback(&api.context, rollback).await;
    let changed = changed.map_err(|err| explain(&api.context, tenant.as_str(), script.as_str(), err))?;
    answer(&api.context, tenant, script, changed, activate, accepted).await
}
