//! Where a service is on its way to a spec, told from what the engine shows. Pure: time is passed in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::diff;
use crate::model::{Service, Task};
use crate::spec;

/// A task without a node after this long gets none soon: Swarm places tasks within 0.1 s where it can, and waits for
/// ever where it can't, without calling that a failure.
const UNSCHEDULED_MAX: Duration = Duration::from_secs(10);
/// Different failures that are told.
const FAILURES_MAX: usize = 5;

/// What is to be made of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not there yet; how many of how many tasks run, and a word on the others.
    Underway { running: u64, of: u64, detail: String },
    /// Every task runs with the spec.
    Settled,
    /// It won't get there; why.
    Failed(String),
    /// Somebody gave the service another spec meanwhile.
    Superseded,
}

/// Follows one service to one spec.
#[derive(Debug)]
pub(crate) struct Watch {
    /// When the update before ours was started: while that is what the engine shows, ours has not begun.
    before: Option<String>,
    /// The task template that was asked for.
    template: Value,
    unscheduled: BTreeMap<String, Duration>,
    /// Reasons that tasks gave, and which tasks did.
    failures: BTreeMap<String, BTreeSet<String>>,
    cause: Option<String>,
}

impl Watch {
    /// `sent` is the spec that the service was given; `before` the start of the last update it showed before that.
    pub(crate) fn new(sent: &Value, before: Option<String>) -> Self {
        let template = sent["TaskTemplate"].clone();
        Self { before, template, unscheduled: BTreeMap::new(), failures: BTreeMap::new(), cause: None }
    }

    /// Judges the service and its tasks as seen at `now`, counted from any fixed moment.
    pub(crate) fn judge(&mut self, service: &Service, tasks: &[Task], now: Duration) -> Verdict {
        let ours: Vec<&Task> = tasks.iter().filter(|task| is_same(&task.spec, &self.template)).collect();
        for task in ours.iter().filter(|task| matches!(task.status.state.as_str(), "failed" | "rejected" | "orphaned"))
        {
            let reason: String = task.reason().chars().take(300).collect();
            if self.failures.contains_key(&reason) || self.failures.len() < FAILURES_MAX {
                self.failures.entry(reason).or_default().insert(task.id.clone());
            }
        }
        let waiting = self.waiting(&ours, now);

        let status = service.update_status.as_ref();
        let status = status.filter(|status| self.before.is_none() || status.started_at != self.before);
        let (state, said) = status.map_or(("", ""), |status| (status.state.as_str(), status.message.as_str()));
        let wanted = is_same(&service.spec["TaskTemplate"], &self.template);
        if state == "rollback_started" {
            self.cause = Some(said.to_owned());
        }
        let of = spec::replicas(&service.spec);
        let running = ours.iter().filter(|task| task.is_wanted() && task.runs()).count() as u64;
        let cause = self.cause.as_deref().unwrap_or(said);
        match (state, wanted) {
            ("rollback_completed", false) => return Verdict::Failed(self.told("was taken back by Swarm", cause)),
            ("rollback_paused", false) => {
                return Verdict::Failed(self.told("got stuck while Swarm took it back", cause));
            }
            ("paused" | "rollback_paused", true) => {
                return Verdict::Failed(self.told("was stopped half-way by Swarm", cause));
            }
            ("rollback_started", false) => {
                return Verdict::Underway { running, of, detail: "Swarm takes it back".to_owned() };
            }
            (_, false) => return Verdict::Superseded,
            _ => {}
        }
        if let Some(reason) = waiting {
            return Verdict::Failed(reason);
        }
        let others = tasks.iter().filter(|task| task.is_wanted() && !ours.iter().any(|it| it.id == task.id)).count();
        if state != "updating" && running == of && others == 0 {
            return Verdict::Settled;
        }
        Verdict::Underway { running, of, detail: self.told("", "") }
    }

    /// What the last failures of tasks were, for a wait that ends by its deadline.
    pub(crate) fn failures(&self) -> String {
        self.told("", "")
    }

    /// The scheduler's words, if a task waits for a node for too long.
    fn waiting(&mut self, ours: &[&Task], now: Duration) -> Option<String> {
        let unplaced = |task: &&&Task| {
            matches!(task.desired_state.as_str(), "running" | "ready")
                && matches!(task.status.state.as_str(), "new" | "allocated" | "pending")
        };
        let waiting: Vec<_> = ours.iter().filter(unplaced).collect();
        self.unscheduled.retain(|id, _| waiting.iter().any(|task| task.id == *id));
        let mut longest = None;
        for task in waiting {
            let since = *self.unscheduled.entry(task.id.clone()).or_insert(now);
            if now.saturating_sub(since) > UNSCHEDULED_MAX {
                longest = Some(task);
            }
        }
        let reason = longest?.reason();
        Some(format!("has tasks that no node takes ({} wait): {reason}", self.unscheduled.len()))
    }

    fn told(&self, what: &str, cause: &str) -> String {
        let failures = self.failures.iter().map(|(reason, tasks)| format!("{} x `{reason}`", tasks.len()));
        let parts = [what.to_owned(), cause.to_owned()].into_iter().chain(failures);
        parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
    }
}

/// Whether a task of the template `seen` is one of the template `wanted`, past what Swarm fills in. Only what makes a new
/// task counts: a changed placement moves none that stands where it may.
fn is_same(seen: &Value, wanted: &Value) -> bool {
    let forced = |template: &Value| template["ForceUpdate"].as_u64().unwrap_or(0);
    let essence = |template: &Value| {
        let mut template = template.clone();
        if let Some(fields) = template.as_object_mut() {
            fields.retain(|name, _| matches!(name.as_str(), "ContainerSpec" | "Resources"));
        }
        json!({ "TaskTemplate": template })
    };
    forced(seen) == forced(wanted) && diff::changes(&essence(seen), &essence(wanted)).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(image: &str, status: Value) -> Service {
        serde_json::from_value(json!({
            "ID": "s", "Version": { "Index": 1 }, "UpdateStatus": status,
            "Spec": {
                "Mode": { "Replicated": { "Replicas": 2 } },
                "TaskTemplate": { "ContainerSpec": { "Image": image }, "Placement": { "MaxReplicas": 4 } },
            },
        }))
        .unwrap()
    }

    fn status(state: &str) -> Value {
        json!({ "State": state, "StartedAt": "t1", "Message": "swarm says" })
    }

    fn task(id: &str, image: &str, desired: &str, state: &str) -> Task {
        serde_json::from_value(json!({
            "ID": id, "DesiredState": desired, "Spec": { "ContainerSpec": { "Image": image } },
            "Status": { "State": state, "Message": "started", "Err": if state == "failed" { "exit 1" } else { "" } },
        }))
        .unwrap()
    }

    fn two(image: &str) -> Vec<Task> {
        vec![task("1", image, "running", "running"), task("2", image, "running", "running")]
    }

    fn judge(service_now: &Service, tasks: &[Task]) -> Verdict {
        Watch::new(&service("new", json!(null)).spec, Some("t0".into())).judge(service_now, tasks, Duration::ZERO)
    }

    #[test]
    fn it_is_settled_when_all_tasks_are_new_and_swarm_has_stopped_watching_them() {
        assert_eq!(judge(&service("new", status("completed")), &two("new")), Verdict::Settled);
        assert_eq!(judge(&service("new", json!(null)), &two("new")), Verdict::Settled);
        for (status, tasks) in [
            (status("updating"), two("new")),
            (
                status("completed"),
                vec![task("1", "new", "running", "running"), task("2", "new", "running", "starting")],
            ),
            (json!(null), [two("new"), vec![task("3", "old", "running", "running")]].concat()),
            (json!(null), two("old")),
        ] {
            assert!(matches!(judge(&service("new", status.clone()), &tasks), Verdict::Underway { .. }), "{status}");
        }
    }

    #[test]
    fn what_swarm_gave_up_is_failed_with_the_reasons() {
        let tasks =
            [two("old"), vec![task("3", "new", "shutdown", "failed"), task("4", "new", "shutdown", "failed")]].concat();
        for (image, state, expected) in [
            ("old", "rollback_completed", "was taken back by Swarm; swarm says; 2 x `exit 1`"),
            ("old", "rollback_paused", "got stuck while Swarm took it back; swarm says; 2 x `exit 1`"),
            ("new", "paused", "was stopped half-way by Swarm; swarm says; 2 x `exit 1`"),
        ] {
            assert_eq!(judge(&service(image, status(state)), &tasks), Verdict::Failed(expected.into()));
        }
        assert_eq!(judge(&service("third", status("updating")), &tasks), Verdict::Superseded);
        let underway = judge(&service("old", status("rollback_started")), &tasks);
        assert!(matches!(underway, Verdict::Underway { .. }), "{underway:?}");
    }

    #[test]
    fn a_task_that_waits_for_a_node_is_a_failure_after_ten_seconds() {
        let now = service("new", status("updating"));
        let mut watch = Watch::new(&now.spec, None);
        let mut waiting = vec![task("1", "new", "running", "pending"), task("2", "new", "running", "running")];
        waiting[0].status.err = "no suitable node (host-mode port already in use on 3 nodes)".into();

        assert!(matches!(watch.judge(&now, &waiting, Duration::from_secs(1)), Verdict::Underway { .. }));
        assert!(matches!(watch.judge(&now, &waiting, Duration::from_secs(11)), Verdict::Underway { .. }));
        let expected =
            "has tasks that no node takes (1 wait): no suitable node (host-mode port already in use on 3 nodes)";
        assert_eq!(watch.judge(&now, &waiting, Duration::from_secs(12)), Verdict::Failed(expected.into()));
    }
}
