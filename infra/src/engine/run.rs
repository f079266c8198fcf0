//! Runs the steps of a plan, as many at the same time as their order allows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::AT_ONCE;
use crate::cloud::{Cloud, CloudError, Fault, Owner};
use crate::plan::{Action, Plan, Step};
use crate::resource::Id;
use crate::store::{Journal, Store};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// Who is told how a run goes.
pub type Observer = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// How a step goes.
#[derive(Debug)]
pub enum Event<'a> {
    /// It begins.
    Started(&'a Step),
    /// It goes on since so long.
    Progress(&'a Step, Duration),
    /// It failed for now and is tried again.
    Again(&'a Step, &'a str),
    /// It is done, after so long.
    Done(&'a Step, Duration),
    /// It failed for good.
    Failed(&'a Step, &'a str),
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Applied,
    /// It was not, or nobody knows; why.
    Failed(String),
    /// It was not begun, because of another, or because the run was stopped.
    NotStarted,
}

/// What became of every step of a plan, in its order.
#[derive(Debug, Default)]
pub struct Report {
    /// The steps.
    pub steps: Vec<(Id, Action, Outcome)>,
}

impl Report {
    /// Everything was done.
    pub fn is_complete(&self) -> bool {
        self.steps.iter().all(|(_, _, outcome)| *outcome == Outcome::Applied)
    }
}

pub(super) async fn run<C: Cloud, S: Store>(
    plan: &Plan,
    cloud: &Arc<C>,
    journal: &Arc<Journal<S>>,
    observer: &Observer,
    stops: &[CancellationToken],
    patience: Duration,
) -> Report {
    let mut outcomes: Vec<Option<Outcome>> = vec![None; plan.steps.len()];
    let mut waiting: BTreeSet<usize> = (0..plan.steps.len()).collect();
    let mut tasks = JoinSet::new();
    loop {
        let stopped = stops.iter().any(CancellationToken::is_cancelled);
        let applied = |number: &usize| outcomes[*number] == Some(Outcome::Applied);
        let ready = waiting.iter().find(|number| plan.steps[**number].after.iter().all(applied)).copied();
        match ready {
            Some(number) if !stopped && tasks.len() < AT_ONCE => {
                waiting.remove(&number);
                let (cloud, journal, observer) = (Arc::clone(cloud), Arc::clone(journal), Arc::clone(observer));
                let step = plan.steps[number].clone();
                tasks.spawn(async move { (number, one(number, &step, &*cloud, &journal, &observer, patience).await) });
            }
            _ => match tasks.join_next().await {
                Some(Ok((number, outcome))) => outcomes[number] = Some(outcome),
                // A panic is a bug: its step has no outcome, and what became of it is settled with the journal.
                Some(Err(_)) => {}
                None => break,
            },
        }
    }
    let lost = |number: usize| {
        if waiting.contains(&number) { Outcome::NotStarted } else { Outcome::Failed("the program failed".into()) }
    };
    let steps = plan.steps.iter().zip(outcomes).enumerate();
    let steps =
        steps.map(|(number, (step, outcome))| (step.id.clone(), step.action, outcome.unwrap_or_else(|| lost(number))));
    Report { steps: steps.collect() }
}

async fn one<C: Cloud, S: Store>(
    number: usize,
    step: &Step,
    cloud: &C,
    journal: &Journal<S>,
    observer: &Observer,
    patience: Duration,
) -> Outcome {
    observer(Event::Started(step));
    let begun = Instant::now();
    let request = Uuid::new_v4();
    let work = async {
        let generation = journal.intend(number, step, request).await.map_err(|err| err.to_string())?;
        attempts(step, cloud, request, observer, patience).await.map_err(|err| err.to_string())?;
        journal.done(number, step, request, generation).await.map_err(|err| err.to_string())
    };
    tokio::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => {
                return match result {
                    Ok(()) => {
                        observer(Event::Done(step, begun.elapsed()));
                        Outcome::Applied
                    }
                    Err(reason) => {
                        observer(Event::Failed(step, &reason));
                        Outcome::Failed(reason)
                    }
                };
            }
            () = tokio::time::sleep(PROGRESS_EVERY) => observer(Event::Progress(step, begun.elapsed())),
        }
    }
}

/// Tries until it is done, refused, or `patience` is at its end.
async fn attempts<C: Cloud>(
    step: &Step,
    cloud: &C,
    request: Uuid,
    observer: &Observer,
    patience: Duration,
) -> Result<(), CloudError> {
    let give_up = Instant::now() + patience;
    let mut pause = FIRST_PAUSE;
    loop {
        let err = match attempt(step, cloud, request).await {
            Ok(()) => return Ok(()),
            Err(err) => err,
        };
        if err.fault != Fault::Passing || Instant::now() + pause > give_up {
            return Err(err);
        }
        observer(Event::Again(step, &err.reason));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn attempt<C: Cloud>(step: &Step, cloud: &C, request: Uuid) -> Result<(), CloudError> {
    match step.action {
        Action::Create => match cloud.create(&step.resource, request).await {
            Err(err) if err.fault == Fault::Exists => {
                // An earlier attempt may have made it and its answer was lost.
                let live = cloud.read(&step.resource).await?;
                let ours = live.is_some_and(|live| {
                    !matches!(live.owner, Owner::Other(_)) && crate::plan::same(&live.spec, &step.resource.spec)
                });
                if ours { Ok(()) } else { Err(err) }
            }
            result => result,
        },
        Action::Update => {
            let fields: Vec<_> = step.changes.iter().map(|change| change.field.clone()).collect();
            cloud.update(&step.resource, &fields, request).await
        }
        Action::Delete => cloud.delete(&step.resource, request).await,
        Action::Record | Action::Forget => Ok(()),
    }
}
