//! Looks, plans, applies.

mod drift;
mod run;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub use drift::{Drift, Severity};
pub use run::{Event, Observer, Outcome, Report};

use crate::cloud::{Cloud, CloudError, Live};
use crate::plan::{self, Input, Options, Plan};
use crate::resource::{Id, Resource};
use crate::store::{Journal, Lease, LeaseError, StateError, Store, StoreError, Versioned};

/// Resources that are read or changed at the same time.
const AT_ONCE: usize = 10;

/// A command that could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Somebody else is at it.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The state can't be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cloud failed.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The plan is of another state.
    #[error(
        "the plan is stale: it was made for generation {planned} of the state, which is {now} now. Nothing was changed; plan again"
    )]
    Stale {
        /// The plan's.
        planned: i64,
        /// The state's.
        now: i64,
    },
    /// The plan is of another stack.
    #[error("the plan is for the stack `{0}`, not for this one")]
    OtherStack(String),
    /// The plan has problems.
    #[error("the plan is refused, see its problems; nothing was changed")]
    Refused,
}

/// A stack, a cloud and the place for its state.
pub struct Engine<C, S> {
    stack: String,
    cloud: Arc<C>,
    store: Arc<S>,
    /// How long a step is tried again before it is given up.
    patience: Duration,
}

impl<C: Cloud, S: Store> Engine<C, S> {
    /// The engine of this stack.
    pub fn new(stack: &str, cloud: C, store: S) -> Self {
        let patience = Duration::from_secs(180);
        Self { stack: stack.to_owned(), cloud: Arc::new(cloud), store: Arc::new(store), patience }
    }

    /// What was made as far as it is known, without changing anything: what a run that was cut off left is settled in memory.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn state(&self) -> Result<Versioned, EngineError> {
        let mut known = Versioned::load(&*self.store, &self.stack).await?;
        for (_, _, entry) in Journal::unsettled(&*self.store).await? {
            entry.settle(&mut known.state.resources, &*self.cloud).await?;
        }
        Ok(known)
    }

    /// What has to be done, without doing anything.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn plan(&self, desired: &[Resource], options: &Options) -> Result<Plan, EngineError> {
        let known = self.state().await?;
        self.plan_from(&known, desired, options).await
    }

    async fn plan_from(&self, known: &Versioned, desired: &[Resource], options: &Options) -> Result<Plan, EngineError> {
        let recorded = &known.state.resources;
        let live = self.look(desired, recorded).await?;
        let input =
            Input { stack: &self.stack, desired, recorded, live: &live, state_generation: known.generation, options };
        Ok(plan::plan(&input))
    }

    /// Reads everything that is desired or recorded. What was recorded says what to look for: a binding has no other name.
    async fn look(
        &self,
        desired: &[Resource],
        recorded: &BTreeMap<Id, Resource>,
    ) -> Result<BTreeMap<Id, Live>, EngineError> {
        let unrecorded = desired.iter().filter(|resource| !recorded.contains_key(&resource.id));
        let wanted: Vec<Resource> = unrecorded.chain(recorded.values()).cloned().collect();
        let found = stream::iter(wanted)
            .map(|resource| {
                let cloud = Arc::clone(&self.cloud);
                async move { cloud.read(&resource).await.map(|live| (resource.id, live)) }
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(found.into_iter().filter_map(|(id, live)| live.map(|live| (id, live))).collect())
    }

    /// Begins a run that may change things: takes the lease, and settles what an earlier run left.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn begin(&self, holder: &str, message: &str, steal: bool) -> Result<Run<'_, C, S>, EngineError> {
        let lease = Lease::take(&self.store, holder, message, steal, Timestamp::now()).await?;
        let mut run = Run { engine: self, lease, known: Versioned::load(&*self.store, &self.stack).await? };
        run.settle().await?;
        Ok(run)
    }
}

/// A run: the lease, and the state under it.
pub struct Run<'a, C, S> {
    engine: &'a Engine<C, S>,
    lease: Lease,
    known: Versioned,
}

impl<C: Cloud, S: Store> Run<'_, C, S> {
    /// Takes over into the state what the journal tells, writes it, and throws the journal away.
    async fn settle(&mut self) -> Result<(), EngineError> {
        let entries = Journal::unsettled(&*self.engine.store).await?;
        if entries.is_empty() {
            return Ok(());
        }
        for (_, _, entry) in &entries {
            entry.settle(&mut self.known.state.resources, &*self.engine.cloud).await?;
        }
        self.known.state.serial += 1;
        self.known.save(&*self.engine.store).await?;
        for (object, generation, _) in &entries {
            self.engine.store.delete(object, *generation).await?;
        }
        Ok(())
    }

    /// What has to be done.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn plan(&self, desired: &[Resource], options: &Options) -> Result<Plan, EngineError> {
        self.engine.plan_from(&self.known, desired, options).await
    }

    /// Does exactly what the plan says. After `stop` no step is begun any more.
    ///
    /// # Errors
    /// [`EngineError`]: nothing was begun, or what was done could not be written down; the next run settles that. Steps
    /// that failed are in the report.
    pub async fn apply(
        &mut self,
        plan: &Plan,
        observer: &Observer,
        stop: &CancellationToken,
    ) -> Result<Report, EngineError> {
        if plan.stack != self.engine.stack {
            return Err(EngineError::OtherStack(plan.stack.clone()));
        }
        if !plan.problems.is_empty() {
            return Err(EngineError::Refused);
        }
        if plan.state_generation != self.known.generation {
            return Err(EngineError::Stale { planned: plan.state_generation, now: self.known.generation });
        }
        if plan.is_empty() {
            return Ok(Report::default());
        }
        // The fence: from here on, the writes of everybody who read an older state fail.
        self.known.state.serial += 1;
        self.known.save(&*self.engine.store).await?;

        let journal = Journal::new(Arc::clone(&self.engine.store), self.known.state.serial);
        let report = run::run(
            plan,
            &self.engine.cloud,
            &Arc::new(journal),
            observer,
            &[stop.clone(), self.lease.lost.clone()],
            self.engine.patience,
        )
        .await;
        self.settle().await?;
        Ok(report)
    }

    /// Gives the lease back.
    pub async fn end(self) {
        self.lease.release(&*self.engine.store).await;
    }
}
