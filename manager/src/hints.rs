//! What is done about a notification of the bucket. It is only a hint that a script may have changed: what is done
//! depends on what the bucket shows, never on what the notification says beside object and generation.

use contract::ids::script_of;
use contract::release::POINTER_OBJECT;
use futures_util::future::try_join_all;

use crate::bucket::BucketError;
use crate::context::{Context, objects_of};
use crate::fetch::{self, Fetched};
use crate::plan::plan_script;
use crate::releaser::ReleaseError;
use telemetry::chain;

/// What a notification is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The generation was written.
    Finalize,
    /// The generation is not live any more: deleted, or replaced.
    Delete,
}

impl Kind {
    /// As it is counted.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finalize => "finalize",
            Self::Delete => "delete",
        }
    }
}

/// A notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// The object.
    pub object: String,
    /// Which generation of it.
    pub generation: i64,
    /// What happened.
    pub kind: Kind,
}

/// What became of a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The object is none of ours.
    Irrelevant,
    /// What it tells is known, or older than what runs.
    Superseded,
    /// It led to a release.
    Released,
    /// What it tells of can't run; the status says why.
    Refused,
    /// More than this is missing in the bucket: nothing is removed until somebody looked.
    Guarded,
    /// It could not be dealt with now; it is to come again.
    Failed,
}

impl Outcome {
    /// As it is counted.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Irrelevant => "irrelevant",
            Self::Superseded => "superseded",
            Self::Released => "released",
            Self::Refused => "refused",
            Self::Guarded => "guarded",
            Self::Failed => "failed",
        }
    }
}

/// Deals with a hint, to the end: when this returns, its release is committed, or there is none to come.
pub async fn handle(context: &Context, hint: &Hint) -> Outcome {
    let outcome = match follow(context, hint).await {
        Ok(outcome) => outcome,
        Err(err) => {
            tracing::warn!(
                object = hint.object,
                generation = hint.generation,
                err = chain(&err),
                "notification failed, it will come again"
            );
            Outcome::Failed
        }
    };
    context.metrics.notified(hint.kind.as_str(), outcome.as_str());
    outcome
}

async fn follow(context: &Context, hint: &Hint) -> Result<Outcome, BucketError> {
    let (tenant, script) = match script_of(&hint.object) {
        Ok(Some(names)) => names,
        Ok(None) => return Ok(Outcome::Irrelevant),
        Err(err) => {
            tracing::warn!(object = hint.object, err = %err, "an object lies where scripts lie but can't be one");
            return Ok(Outcome::Refused);
        }
    };
    context.writing.quiet(&hint.object).await;
    // INVARIANT: what runs is looked at before the bucket is, so that what is missing there is really gone.
    let Some(current) = context.now() else { return Ok(Outcome::Failed) };
    let running = current.release.entry(&tenant, &script);
    let known = running.is_some_and(|running| match hint.kind {
        Kind::Finalize => hint.generation <= running.generation,
        Kind::Delete => hint.generation < running.generation,
    });
    if known {
        return Ok(Outcome::Superseded);
    }
    let objects = objects_of(&tenant, &script);
    let live = try_join_all(objects.iter().map(|object| context.bucket.head(object))).await?;
    let live: Vec<_> = live.into_iter().flatten().collect();
    let deleted = (hint.kind == Kind::Delete).then_some(hint.generation);
    let refused = |object: &str| context.refusals.get(object).map(|refused| refused.generation);
    let plan = plan_script(&tenant, &script, running, &live, deleted, refused);

    let (request, answer) = match (plan.fetch.first(), plan.remove.first()) {
        (Some(wanted), _) => match fetch::fetch(context, wanted).await? {
            Fetched::Ready(entry, source) => {
                let reason = format!("upload {tenant}/{script} by {}", entry.pushed_by);
                fetch::set(wanted, *entry, source, reason)
            }
            Fetched::Refused => return Ok(Outcome::Refused),
            Fetched::Gone => return Ok(Outcome::Superseded),
        },
        // Who empties a bucket deletes the pointer, too.
        (None, Some(_)) if context.bucket.head(POINTER_OBJECT).await?.is_none() => return Ok(Outcome::Guarded),
        (None, Some(removal)) => fetch::remove(removal, format!("remove {tenant}/{script}: its object was deleted")),
        (None, None) => return Ok(Outcome::Superseded),
    };
    if context.lane.submit(vec![request]).await.is_err() {
        return Ok(Outcome::Failed);
    }
    Ok(match answer.await {
        Ok(Ok(_)) => Outcome::Released,
        Ok(Err(ReleaseError::Superseded(_))) => Outcome::Superseded,
        Ok(Err(ReleaseError::Refused(_))) => Outcome::Refused,
        Ok(Err(err)) => {
            tracing::warn!(
                object = hint.object,
                err = chain(&err),
                "notification did not lead to a release, it will come again"
            );
            Outcome::Failed
        }
        Err(_) => Outcome::Failed,
    })
}
