//! Where a rolling update stands, told from what the engine shows. Pure: time is passed in.
//!
//! One [`Watch`] looks at one update. It remembers only what the engine forgets: since when a task waits for a node,
//! and why tasks failed whose traces Swarm has tidied away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::model::{Service, Task, TaskState, UpdateState};
use super::spec;

/// A task without a node after this long gets none soon: Swarm places tasks within 0.1 s where it can, and waits for
/// ever where it can't, without calling that a failure.
const UNSCHEDULED_MAX: Duration = Duration::from_secs(10);
/// Different failures that are told; a thousand executors fail for one or two reasons.
const FAILURES_MAX: usize = 5;
const FAILURE_CHARS_MAX: usize = 300;

/// What is to be made of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not at its end; how far it is.
    Underway(String),
    /// Every task runs with the config.
    Completed {
        /// How many.
        tasks: usize,
    },
    /// Swarm stopped half-way: tasks of two configs run.
    Paused(String),
    /// Swarm is going back to the config before.
    RollingBack(String),
    /// Swarm went back to the config before.
    RolledBack(String),
    /// Swarm stopped half-way on the way back.
    RollbackPaused(String),
    /// Somebody gave the service another config meanwhile.
    Superseded,
    /// No node takes a task; the scheduler's words.
    Unscheduled(String),
}

/// Follows one update of one service to one config.
pub(super) struct Watch {
    config: String,
    /// When the update before ours was started: while that is what the engine shows, ours has not begun.
    before: Option<String>,
    unscheduled: BTreeMap<String, Duration>,
    failures: BTreeMap<String, BTreeSet<String>>,
    /// Why Swarm began to go back; at the end of the way back it no longer says.
    cause: Option<String>,
}

impl Watch {
    /// Follows the update to the config with id `config`. `before` is the start of the last update that the service
    /// showed before ours was sent; None if it showed none, or if ours did not have to be sent.
    pub(super) fn new(config: &str, before: Option<String>) -> Self {
        Self { config: config.to_owned(), before, unscheduled: BTreeMap::new(), failures: BTreeMap::new(), cause: None }
    }

    /// Judges the service and its tasks as seen at `now`, counted from any fixed moment.
    pub(super) fn judge(&mut self, service: &Service, tasks: &[Task], now: Duration) -> Verdict {
        let of_ours: Vec<&Task> = tasks.iter().filter(|task| self.is_ours(task)).collect();
        self.note_failures(&of_ours);
        let waiting = self.note_unscheduled(&of_ours, now);

        let status = service.update_status.as_ref().filter(|status| {
            status.state != UpdateState::Unknown && (self.before.is_none() || status.started_at != self.before)
        });
        let state = status.map_or(UpdateState::Unknown, |status| status.state);
        let said = status.map_or("", |status| &status.message);
        if state == UpdateState::RollbackStarted {
            self.cause = Some(said.to_owned());
        }
        let message = || self.told(self.cause.as_deref().unwrap_or(said));
        let wanted = spec::config_at_target(&service.spec) == Some(&self.config);
        let running = of_ours.iter().filter(|task| task.status.state == TaskState::Running).count();
        match (state, wanted) {
            // Back to what was there before includes back to ours, where an operator undid somebody's later update.
            (UpdateState::Completed | UpdateState::RollbackCompleted, true) => Verdict::Completed { tasks: running },
            (UpdateState::Paused | UpdateState::RollbackPaused, true) => Verdict::Paused(message()),
            (UpdateState::RollbackStarted, false) => Verdict::RollingBack(message()),
            (UpdateState::RollbackCompleted, false) => Verdict::RolledBack(message()),
            (UpdateState::RollbackPaused, false) => Verdict::RollbackPaused(message()),
            (_, false) => Verdict::Superseded,
            // Swarm shows no status for an update that no task needs.
            (UpdateState::Unknown, true) if self.is_settled(service, tasks) => Verdict::Completed { tasks: running },
            (_, true) => waiting.map_or_else(
                || Verdict::Underway(format!("{running} of {} tasks run with it", expected(service, tasks))),
                Verdict::Unscheduled,
            ),
        }
    }

    fn is_ours(&self, task: &Task) -> bool {
        // A task's spec is what stands under `TaskTemplate` in the service's.
        let configs = task.spec.pointer("/ContainerSpec/Configs").and_then(|configs| configs.as_array());
        configs.into_iter().flatten().any(|config| config.get("ConfigID").is_some_and(|id| *id == *self.config))
    }

    fn is_settled(&self, service: &Service, tasks: &[Task]) -> bool {
        let mut wanted = tasks.iter().filter(|task| task.desired_state == TaskState::Running);
        wanted.clone().count() as u64 >= spec::replicas(&service.spec).unwrap_or(0)
            && wanted.all(|task| self.is_ours(task) && task.status.state == TaskState::Running)
    }

    fn note_failures(&mut self, of_ours: &[&Task]) {
        for task in of_ours.iter().filter(|task| task.status.state.is_failure()) {
            let told = if task.status.err.is_empty() { &task.status.message } else { &task.status.err };
            let told: String = told.chars().take(FAILURE_CHARS_MAX).collect();
            if self.failures.contains_key(&told) || self.failures.len() < FAILURES_MAX {
                self.failures.entry(told).or_default().insert(task.id.clone());
            }
        }
    }

    /// The scheduler's words, if a task waits for a node for too long.
    fn note_unscheduled(&mut self, of_ours: &[&Task], now: Duration) -> Option<String> {
        let is_wanted = |task: &&Task| matches!(task.desired_state, TaskState::Running | TaskState::Ready);
        let waiting: Vec<_> =
            of_ours.iter().copied().filter(is_wanted).filter(|task| task.status.state.is_unscheduled()).collect();
        self.unscheduled.retain(|id, _| waiting.iter().any(|task| task.id == *id));
        let mut longest = None;
        for task in waiting {
            let since = *self.unscheduled.entry(task.id.clone()).or_insert(now);
            if now.saturating_sub(since) > UNSCHEDULED_MAX {
                longest = Some(task);
            }
        }
        let status = &longest?.status;
        let told = if status.err.is_empty() { &status.message } else { &status.err };
        let count = self.unscheduled.len();
        let noun = if count == 1 { "task waits" } else { "tasks wait" };
        Some(format!("{count} {noun} for a node: {told}"))
    }

    /// Swarm's message, and the reasons that tasks of this config gave.
    fn told(&self, message: &str) -> String {
        let mut text = if message.is_empty() { "Swarm gives no reason" } else { message }.to_owned();
        for (told, tasks) in &self.failures {
            let noun = if tasks.len() == 1 { "task" } else { "tasks" };
            text.push_str(&format!("; {} {noun} with `{told}`", tasks.len()));
        }
        text
    }
}

fn expected(service: &Service, tasks: &[Task]) -> u64 {
    let wanted = || tasks.iter().filter(|task| task.desired_state == TaskState::Running).count() as u64;
    spec::replicas(&service.spec).unwrap_or_else(wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(config: &str, status: Value) -> Service {
        let file = json!({ "Name": spec::TARGET });
        let spec = json!({
            "Mode": { "Replicated": { "Replicas": 2 } },
            "TaskTemplate": { "ContainerSpec": { "Configs": [{ "ConfigID": config, "File": file }] } },
        });
        let service = json!({ "ID": "s", "Version": { "Index": 9 }, "Spec": spec, "UpdateStatus": status });
        serde_json::from_value(service).unwrap()
    }

    fn task(id: &str, config: &str, desired: &str, state: &str, err: &str) -> Task {
        let spec = json!({ "ContainerSpec": { "Configs": [{ "ConfigID": config }] } });
        let status = json!({ "State": state, "Message": "started", "Err": err });
        serde_json::from_value(json!({ "ID": id, "Spec": spec, "Status": status, "DesiredState": desired })).unwrap()
    }

    fn running(config: &str) -> Vec<Task> {
        ["1", "2"].map(|slot| task(&format!("{config}{slot}"), config, "running", "running", "")).into()
    }

    fn status(state: &str) -> Value {
        json!({ "State": state, "StartedAt": "2026-01-01T00:00:05Z", "Message": state })
    }

    #[track_caller]
    fn check(service: &Service, tasks: &[Task], expected: Verdict) {
        let mut watch = Watch::new("new", Some("2026-01-01T00:00:00Z".into()));
        assert_eq!(watch.judge(service, tasks, Duration::ZERO), expected);
    }

    #[test]
    fn each_state_of_swarm_has_its_verdict() {
        let all_new = Verdict::Completed { tasks: 2 };
        for (wanted, state, verdict) in [
            ("new", "updating", Verdict::Underway("2 of 2 tasks run with it".into())),
            ("new", "completed", all_new.clone()),
            ("new", "paused", Verdict::Paused("paused".into())),
            ("new", "rollback_started", Verdict::Underway("2 of 2 tasks run with it".into())),
            ("new", "rollback_completed", all_new),
            ("new", "rollback_paused", Verdict::Paused("rollback_paused".into())),
            ("old", "rollback_started", Verdict::RollingBack("rollback_started".into())),
            ("old", "rollback_paused", Verdict::RollbackPaused("rollback_paused".into())),
            ("old", "rollback_completed", Verdict::RolledBack("rollback_completed".into())),
            ("third", "updating", Verdict::Superseded),
            ("third", "completed", Verdict::Superseded),
        ] {
            check(&service(wanted, status(state)), &running("new"), verdict);
        }
    }

    #[test]
    fn the_end_of_an_earlier_update_is_not_the_end_of_ours() {
        let earlier = json!({ "State": "completed", "StartedAt": "2026-01-01T00:00:00Z" });
        check(&service("new", earlier), &running("old"), Verdict::Underway("0 of 2 tasks run with it".into()));
    }

    #[test]
    fn an_update_that_no_task_needs_is_complete_without_a_status() {
        for (tasks, verdict) in [
            (running("new"), Verdict::Completed { tasks: 2 }),
            (running("old"), Verdict::Underway("0 of 2 tasks run with it".into())),
            (vec![], Verdict::Underway("0 of 2 tasks run with it".into())),
            (
                vec![running("new").remove(0), task("2", "new", "running", "starting", "")],
                Verdict::Underway("1 of 2 tasks run with it".into()),
            ),
        ] {
            check(&service("new", json!(null)), &tasks, verdict.clone());
            check(&service("new", json!({})), &tasks, verdict);
        }
        let mut scaled_to_nothing = service("new", json!(null));
        scaled_to_nothing.spec["Mode"]["Replicated"]["Replicas"] = json!(0);
        check(&scaled_to_nothing, &[], Verdict::Completed { tasks: 0 });
    }

    #[test]
    fn a_rollback_tells_why_tasks_failed_even_after_swarm_tidied_them_away() {
        let mut watch = Watch::new("new", None);
        let mut failed = vec![
            task("1", "new", "shutdown", "failed", "task: non-zero exit (1)"),
            task("2", "new", "shutdown", "failed", "task: non-zero exit (1)"),
            task("3", "new", "shutdown", "rejected", "No such image: executor:2"),
            task("4", "old", "shutdown", "failed", "of an earlier release"),
        ];
        watch.judge(&service("new", status("updating")), &failed, Duration::ZERO);
        failed.clear();
        let going_back =
            json!({ "State": "rollback_started", "Message": "update rolled back due to failure of task 1" });
        watch.judge(&service("old", going_back), &failed, Duration::from_secs(1));

        let verdict = watch.judge(&service("old", status("rollback_completed")), &failed, Duration::from_secs(2));

        let Verdict::RolledBack(message) = verdict else { panic!("{verdict:?}") };
        insta::assert_snapshot!(
            message,
            @"update rolled back due to failure of task 1; 1 task with `No such image: executor:2`; 2 tasks with `task: non-zero exit (1)`"
        );
    }

    #[test]
    fn failures_are_told_within_bounds() {
        let mut watch = Watch::new("new", None);
        let failed: Vec<_> =
            (0..50).map(|n| task("1", "new", "shutdown", "failed", &format!("{n}{}", "x".repeat(999)))).collect();

        let verdict = watch.judge(&service("old", status("rollback_completed")), &failed, Duration::ZERO);

        let Verdict::RolledBack(message) = verdict else { panic!("{verdict:?}") };
        assert!(message.len() < FAILURES_MAX * (FAILURE_CHARS_MAX + 20), "{message}");
    }

    #[test]
    fn a_task_that_no_node_takes_is_told_after_ten_seconds() {
        let mut watch = Watch::new("new", None);
        let service = service("new", status("updating"));
        let refusal = "no suitable node (host-mode port already in use on 3 nodes)";
        let tasks = [
            task("1", "new", "running", "pending", refusal),
            task("2", "new", "running", "running", ""),
            task("3", "new", "shutdown", "pending", "given up long ago"),
            task("4", "old", "running", "pending", "not of this update"),
        ];
        let underway = Verdict::Underway("1 of 2 tasks run with it".into());

        assert_eq!(watch.judge(&service, &tasks, Duration::from_secs(3)), underway);
        assert_eq!(watch.judge(&service, &tasks, Duration::from_secs(13)), underway);
        let verdict = watch.judge(&service, &tasks, Duration::from_millis(13_001));

        let Verdict::Unscheduled(message) = verdict else { panic!("{verdict:?}") };
        insta::assert_snapshot!(
            message,
            @"1 task waits for a node: no suitable node (host-mode port already in use on 3 nodes)"
        );
    }

    #[test]
    fn a_task_that_found_a_node_starts_to_wait_anew() {
        let mut watch = Watch::new("new", None);
        let service = service("new", status("updating"));
        let at = |state, secs| ([task("1", "new", "ready", state, "")], Duration::from_secs(secs));
        for (tasks, now) in [at("pending", 0), at("preparing", 9), at("pending", 12), at("pending", 20)] {
            assert!(matches!(watch.judge(&service, &tasks, now), Verdict::Underway(_)), "{now:?}");
        }
    }
}
