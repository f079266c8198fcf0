//! The lane: the one task that makes releases. Changes from every door come here and leave in order.
//!
//! What waits is batched into one release: prepared on the executors, committed to the bucket, activated. One refusal
//! aborts; a batch is then divided until the culprit stands alone. A commit that another manager won is taken over and
//! the changes are put on top of it.

mod batch;
mod lane;
mod roll;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use contract::api::Activation;
use contract::release::{PublicKeys, Scripts, SigningKey};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use self::batch::refusal_of;
use self::lane::Ask;
pub use self::lane::{Adoption, Committed, Lane, ReleaseError, Request, RolledBack};
use crate::bucket::{Bucket, BucketError};
use crate::feed::registry::{ExecutorRefusal, Registry, Votes};
use crate::metrics::Metrics;
use crate::plan::Tombstones;
use crate::pointer::{self, PointerError};
use crate::refusals::Refusals;
use crate::releases::{Current, Release, Sources};
use crate::rolling::Rolling;

/// Groups of changes that may wait.
const QUEUE_MAX: usize = 1024;
/// How often a change is put on top of what other managers committed before it gives up.
const REBASES_MAX: usize = 8;
/// Removed scripts whose generations are remembered.
const TOMBSTONES_MAX: usize = 10_000;

/// What the lane works with.
pub struct Tools {
    /// The installation.
    pub stack: String,
    /// Signs releases.
    pub key: SigningKey,
    /// Where they are committed.
    pub bucket: Arc<dyn Bucket>,
    /// Who runs them.
    pub registry: Arc<Registry>,
    /// What is not to be tried again.
    pub refusals: Arc<Refusals>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// A Swarm, if there is one.
    pub rolling: Option<Arc<dyn Rolling>>,
    /// How long an executor may take to prepare before the release goes on without it.
    pub prepare_deadline: Duration,
    /// The most bytes of a source.
    pub source_bytes_max: usize,
}

/// The task behind the [`Lane`].
pub struct Releaser {
    tools: Tools,
    keys: PublicKeys,
    current: watch::Sender<Option<Current>>,
    tombstones: Tombstones,
    asks: mpsc::Receiver<Ask>,
    waiting: VecDeque<Ask>,
}

/// Why a release was not committed.
#[derive(Debug)]
enum CommitError {
    Refused(ExecutorRefusal),
    LostRace,
    Bucket(BucketError),
    Pointer(Arc<PointerError>),
}

impl Releaser {
    /// A lane, its door, and the view of what is current (`None` until [`Releaser::boot`] succeeded).
    pub fn new(tools: Tools) -> (Self, Lane, watch::Receiver<Option<Current>>) {
        let (door, asks) = mpsc::channel(QUEUE_MAX);
        let (current, view) = watch::channel(None);
        let keys = PublicKeys::from(tools.key.public());
        let releaser = Self { tools, keys, current, tombstones: Tombstones::new(), asks, waiting: VecDeque::new() };
        (releaser, Lane(door), view)
    }

    /// Reads the pointer and makes its release the current one.
    ///
    /// # Errors
    /// [`PointerError`]; nothing is current then, and it may be tried again.
    pub async fn boot(&mut self) -> Result<(), PointerError> {
        let current = self.load(&Sources::new()).await?;
        let (release, pointer_generation) = (&current.release, current.pointer_generation);
        tracing::info!(
            release = release.number(),
            scripts = contract::release::count(release.scripts()),
            pointer_generation,
            "read the release pointer"
        );
        self.take(current);
        Ok(())
    }

    /// Works until `stop`; what waits then is answered with [`ReleaseError::Closed`].
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            if self.waiting.is_empty() {
                let registry = Arc::clone(&self.tools.registry);
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    ask = self.asks.recv() => match ask {
                        Some(ask) => self.waiting.push_back(ask),
                        None => return,
                    },
                    () = registry.ahead() => self.overtake().await,
                }
            }
            while self.waiting.len() < QUEUE_MAX
                && let Ok(ask) = self.asks.try_recv()
            {
                self.waiting.push_back(ask);
            }
            if stop.is_cancelled() {
                return;
            }
            match self.waiting.pop_front() {
                Some(Ask::Release(requests)) => self.release(requests, &stop).await,
                Some(Ask::Found(reply)) => {
                    self.found().await;
                    // Who asked may have gone.
                    let _ = reply.send(());
                }
                Some(Ask::Adopt(reply)) => drop(reply.send(self.adopt().await)),
                None => {}
            }
        }
    }

    async fn load(&self, known: &Sources) -> Result<Current, PointerError> {
        let Tools { bucket, stack, source_bytes_max, .. } = &self.tools;
        pointer::load(&**bucket, stack, &self.keys, known, *source_bytes_max).await
    }

    fn now(&self) -> Option<Current> {
        self.current.borrow().clone()
    }

    /// Prepare on the executors, commit to the bucket, activate.
    async fn commit(
        &mut self,
        base: &Current,
        scripts: Scripts,
        sources: &Sources,
        reason: String,
        activation: Activation,
    ) -> Result<Arc<Release>, CommitError> {
        let number = base.release.number().max(self.tools.registry.largest_active()) + 1;
        self.commit_as(number, base, scripts, sources, reason, activation).await
    }

    async fn commit_as(
        &mut self,
        number: u64,
        base: &Current,
        scripts: Scripts,
        sources: &Sources,
        reason: String,
        activation: Activation,
    ) -> Result<Arc<Release>, CommitError> {
        let Tools { registry, bucket, metrics, key, stack, .. } = &self.tools;
        let release = Arc::new(Release::sign(key, stack, number, reason, scripts, sources));
        registry.offer(&release);
        if let Some(refusal) = self.refusal().await {
            registry.abandon(number);
            metrics.release_ended("refused");
            return Err(CommitError::Refused(refusal));
        }
        match pointer::replace(&**bucket, &release, base.pointer_generation).await {
            Ok(pointer_generation) => {
                metrics.release_ended("committed");
                tracing::info!(release = number, reason = release.statement.reason, %activation, "release committed");
                self.take(Current { release: Arc::clone(&release), pointer_generation, activation });
                Ok(release)
            }
            Err(BucketError::Conflict { .. } | BucketError::NotFound { .. }) => {
                registry.abandon(number);
                metrics.release_ended("conflict");
                tracing::info!(release = number, "another manager committed first: its release is taken over");
                self.adopt().await.map_err(CommitError::Pointer)?;
                Err(CommitError::LostRace)
            }
            Err(err) => {
                registry.abandon(number);
                metrics.release_ended("bucket");
                Err(CommitError::Bucket(err))
            }
        }
    }

    /// Waits until executors have answered, or for as long as they may take. Silence is not refusal.
    async fn refusal(&self) -> Option<ExecutorRefusal> {
        let deadline = Instant::now() + self.tools.prepare_deadline;
        let mut changed = self.tools.registry.changed();
        loop {
            changed.mark_unchanged();
            match self.tools.registry.votes() {
                Votes::Ready => return None,
                Votes::Refused(refusal) => return Some(refusal),
                Votes::Waiting(silent) if Instant::now() >= deadline => {
                    tracing::warn!(
                        silent,
                        "executors did not answer to prepare in time: the release goes on without them"
                    );
                    return None;
                }
                Votes::Waiting(_) => {}
            }
            tokio::select! {
                _ = changed.changed() => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    /// Makes a release the current one, here and for the executors.
    fn take(&mut self, current: Current) {
        if let Some(before) = self.now() {
            self.bury(before.release.scripts(), current.release.scripts());
        }
        self.tools.registry.commit(&current.release, current.activation == Activation::Rolling);
        self.tools.metrics.release.set(i64::try_from(current.release.number()).unwrap_or(i64::MAX));
        self.current.send_replace(Some(current));
    }

    /// Remembers at which generation scripts were removed.
    fn bury(&mut self, before: &Scripts, after: &Scripts) {
        for (tenant, script, entry) in contract::release::difference(after, before) {
            // There before and not after; what is there in both and differs is not gone.
            if let Some(entry) = entry.filter(|_| after.get(&tenant).is_none_or(|after| !after.contains_key(&script))) {
                self.tombstones.insert((tenant, script), entry.generation);
            }
        }
        while self.tombstones.len() > TOMBSTONES_MAX {
            self.tombstones.pop_first();
        }
    }

    /// Reads the pointer and takes over what another manager committed.
    async fn adopt(&mut self) -> Result<Adoption, Arc<PointerError>> {
        let Some(ours) = self.now() else { return Ok(Adoption::Known) };
        let theirs = self.load(&ours.release.sources).await.map_err(Arc::new)?;
        if theirs.pointer_generation == ours.pointer_generation {
            return Ok(Adoption::Known);
        }
        let (number, running) = (theirs.release.number(), ours.release.number());
        if number > running {
            self.tools.metrics.release_ended("adopted");
            tracing::info!(release = number, reason = theirs.release.statement.reason, "release of another manager");
            self.take(theirs);
            return Ok(Adoption::Adopted);
        }
        // The bucket lost the pointer, or somebody restored an old one. What runs stays; the next release replaces it.
        let pointer_generation = theirs.pointer_generation;
        self.current.send_replace(Some(Current { pointer_generation, ..ours }));
        if number == 0 {
            tracing::error!(release = running, "the release pointer is gone from the bucket; what runs goes on");
            return Ok(Adoption::Gone);
        }
        tracing::error!(
            release = running,
            pointer = number,
            "the release pointer is older than what runs; what runs goes on"
        );
        Ok(Adoption::Older)
    }

    /// The first release of an installation. It has number 1 also if executors run something newer: those come from a
    /// life that the bucket forgot, and must go on with what they have until there are scripts again.
    async fn found(&mut self) {
        let Some(current) = self.now().filter(|current| current.release.number() == 0) else { return };
        let (scripts, sources, reason) = (Scripts::new(), Sources::new(), "first release, without scripts".to_owned());
        match self.commit_as(1, &current, scripts, &sources, reason, Activation::Live).await {
            Ok(_) | Err(CommitError::LostRace) => {}
            Err(err) => tracing::warn!(?err, "the first release could not be made yet"),
        }
    }

    /// An executor runs something newer than the current release: either another manager's, or the pointer went back.
    /// Then the release gets a number that the executor takes.
    async fn overtake(&mut self) {
        for _ in 0..REBASES_MAX {
            if let Err(err) = self.adopt().await {
                tracing::warn!(
                    err = telemetry::chain(&*err),
                    "an executor runs a newer release, and the pointer can't be read"
                );
                return;
            }
            let Some(current) = self.now().filter(|_| self.tools.registry.is_ahead()) else { return };
            let reason = format!("renumber: an executor runs release {}", self.tools.registry.largest_active());
            let (scripts, sources) = (current.release.scripts().clone(), current.release.sources.clone());
            match self.commit(&current, scripts, &sources, reason, Activation::Live).await {
                Ok(_) => return,
                Err(CommitError::LostRace) => {}
                Err(err) => return tracing::warn!(?err, "the release could not be renumbered"),
            }
        }
    }
}
