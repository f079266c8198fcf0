//! `GET /v1/tenants/{tenant}/policy`, `…/scripts/{script}/policy`: on which terms scripts run, and who said so.

use axum::Json;
use axum::extract::{Path, State};
use bytes::Bytes;
use contract::api::PolicyAnswer;
use contract::ids::{ScriptName, TenantName};
use contract::policy::{Document, Layers};
use contract::release::Entry;
use contract::{Code, Problem};

use super::Api;
use super::error::{ApiError, not_ready, unknown_script};
use super::input;
use crate::gate::Refusal;
use crate::releases::Release;

/// Of a tenant. One that has no script yet has terms, too.
pub(super) async fn of_tenant(
    State(api): State<Api>,
    Path(tenant): Path<String>,
) -> Result<Json<PolicyAnswer>, ApiError> {
    show(&api, input::name(&tenant)?, None).await
}

/// Of one script, with what it declares.
pub(super) async fn of_script(
    State(api): State<Api>,
    Path((tenant, script)): Path<(String, String)>,
) -> Result<Json<PolicyAnswer>, ApiError> {
    show(&api, input::name(&tenant)?, Some(input::name(&script)?)).await
}

async fn show(api: &Api, tenant: TenantName, script: Option<ScriptName>) -> Result<Json<PolicyAnswer>, ApiError> {
    let context = &api.context;
    let current = context.now().ok_or_else(|| not_ready(context))?;
    let release = &*current.release;
    let (stack, stack_entry) = document(api, release, &TenantName::stack()).await?;
    let (own, own_entry) = document(api, release, &tenant).await?;
    let layers =
        Layers { stack: stack.as_ref().and_then(Document::as_stack), own: own.as_ref().and_then(Document::as_tenant) };
    let mut effective = layers.merge(&tenant);
    if let Some(script) = &script {
        let entry = release.entry(&tenant, script);
        let entry = entry.ok_or_else(|| unknown_script(context, tenant.as_str(), script.as_str()))?;
        let manifest = context.gate.manifest(script.clone(), source(release, entry)?).await.map_err(unreadable)?;
        effective = effective.of_script(manifest.limits.as_policy());
    }
    let version = |entry: Option<&Entry>| entry.map(|entry| entry.version.clone());
    Ok(Json(PolicyAnswer {
        release: release.number(),
        tenant,
        script,
        stack_version: version(stack_entry),
        tenant_version: version(own_entry),
        effective,
    }))
}

/// The policy of `tenant` in the release.
async fn document<'r>(
    api: &Api,
    release: &'r Release,
    tenant: &TenantName,
) -> Result<(Option<Document>, Option<&'r Entry>), ApiError> {
    let Some(entry) = release.entry(tenant, &ScriptName::policy()) else { return Ok((None, None)) };
    let document = api.context.gate.policy(tenant.clone(), source(release, entry)?).await.map_err(unreadable)?;
    Ok((Some(document), Some(entry)))
}

fn source(release: &Release, entry: &Entry) -> Result<Bytes, ApiError> {
    release.sources.get(&entry.version).cloned().ok_or_else(|| {
        let detail = format!("the source of `{}` is not in the bucket any more", entry.object);
        Problem::new(Code::BucketUnavailable, detail).with_hint("executors go on with it; push it again").into()
    })
}

/// It passed the gate when it was released, so this is no fault of who asks.
fn unreadable(refusal: Refusal) -> ApiError {
    Problem::new(Code::Internal, refusal.detail).with_diagnostics(refusal.diagnostics).into()
}
