//! What has to be done so that the cloud is what the stack says. Pure: values in, a plan out.

mod compare;
mod impact;
mod order;
#[cfg(test)]
mod tests;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use compare::Change;
pub(crate) use compare::{compare, same};
pub use impact::Impact;

use crate::cloud::{Live, Owner};
use crate::resource::{Effect, Id, Resource};

/// Everything a plan is made from.
#[derive(Debug)]
pub struct Input<'a> {
    /// The name of the stack.
    pub stack: &'a str,
    /// What should be.
    pub desired: &'a [Resource],
    /// What was made, as far as it was written down.
    pub recorded: &'a BTreeMap<Id, Resource>,
    /// What is, of everything that is desired or recorded.
    pub live: &'a BTreeMap<Id, Live>,
    /// Which state this is a plan for.
    pub state_generation: i64,
    /// What the person allows.
    pub options: &'a Options,
}

/// What a person asks of a plan.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Everything goes away.
    pub destroy: bool,
    /// But not what is protected.
    pub keep_data: bool,
    /// Also what is protected may be deleted or replaced.
    pub delete_data: bool,
    /// More managers may be disturbed than the quorum bears.
    pub break_quorum: bool,
    /// Only these, and what they need. Empty: everything.
    pub targets: Vec<Id>,
}

/// Steps, in an order in which they could be done one after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Of which stack.
    pub stack: String,
    /// Good for this state only.
    pub state_generation: i64,
    /// What to do.
    pub steps: Vec<Step>,
    /// How many resources stay as they are.
    pub unchanged: usize,
    /// What it does to the Swarm.
    pub impact: Impact,
    /// Why it must not be applied.
    pub problems: Vec<Problem>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// To which resource.
    pub id: Id,
    /// What.
    pub action: Action,
    /// The resource as it should be; for a deletion as it was.
    pub resource: Resource,
    /// The fields that differ.
    pub changes: Vec<Change>,
    /// Part of a replacement; `because` names the resource that forces it, if it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Replacement>,
    /// Steps that have to be done before, by their places in the plan.
    pub after: Vec<usize>,
}

/// Why a resource is made anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replacement {
    /// A field can't be changed.
    Field,
    /// What it refers to is made anew.
    Because(Id),
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Makes it.
    Create,
    /// Changes fields.
    Update,
    /// Deletes it.
    Delete,
    /// It is there and as it should be: only writes that down.
    Record,
    /// It is gone: only writes that down.
    Forget,
}

/// Why a plan must not be applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// There is one of this name, and it is not this stack's.
    Foreign {
        /// Which.
        id: Id,
        /// Whose it is.
        owner: String,
    },
    /// It holds data, and would be lost.
    Protected(Id),
    /// The Swarm would be without a leader.
    Quorum,
    /// A target that neither the templates nor the state know.
    Unknown(Id),
}

impl Plan {
    /// Nothing has to be done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// Plans. What is found to be wrong is in [`Plan::problems`].
pub fn plan(input: &Input<'_>) -> Plan {
    let mut problems = Vec::new();
    let desired = wanted(input);
    let selected = select(input, &desired, &mut problems);

    let mut verdicts: BTreeMap<Id, Verdict> = BTreeMap::new();
    for id in &selected {
        let verdict = judge(input, id, desired.get(id).copied(), &mut problems);
        verdicts.insert(id.clone(), verdict);
    }
    replace_dependents(&desired, input.live, &mut verdicts);
    for (id, verdict) in &verdicts {
        let lost = matches!(verdict, Verdict::Replace(..) | Verdict::Delete(_));
        let protect = |resource: &Resource| resource.protect;
        let protected =
            input.recorded.get(id).is_some_and(protect) || desired.get(id).is_some_and(|found| found.protect);
        if lost && protected && !input.options.delete_data {
            problems.push(Problem::Protected(id.clone()));
        }
    }

    let unchanged = verdicts.values().filter(|verdict| matches!(verdict, Verdict::Keep)).count();
    let steps = order::order(verdicts);
    let impact = Impact::of(&steps, input.live);
    if impact.breaks_quorum() && !input.options.break_quorum && !input.options.destroy {
        problems.push(Problem::Quorum);
    }
    Plan { stack: input.stack.to_owned(), state_generation: input.state_generation, steps, unchanged, impact, problems }
}

/// What is to become of one resource.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a few dozen of them, for a moment")]
pub(crate) enum Verdict {
    Keep,
    Create(Resource),
    Update(Resource, Vec<Change>),
    /// The new one, the old one, what differs, and what forces it.
    Replace(Resource, Resource, Vec<Change>, Replacement),
    Delete(Resource),
    Record(Resource),
    Forget(Resource),
}

/// What should be there: of a stack that is destroyed nothing, or only its data.
fn wanted<'a>(input: &Input<'a>) -> BTreeMap<Id, &'a Resource> {
    if !input.options.destroy {
        return input.desired.iter().map(|resource| (resource.id.clone(), resource)).collect();
    }
    let keep = |resource: &&Resource| input.options.keep_data && resource.protect;
    input.recorded.values().filter(keep).map(|resource| (resource.id.clone(), resource)).collect()
}

/// The ids that a plan is about: all, or the targets with everything they need.
fn select(input: &Input<'_>, desired: &BTreeMap<Id, &Resource>, problems: &mut Vec<Problem>) -> BTreeSet<Id> {
    if input.options.targets.is_empty() {
        return desired.keys().chain(input.recorded.keys()).cloned().collect();
    }
    let mut selected = BTreeSet::new();
    let mut open = input.options.targets.clone();
    while let Some(id) = open.pop() {
        let found = desired.get(&id).copied().or_else(|| input.recorded.get(&id));
        match found {
            Some(resource) if selected.insert(id.clone()) => open.extend(resource.spec.references()),
            Some(_) => {}
            None => problems.push(Problem::Unknown(id)),
        }
    }
    selected
}

fn judge(input: &Input<'_>, id: &Id, desired: Option<&Resource>, problems: &mut Vec<Problem>) -> Verdict {
    let recorded = input.recorded.get(id);
    match (desired, input.live.get(id), recorded) {
        (Some(desired), None, _) => Verdict::Create(desired.clone()),
        (Some(desired), Some(live), recorded) => {
            if let (Owner::Other(owner), None) = (&live.owner, recorded) {
                problems.push(Problem::Foreign { id: id.clone(), owner: owner.clone() });
                return Verdict::Keep;
            }
            let changes = compare(&live.spec, &desired.spec, recorded.map(|recorded| &recorded.spec));
            match changes.iter().map(|change| change.effect).max() {
                None if recorded == Some(desired) => Verdict::Keep,
                None => Verdict::Record(desired.clone()),
                Some(Effect::Replace) => {
                    let old = Resource { spec: live.spec.clone(), ..desired.clone() };
                    Verdict::Replace(desired.clone(), old, changes, Replacement::Field)
                }
                Some(_) => Verdict::Update(desired.clone(), changes),
            }
        }
        (None, Some(_), Some(recorded)) => Verdict::Delete(recorded.clone()),
        (None, None, Some(recorded)) => Verdict::Forget(recorded.clone()),
        (None, _, None) => Verdict::Keep,
    }
}

/// What refers to something that is made anew is made anew as well.
fn replace_dependents(
    desired: &BTreeMap<Id, &Resource>,
    live: &BTreeMap<Id, Live>,
    verdicts: &mut BTreeMap<Id, Verdict>,
) {
    loop {
        let forced = desired.iter().find_map(|(id, resource)| {
            let already = matches!(verdicts.get(id), Some(Verdict::Replace(..) | Verdict::Create(_)));
            let cause = resource
                .spec
                .references()
                .into_iter()
                .find(|cause| matches!(verdicts.get(cause), Some(Verdict::Replace(..))));
            let live = live.get(id)?;
            cause.filter(|_| !already).map(|cause| (id.clone(), (*resource).clone(), live.spec.clone(), cause))
        });
        let Some((id, resource, old, cause)) = forced else { return };
        let changes = match verdicts.remove(&id) {
            Some(Verdict::Update(_, changes)) => changes,
            _ => Vec::new(),
        };
        let old = Resource { spec: old, ..resource.clone() };
        verdicts.insert(id, Verdict::Replace(resource, old, changes, Replacement::Because(cause)));
    }
}
