//! Rolling activation of a committed release, and the way back if Swarm takes it back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use contract::Code;
use contract::api::Activation;
use contract::ids::Form;
use contract::release::{self, Entry};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::batch::before;
use super::{CommitError, Committed, REBASES_MAX, Releaser, Request, RolledBack};
use crate::bucket::{BucketError, META_AUTHOR, META_VERSION, Metadata};
use crate::gate::Refusal;
use crate::plan::Change;
use crate::releases::{Current, Release};
use telemetry::chain;

/// A service of many tasks on slow nodes is replaced in minutes.
const ROLL_DEADLINE: Duration = Duration::from_secs(600);

impl Releaser {
    /// Has Swarm replace the executors; the lane waits. `base` is what ran before.
    pub(super) async fn roll(
        &mut self,
        request: Request,
        base: &Current,
        release: &Arc<Release>,
        stop: &CancellationToken,
    ) {
        let number = release.number();
        let (ended, rolled) = oneshot::channel();
        let Request { tenant, script, change, source, reason, activation, reply } = request;
        // Who asked may have gone; the release stands all the same.
        let _ = reply.send(Ok(Committed { release: number, rolled: Some(rolled) }));
        let Some(rolling) = self.tools.rolling.clone() else {
            // The API does not let such a request in; without a Swarm the release goes live.
            self.tools.registry.release_hold();
            return;
        };
        let bundle = release.bundle();
        let result = tokio::select! {
            result = rolling.roll(&bundle, number, ROLL_DEADLINE) => result,
            // Swarm has the update and needs nothing of us; the next manager sees its end on the feed.
            () = stop.cancelled() => return,
        };
        let Err(message) = result else {
            self.tools.registry.release_hold();
            let _ = ended.send(Ok(()));
            rolling.collect().await;
            return;
        };
        self.tools.metrics.release_ended("rolled_back");
        tracing::warn!(release = number, message, "the rolling activation was taken back");
        self.tools.registry.abandon(number);
        let (again, _) = oneshot::channel();
        let request = Request { tenant, script, change, source, reason, activation, reply: again };
        let now = self.take_back(&request, base, number, &message).await;
        let _ = ended.send(Err(RolledBack { release: number, message, now }));
    }

    /// Brings back what ran before as a new release. What is true then.
    async fn take_back(&mut self, request: &Request, base: &Current, failed: u64, message: &str) -> String {
        let before = before(base, request);
        let restored = self.restore_object(request, before.as_ref(), base, message).await;
        let name = format!("{}/{}", request.tenant, request.script);
        for _ in 0..REBASES_MAX {
            let Some(current) = self.now() else { break };
            let mut scripts = current.release.scripts().clone();
            let mut sources = current.release.sources.clone();
            match &restored {
                Some(entry) => {
                    if let Some(source) = base.release.sources.get(&entry.version) {
                        sources.insert(entry.version.clone(), source.clone());
                    }
                    release::set(&mut scripts, request.tenant.clone(), request.script.clone(), entry.clone());
                }
                None => release::remove(&mut scripts, &request.tenant, &request.script),
            }
            let reason = format!("take back {name}: rolling activation of release {failed} failed");
            match self.commit(&current, scripts, &sources, reason, Activation::Live).await {
                Ok(release) => {
                    return match restored {
                        Some(entry) => {
                            format!("release {} runs version {} again", release.number(), entry.version.short())
                        }
                        None => format!("release {} is without `{name}` again", release.number()),
                    };
                }
                Err(CommitError::LostRace) => {}
                Err(err) => {
                    tracing::error!(
                        ?err,
                        release = failed,
                        "a release that Swarm took back could not be taken back in the bucket"
                    );
                    break;
                }
            }
        }
        format!("release {failed} is still the current one, executors run what they ran; push again or roll back")
    }

    /// Writes the old content as a new generation, so that bucket and release agree. What the release is to say.
    async fn restore_object(
        &self,
        request: &Request,
        before: Option<&Entry>,
        base: &Current,
        message: &str,
    ) -> Option<Entry> {
        let Change::Set(failed) = &request.change else { return before.cloned() };
        let source = before.and_then(|before| base.release.sources.get(&before.version));
        let result = match (before, source) {
            (Some(before), Some(source)) => self.write_again(before, failed, source).await.map(Some),
            (Some(before), None) => Ok(Some(before.clone())),
            (None, _) => match self.tools.bucket.delete(&failed.object, failed.generation).await {
                Ok(()) | Err(BucketError::NotFound { .. }) => return None,
                Err(err) => Err(err),
            },
        };
        let restored = result.unwrap_or_else(|err| {
            tracing::error!(
                object = failed.object,
                err = chain(&err),
                "the bucket keeps a content that was taken back"
            );
            before.cloned()
        });
        if restored.as_ref().is_none_or(|restored| restored.generation < failed.generation) {
            // Else the next look at the bucket would bring the content back that Swarm could not start.
            let detail = format!("its rolling activation was taken back: {message}");
            let refusal = Refusal { code: Code::ActivationFailed, detail, diagnostics: Vec::new() };
            self.tools.refusals.insert(&failed.object, failed.generation, refusal);
        }
        restored
    }

    async fn write_again(&self, before: &Entry, failed: &Entry, source: &Bytes) -> Result<Entry, BucketError> {
        let metadata = Metadata::from([
            (META_VERSION.to_owned(), before.version.to_string()),
            (META_AUTHOR.to_owned(), before.pushed_by.clone()),
        ]);
        // A script of another form lies in an object of its own, and still does.
        let moved = Form::named(&before.object) != Form::named(&failed.object);
        let over = if moved { before } else { failed };
        let written = self.tools.bucket.write(&over.object, source.clone(), over.generation, metadata).await?;
        let (generation, pushed_at_ms) = (written.generation, written.written_at_ms);
        Ok(Entry { object: over.object.clone(), generation, pushed_at_ms, ..before.clone() })
    }
}
