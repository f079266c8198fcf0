//! A new content of a script.

use bytes::Bytes;
use contract::Version;
use contract::api::Activation;
use contract::ids::{Form, ScriptName, TenantName, object_of};
use contract::release::Entry;
use futures_util::future::try_join;
use tokio::sync::oneshot;

use super::{ChangeError, Changed, Condition, Conflict, release};
use crate::bucket::{BucketError, META_AUTHOR, META_VERSION, Metadata, ObservedObject};
use crate::context::Context;
use crate::plan::Change;
use crate::releaser::Request;
use crate::releases::now_ms;
use telemetry::chain;

/// What is to run.
#[derive(Debug)]
pub struct Push {
    /// Whose script.
    pub tenant: TenantName,
    /// Which.
    pub script: ScriptName,
    /// Its content.
    pub source: Bytes,
    /// Who asks.
    pub author: String,
    /// For what state of the script.
    pub condition: Condition,
    /// How executors are moved.
    pub activation: Activation,
    /// Why, for the release.
    pub reason: String,
}

/// Judges the source, writes it to the bucket and releases it.
///
/// # Errors
/// [`ChangeError`]. With `Release` and `Slow` the bucket already has the new content.
pub async fn push(context: &Context, push: Push) -> Result<Changed, ChangeError> {
    let current = context.now().ok_or(ChangeError::NotReady)?;
    let running = current.release.entry(&push.tenant, &push.script).cloned();
    // A script stays in the object it came in, else generations of two objects would have to be compared by authors.
    // Only one of another form moves: who lists the bucket takes a `.zip` for a zip file.
    let form = Form::of(&push.source);
    let stays = running.as_ref().filter(|running| Form::named(&running.object) == Some(form));
    let object = stays.map_or_else(|| object_of(&push.tenant, &push.script, form), |running| running.object.clone());
    let moved = running.as_ref().filter(|running| running.object != object).cloned();
    context.gate.check(&object, push.source.clone()).await.map_err(ChangeError::Refused)?;

    let version = Version::of(&push.source);
    let refused = context.refusals.get(&object).map(|refused| refused.generation);
    if let Some(running) = &running
        && running.version == version
        && refused.is_none()
        && may_stay(push.condition, running.generation)
    {
        let release = current.release.number();
        return Ok(Changed { entry: Some(running.clone()), release, unchanged: true, created: false, rolled: None });
    }

    let _mark = context.writing.begin(&object);
    let known = running.as_ref().map(|running| running.generation).max(refused);
    let written = match &moved {
        None => write(context, &push, &object, &version, known, running.as_ref()).await?,
        Some(running) => write_elsewhere(context, &push, &object, &version, running).await?,
    };
    let entry = Entry {
        version,
        generation: written.generation,
        object,
        size: u32::try_from(push.source.len()).unwrap_or(u32::MAX),
        pushed_at_ms: if written.written_at_ms > 0 { written.written_at_ms } else { now_ms() },
        pushed_by: push.author,
    };
    let (reply, answer) = oneshot::channel();
    let request = Request {
        tenant: push.tenant.clone(),
        script: push.script.clone(),
        change: Change::Set(entry.clone()),
        source: push.source,
        reason: push.reason,
        activation: push.activation,
        reply,
    };
    let committed = release(context, request, answer)
        .await
        .map_err(|err| err.explain(&push.tenant, &push.script, push.condition))?;
    if let Some(moved) = moved.filter(|_| push.activation == Activation::Live) {
        take_away(context, &moved).await;
    }
    let created = running.is_none();
    Ok(Changed { entry: Some(entry), release: committed.release, unchanged: false, created, rolled: committed.rolled })
}

fn may_stay(condition: Condition, running: i64) -> bool {
    match condition {
        Condition::Observed | Condition::Present => true,
        Condition::Absent => false,
        Condition::Generation(generation) => generation == running,
    }
}

/// Writes under the author's condition. `known` is the generation that this manager believes to be live.
async fn write(
    context: &Context,
    push: &Push,
    object: &str,
    version: &Version,
    known: Option<i64>,
    running: Option<&Entry>,
) -> Result<ObservedObject, ChangeError> {
    let generation_match = match (push.condition, known) {
        (Condition::Absent, None) => 0,
        (Condition::Absent, Some(_)) if running.is_some() => {
            return Err(Conflict::with(&push.tenant, &push.script, push.condition, running));
        }
        (Condition::Absent | Condition::Observed, known) => known.unwrap_or(0),
        (Condition::Present, Some(known)) => known,
        (Condition::Present, None) => return Err(ChangeError::Unknown),
        (Condition::Generation(generation), _) => generation,
    };
    let metadata = metadata(push, version);
    let attempt = |generation| context.bucket.write(object, push.source.clone(), generation, metadata.clone());
    match attempt(generation_match).await {
        Err(BucketError::Conflict { .. }) => {}
        result => return result.map_err(ChangeError::Bucket),
    }
    let live = context.bucket.head(object).await.map_err(ChangeError::Bucket)?;
    // What this manager believed was wrong. If what is live is gone, or older than what runs, nobody was first: the
    // object was deleted, or lost against another object of the same script.
    let generation = live.as_ref().map_or(0, |live| live.generation);
    let nobody = running.is_none_or(|running| generation < running.generation);
    let stale = generation == 0 || (running.is_some() && nobody);
    if push.condition == Condition::Observed && stale && generation != generation_match {
        match attempt(generation).await {
            Err(BucketError::Conflict { .. }) => {}
            result => return result.map_err(ChangeError::Bucket),
        }
    }
    Err(Conflict::over(&push.tenant, &push.script, push.condition, live.as_ref()))
}

/// Writes a script of another form than the one that runs, which lies in an object of its own.
async fn write_elsewhere(
    context: &Context,
    push: &Push,
    object: &str,
    version: &Version,
    running: &Entry,
) -> Result<ObservedObject, ChangeError> {
    if !may_stay(push.condition, running.generation) {
        return Err(Conflict::with(&push.tenant, &push.script, push.condition, Some(running)));
    }
    let (old, new) = try_join(context.bucket.head(&running.object), context.bucket.head(object))
        .await
        .map_err(ChangeError::Bucket)?;
    // What was refused is there for nobody.
    let stands = |seen: &&ObservedObject| {
        seen.generation > running.generation
            && context.refusals.get(&seen.name).is_none_or(|refused| refused.generation < seen.generation)
    };
    if let Some(newer) = [&old, &new].into_iter().flatten().find(stands) {
        return Err(Conflict::over(&push.tenant, &push.script, push.condition, Some(newer)));
    }
    let generation = new.map_or(0, |new| new.generation);
    match context.bucket.write(object, push.source.clone(), generation, metadata(push, version)).await {
        Err(BucketError::Conflict { .. }) => {
            let live = context.bucket.head(object).await.map_err(ChangeError::Bucket)?;
            Err(Conflict::over(&push.tenant, &push.script, push.condition, live.as_ref()))
        }
        result => result.map_err(ChangeError::Bucket),
    }
}

/// Deletes the object that a script moved out of. It is older than what runs, so it does no harm if that fails.
async fn take_away(context: &Context, moved: &Entry) {
    match context.bucket.delete(&moved.object, moved.generation).await {
        Ok(()) | Err(BucketError::NotFound { .. } | BucketError::Conflict { .. }) => {}
        Err(err) => tracing::warn!(object = moved.object, err = chain(&err), "an object that nobody needs stays"),
    }
}

fn metadata(push: &Push, version: &Version) -> Metadata {
    Metadata::from([(META_VERSION.to_owned(), version.to_string()), (META_AUTHOR.to_owned(), push.author.clone())])
}
