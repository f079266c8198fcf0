//! `/v1/scripts` and `/v1/tenants/{tenant}/scripts…`: push, show, list, remove.

use std::collections::BTreeMap;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::ETAG;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use contract::api::{Activation, ChangeAnswer, Refused, ScriptInfo, ScriptList};
use contract::ids::{Form, ScriptName, TenantName, script_of};
use contract::{Code, Problem};
use serde::Deserialize;

use super::Api;
use super::error::{ApiError, bad_request, explain, not_ready, unknown_script, unknown_tenant};
use super::input::{self, Activate};
use crate::activation;
use crate::change::{self, Changed, Push, Remove};
use crate::context::{Context, objects_of};
use crate::releases::Release;

/// `PUT`: the body is the source.
pub(super) async fn put(
    State(api): State<Api>,
    Path((tenant, script)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let accepted = Instant::now();
    let (tenant, script): (TenantName, ScriptName) = (input::name(&tenant)?, input::name(&script)?);
    let (activate, condition, author) = (input::activate(&uri)?, input::condition(&headers)?, input::author(&headers)?);
    let context = &api.context;
    let _place = admit(&api, activate)?;
    let source = input::body(&headers, body, context.gate.source_bytes_max(), "the script").await?;
    let reason = format!("push {tenant}/{script} by {author}");
    let push = Push {
        tenant: tenant.clone(),
        script: script.clone(),
        source,
        author,
        condition,
        activation: activate.activation,
        reason,
    };
    let changed = change::push(context, push).await;
    let changed = changed.map_err(|err| explain(context, tenant.as_str(), script.as_str(), err))?;
    answer(context, tenant, script, changed, activate, accepted).await
}

/// `DELETE`.
pub(super) async fn delete(
    State(api): State<Api>,
    Path((tenant, script)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let accepted = Instant::now();
    let (tenant, script): (TenantName, ScriptName) = (input::name(&tenant)?, input::name(&script)?);
    let (activate, condition, author) = (input::activate(&uri)?, input::condition(&headers)?, input::author(&headers)?);
    if activate.activation == Activation::Rolling {
        return Err(bad_request("a script is removed live; rolling activation is for pushes and rollbacks"));
    }
    let context = &api.context;
    let _place = admit(&api, activate)?;
    let remove = Remove { tenant: tenant.clone(), script: script.clone(), author, condition };
    let changed = change::remove(context, remove).await;
    let changed = changed.map_err(|err| explain(context, tenant.as_str(), script.as_str(), err))?;
    answer(context, tenant, script, changed, activate, accepted).await
}

/// A place among the changes that are under way, if this one may be made now.
pub(super) fn admit(api: &Api, activate: Activate) -> Result<tokio::sync::OwnedSemaphorePermit, ApiError> {
    let context = &api.context;
    if api.stopping.is_cancelled() {
        return Err(Problem::new(Code::NotReady, "this manager stops and takes no changes").into());
    }
    if context.now().is_none() {
        return Err(not_ready(context));
    }
    if activate.activation == Activation::Rolling && context.rolling.is_none() {
        let problem =
            Problem::new(Code::BadRequest, "this manager has no Docker Swarm: rolling activation is not possible");
        return Err(problem.with_hint("leave `activation=rolling` away, or start the manager with --docker").into());
    }
    if context.registry.is_held() {
        let problem =
            Problem::new(Code::Overloaded, "a rolling activation is under way, other changes wait for its end");
        return Err(problem.with_hint("nothing was changed; `moonswarm status` tells when it is done").into());
    }
    std::sync::Arc::clone(&api.changes).try_acquire_owned().map_err(|_| {
        let detail = format!("{} changes are under way, more are not taken", super::CHANGES_MAX);
        Problem::new(Code::Overloaded, detail).into()
    })
}

/// The answer to a change, after waiting for executors if that was asked for.
pub(super) async fn answer(
    context: &Context,
    tenant: TenantName,
    script: ScriptName,
    changed: Changed,
    activate: Activate,
    accepted: Instant,
) -> Result<Response, ApiError> {
    let Changed { entry, release, unchanged, created, rolled } = changed;
    let live = match activate.wait {
        None => None,
        Some(wait) => {
            let deadline = accepted + wait;
            if let Some(rolled) = rolled
                && let Ok(Ok(Err(back))) = tokio::time::timeout_at(deadline.into(), rolled).await
            {
                let problem = Problem::new(Code::ActivationFailed, format!("`{tenant}/{script}`: {back}"));
                return Err(problem
                    .with_hint("`docker service ps` shows why tasks failed; push a better content")
                    .into());
            }
            Some(activation::wait(&context.registry, release, accepted, deadline).await)
        }
    };
    let answer = ChangeAnswer {
        tenant,
        script,
        version: entry.as_ref().map(|entry| entry.version.clone()),
        generation: entry.as_ref().map(|entry| entry.generation),
        release,
        unchanged,
        activation: activate.activation,
        live,
    };
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(answer)).into_response())
}

/// `GET` of one script, with its source.
pub(super) async fn show(
    State(api): State<Api>,
    Path((tenant, script)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let (tenant, script): (TenantName, ScriptName) = (input::name(&tenant)?, input::name(&script)?);
    let context = &api.context;
    let current = context.now().ok_or_else(|| not_ready(context))?;
    let running = current.release.entry(&tenant, &script).cloned();
    let refused = objects_of(&tenant, &script)
        .iter()
        .filter_map(|object| context.refusals.get(object))
        .filter(|refused| running.as_ref().is_none_or(|running| refused.generation > running.generation))
        .max_by_key(|refused| refused.generation);
    if running.is_none() && refused.is_none() {
        return Err(unknown_script(context, tenant.as_str(), script.as_str()));
    }
    let source = running
        .as_ref()
        .and_then(|running| current.release.sources.get(&running.version))
        .filter(|source| Form::of(source) == Form::Luau)
        .map(|source| String::from_utf8_lossy(source).into_owned());
    let tag = running.as_ref().map(|running| [(ETAG, format!("\"{}\"", running.generation))]);
    Ok((tag, Json(ScriptInfo { tenant, script, running, refused, source })).into_response())
}

#[derive(Debug, Deserialize)]
struct ListQuery {
    tenant: Option<String>,
}

/// `GET /v1/scripts?tenant=`.
pub(super) async fn list(State(api): State<Api>, uri: Uri) -> Result<Json<ScriptList>, ApiError> {
    let ListQuery { tenant } = input::query(&uri)?;
    match tenant {
        Some(tenant) => of_tenant(&api.context, &input::name(&tenant)?),
        None => {
            let current = api.context.now().ok_or_else(|| not_ready(&api.context))?;
            Ok(Json(ScriptList { release: current.release.number(), scripts: scripts(&api.context, &current.release) }))
        }
    }
}

/// `GET /v1/tenants/{tenant}/scripts`.
pub(super) async fn list_of_tenant(
    State(api): State<Api>,
    Path(tenant): Path<String>,
) -> Result<Json<ScriptList>, ApiError> {
    of_tenant(&api.context, &input::name(&tenant)?)
}

fn of_tenant(context: &Context, tenant: &TenantName) -> Result<Json<ScriptList>, ApiError> {
    let current = context.now().ok_or_else(|| not_ready(context))?;
    let mut scripts = scripts(context, &current.release);
    scripts.retain(|info| info.tenant == *tenant);
    if scripts.is_empty() {
        return Err(unknown_tenant(tenant.as_str()));
    }
    Ok(Json(ScriptList { release: current.release.number(), scripts }))
}

/// What runs and what was refused, by tenant, then name.
pub(super) fn scripts(context: &Context, release: &Release) -> Vec<ScriptInfo> {
    let mut all: BTreeMap<(TenantName, ScriptName), ScriptInfo> = BTreeMap::new();
    for (tenant, of_tenant) in release.scripts() {
        for (script, entry) in of_tenant {
            let (tenant, script) = (tenant.clone(), script.clone());
            let info = ScriptInfo {
                tenant: tenant.clone(),
                script: script.clone(),
                running: Some(entry.clone()),
                refused: None,
                source: None,
            };
            all.insert((tenant, script), info);
        }
    }
    for (object, refused) in context.refusals.all() {
        if let Ok(Some((tenant, script))) = script_of(&object) {
            let info = all.entry((tenant.clone(), script.clone()));
            let info = info.or_insert(ScriptInfo { tenant, script, running: None, refused: None, source: None });
            note(info, refused);
        }
    }
    all.into_values().collect()
}

/// Puts in a refusal that is newer than what is known of the script.
fn note(info: &mut ScriptInfo, refused: Refused) {
    let running = info.running.as_ref().map(|running| running.generation);
    let known = running.max(info.refused.as_ref().map(|refused| refused.generation));
    if known.is_none_or(|known| refused.generation > known) {
        info.refused = Some(refused);
    }
}
