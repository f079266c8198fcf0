//! `/v1/releases`: the history, which is the generations of the pointer object.

use axum::Json;
use axum::extract::{Path, State};
use contract::api::{ReleaseInfo, ReleaseList};
use contract::release::{POINTER_OBJECT, SignedRelease};
use contract::{Code, Problem};

use super::Api;
use super::error::{ApiError, bad_request, bucket};
use crate::bucket::{
    BucketError, META_CREATED_AT, META_DIGEST, META_REASON, META_RELEASE, META_SCRIPTS, ObservedObject,
};

/// Releases in one answer.
const RELEASES_MAX: usize = 200;
/// As the pointer itself is bounded.
const RELEASE_BYTES_MAX: usize = 64 << 20;

/// `GET /v1/releases`, newest first.
pub(super) async fn list(State(api): State<Api>) -> Result<Json<ReleaseList>, ApiError> {
    let mut releases: Vec<ReleaseInfo> = history(&api).await?.iter().filter_map(info).collect();
    releases.truncate(RELEASES_MAX);
    Ok(Json(ReleaseList { releases }))
}

/// `GET /v1/releases/{number}`: the release as it was signed.
pub(super) async fn show(State(api): State<Api>, Path(number): Path<String>) -> Result<Json<SignedRelease>, ApiError> {
    let shown = number.escape_debug().to_string();
    let number: u64 = number.parse().map_err(|_| bad_request(format!("`{shown}` is no release number")))?;
    if let Some(current) = api.context.now().filter(|current| current.release.number() == number && number > 0) {
        return Ok(Json(current.release.signed.clone()));
    }
    let unknown = || {
        Problem::new(Code::UnknownVersion, format!("release {number} is not among those kept"))
            .with_hint("`GET /v1/releases` lists them")
    };
    let history = history(&api).await?;
    let found =
        history.iter().find(|object| info(object).is_some_and(|info| info.number == number)).ok_or_else(unknown)?;
    let content = match api.context.bucket.read(POINTER_OBJECT, Some(found.generation), RELEASE_BYTES_MAX).await {
        Ok(content) => content,
        Err(BucketError::NotFound { .. }) => return Err(unknown().into()),
        Err(err) => return Err(bucket(&err)),
    };
    let release = serde_json::from_slice(&content.bytes)
        .map_err(|err| Problem::new(Code::Internal, format!("release {number} in the bucket can't be read: {err}")))?;
    Ok(Json(release))
}

/// Generations of the pointer, newest first.
async fn history(api: &Api) -> Result<Vec<ObservedObject>, ApiError> {
    let mut history = api.context.bucket.versions(POINTER_OBJECT).await.map_err(|err| bucket(&err))?;
    history.retain(|object| object.name == POINTER_OBJECT);
    history.sort_by_key(|object| std::cmp::Reverse(object.generation));
    Ok(history)
}

/// What the metadata tells. `None`: the object was not written by a manager.
fn info(object: &ObservedObject) -> Option<ReleaseInfo> {
    let get = |key| object.metadata.get(key);
    Some(ReleaseInfo {
        number: get(META_RELEASE)?.parse().ok()?,
        digest: get(META_DIGEST)?.clone(),
        created_at_ms: get(META_CREATED_AT)?.parse().ok()?,
        reason: get(META_REASON)?.clone(),
        scripts: get(META_SCRIPTS)?.parse().ok()?,
    })
}
