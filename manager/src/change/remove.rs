//! The end of a script.

use bytes::Bytes;
use contract::api::Activation;
use contract::ids::{ScriptName, TenantName};
use futures_util::future::try_join_all;
use tokio::sync::oneshot;

use super::{ChangeError, Changed, Condition, Conflict, release};
use crate::bucket::BucketError;
use crate::context::{Context, objects_of};
use crate::plan::Change;
use crate::releaser::Request;

/// What is to go.
#[derive(Debug)]
pub struct Remove {
    /// Whose script.
    pub tenant: TenantName,
    /// Which.
    pub script: ScriptName,
    /// Who asks.
    pub author: String,
    /// For what state of the script.
    pub condition: Condition,
}

/// Deletes every object of the script and releases that it is gone.
///
/// # Errors
/// [`ChangeError`]. With `Release` and `Slow` the bucket already lost it.
pub async fn remove(context: &Context, remove: Remove) -> Result<Changed, ChangeError> {
    let Remove { tenant, script, author, condition } = remove;
    let current = context.now().ok_or(ChangeError::NotReady)?;
    let running = current.release.entry(&tenant, &script);
    let objects = objects_of(&tenant, &script);
    let _marks: Vec<_> = objects.iter().map(|object| context.writing.begin(object)).collect();
    let live = try_join_all(objects.iter().map(|object| context.bucket.head(object)));
    let live: Vec<_> = live.await.map_err(ChangeError::Bucket)?.into_iter().flatten().collect();
    let newest = live.iter().max_by_key(|object| object.generation);
    if newest.is_none() && running.is_none() {
        return Err(ChangeError::Unknown);
    }
    if let Condition::Generation(wanted) = condition
        && newest.map(|newest| newest.generation) != Some(wanted)
    {
        return Err(Conflict::over(&tenant, &script, condition, newest));
    }
    for object in &live {
        match context.bucket.delete(&object.name, object.generation).await {
            Ok(()) | Err(BucketError::NotFound { .. }) => context.refusals.clear(&object.name, object.generation),
            Err(BucketError::Conflict { .. }) => {
                let now = context.bucket.head(&object.name).await.map_err(ChangeError::Bucket)?;
                return Err(Conflict::over(&tenant, &script, Condition::Generation(object.generation), now.as_ref()));
            }
            Err(err) => return Err(ChangeError::Bucket(err)),
        }
    }
    let generation = newest.map(|newest| newest.generation).max(running.map(|running| running.generation)).unwrap_or(0);
    let (reply, answer) = oneshot::channel();
    let request = Request {
        tenant: tenant.clone(),
        script: script.clone(),
        change: Change::Remove { generation },
        source: Bytes::new(),
        reason: format!("remove {tenant}/{script} by {author}"),
        activation: Activation::Live,
        reply,
    };
    let committed = release(context, request, answer).await.map_err(|err| err.explain(&tenant, &script, condition))?;
    Ok(Changed { entry: None, release: committed.release, unchanged: false, created: false, rolled: None })
}
