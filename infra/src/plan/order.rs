//! The order of steps: what is referred to is made before and deleted after what refers to it.

use std::collections::BTreeMap;

use super::{Action, Step, Verdict};
use crate::resource::{self, Id, Resource};

/// Turns verdicts into steps that are sorted so that every step comes after those it waits for.
pub(crate) fn order(verdicts: BTreeMap<Id, Verdict>) -> Vec<Step> {
    let mut steps = Vec::new();
    for (id, verdict) in verdicts {
        let step = |action, resource, changes, replaces| Step {
            id: id.clone(),
            action,
            resource,
            changes,
            replaces,
            after: Vec::new(),
        };
        match verdict {
            Verdict::Keep => {}
            Verdict::Create(new) => steps.push(step(Action::Create, new, Vec::new(), None)),
            Verdict::Update(new, changes) => steps.push(step(Action::Update, new, changes, None)),
            Verdict::Delete(old) => steps.push(step(Action::Delete, old, Vec::new(), None)),
            Verdict::Record(new) => steps.push(step(Action::Record, new, Vec::new(), None)),
            Verdict::Forget(old) => steps.push(step(Action::Forget, old, Vec::new(), None)),
            Verdict::Replace(new, old, changes, why) => {
                steps.push(step(Action::Delete, old, Vec::new(), Some(why.clone())));
                steps.push(step(Action::Create, new, changes, Some(why)));
            }
        }
    }
    let edges = edges(&steps);
    sort(steps, &edges)
}

/// `edges[n]` are the steps that step `n` waits for.
fn edges(steps: &[Step]) -> Vec<Vec<usize>> {
    let mut makes: BTreeMap<&Id, usize> = BTreeMap::new();
    let mut deletes: BTreeMap<&Id, usize> = BTreeMap::new();
    for (number, step) in steps.iter().enumerate() {
        match step.action {
            Action::Create | Action::Update => makes.insert(&step.id, number),
            Action::Delete => deletes.insert(&step.id, number),
            Action::Record | Action::Forget => None,
        };
    }
    let references = |resource: &Resource| resource.spec.references();
    let mut edges = vec![Vec::new(); steps.len()];
    for (number, step) in steps.iter().enumerate() {
        let wanted = references(&step.resource);
        match step.action {
            Action::Create | Action::Update => {
                edges[number].extend(wanted.iter().filter_map(|id| makes.get(id).copied()))
            }
            // Who goes away is waited for by what it refers to.
            Action::Delete => {
                for deleted in wanted.iter().filter_map(|id| deletes.get(id).copied()) {
                    edges[deleted].push(number);
                }
            }
            Action::Record | Action::Forget => {}
        }
        if step.action == Action::Delete
            && let Some(made) = makes.get(&step.id).copied()
        {
            match resource::made_before_old_is_deleted(step.id.kind) && !refers_to_deleted(&wanted, &deletes) {
                true => edges[number].push(made),
                false => edges[made].push(number),
            }
        }
    }
    edges
}

/// Then the old one can't wait for the new one, which waits for what the old one is in the way of.
fn refers_to_deleted(wanted: &[Id], deletes: &BTreeMap<&Id, usize>) -> bool {
    wanted.iter().any(|id| deletes.contains_key(id))
}

fn sort(steps: Vec<Step>, edges: &[Vec<usize>]) -> Vec<Step> {
    let mut place = vec![None; steps.len()];
    let mut sorted: Vec<usize> = Vec::with_capacity(steps.len());
    while sorted.len() < steps.len() {
        let ready = (0..steps.len())
            .filter(|number| place[*number].is_none())
            .find(|number| edges[*number].iter().all(|before| place[*before].is_some()));
        // References go along the order of kinds only, so there is always one; a wrong one fails when it is applied.
        let next = ready.or_else(|| place.iter().position(Option::is_none));
        let Some(next) = next else { break };
        place[next] = Some(sorted.len());
        sorted.push(next);
    }
    let mut steps: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    sorted
        .iter()
        .filter_map(|number| {
            let mut step = steps[*number].take()?;
            step.after = edges[*number].iter().filter_map(|before| place[*before]).collect();
            step.after.sort_unstable();
            step.after.dedup();
            Some(step)
        })
        .collect()
}
