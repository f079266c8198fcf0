//! Plans and runs as JSON lines for machines, in the form of OpenTofu's machine-readable UI
//! (<https://opentofu.org/docs/internals/machine-readable-ui/>), so that what reads that reads this.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::engine::{Drift, Event};
use crate::plan::{Action, Plan, Step};
use crate::resource::{Id, fields};

/// The form of the lines.
const UI: &str = "1.2";

fn line(now: Timestamp, level: &str, kind: &str, message: String, rest: Value) -> Value {
    let mut line = json!({
        "@level": level,
        "@message": message,
        "@module": "moonswarm.ui",
        "@timestamp": now.to_string(),
        "type": kind,
    });
    if let (Some(line), Value::Object(rest)) = (line.as_object_mut(), rest) {
        line.extend(rest);
    }
    line
}

fn resource(id: &Id) -> Value {
    json!({
        "addr": id.to_string(),
        "resource": id.to_string(),
        "resource_type": id.kind.as_str(),
        "resource_name": id.name.as_str(),
        "resource_key": null,
        "module": "",
    })
}

fn verb(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Update => "update",
        Action::Delete => "delete",
        Action::Record => "import",
        Action::Forget => "remove",
    }
}

/// The first line.
pub fn version(now: Timestamp, version: &str) -> Value {
    line(now, "info", "version", format!("Moonswarm {version}"), json!({ "moonswarm": version, "ui": UI }))
}

/// A line for each change of a plan, and a summary.
pub fn planned(now: Timestamp, plan: &Plan) -> Vec<Value> {
    let mut lines = Vec::new();
    for step in &plan.steps {
        let action = match (step.action, &step.replaces) {
            // Told once, with the new one.
            (Action::Delete, Some(_)) => continue,
            (_, Some(_)) => "replace",
            (action, None) => verb(action),
        };
        let changed: Vec<&str> = step.changes.iter().map(|change| change.field.as_str()).collect();
        let change = json!({ "resource": resource(&step.id), "action": action, "fields": changed });
        lines.push(line(
            now,
            "info",
            "planned_change",
            format!("{}: plan to {action}", step.id),
            json!({ "change": change }),
        ));
    }
    for problem in &plan.problems {
        lines.push(diagnostic(now, &problem.to_string()));
    }
    let (add, change, replace, remove) = plan.counts();
    let changes =
        json!({ "add": add + replace, "change": change, "import": 0, "remove": remove + replace, "operation": "plan" });
    let message = format!(
        "Plan: {add} to make, {change} to change, {replace} to replace, {remove} to delete. Swarm: {}.",
        plan.impact
    );
    lines.push(line(now, "info", "change_summary", message, json!({ "changes": changes, "impact": plan.impact })));
    lines
}

/// How a step goes.
pub fn progress(now: Timestamp, event: &Event<'_>) -> Value {
    let hook = |step: &Step, elapsed: Option<&Duration>| {
        let mut hook = json!({ "resource": resource(&step.id), "action": verb(step.action) });
        if let Some(elapsed) = elapsed {
            hook["elapsed_seconds"] = elapsed.as_secs().into();
        }
        json!({ "hook": hook })
    };
    let told = |step: &Step, what: &str| format!("{}: {} {what}", step.id, verb(step.action));
    match event {
        Event::Started(step) => line(now, "info", "apply_start", told(step, "started"), hook(step, None)),
        Event::Progress(step, elapsed) => {
            line(now, "info", "apply_progress", told(step, "goes on"), hook(step, Some(elapsed)))
        }
        Event::Again(step, reason) => {
            line(now, "warn", "apply_progress", format!("{}: tried again after: {reason}", step.id), hook(step, None))
        }
        Event::Done(step, elapsed) => {
            line(now, "info", "apply_complete", told(step, "is done"), hook(step, Some(elapsed)))
        }
        Event::Failed(step, reason) => {
            line(now, "error", "apply_errored", format!("{}: {reason}", step.id), hook(step, None))
        }
    }
}

/// What is not as it was made.
pub fn drifted(now: Timestamp, drift: &Drift) -> Value {
    let action = if drift.gone { "delete" } else { "update" };
    let change = json!({ "resource": resource(&drift.id), "action": action, "severity": drift.severity, "changes": drift.changes });
    line(now, "info", "resource_drift", drift.to_string(), json!({ "change": change }))
}

/// An error.
pub fn diagnostic(now: Timestamp, message: &str) -> Value {
    let diagnostic = json!({ "severity": "error", "summary": message, "detail": "" });
    line(now, "error", "diagnostic", format!("Error: {message}"), json!({ "diagnostic": diagnostic }))
}

/// What was made, for `state`.
pub fn recorded(resource: &crate::resource::Resource) -> Value {
    json!({ "resource": resource.id, "protect": resource.protect, "fields": fields(&resource.spec) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::plan::{self, Input, Options};
    use crate::resource::Resource;

    #[test]
    fn plans_and_steps_are_lines_that_opentofus_readers_know() {
        let spec = json!({ "id": "topic/t", "spec": { "kind": "topic", "retention_days": 7 } });
        let desired: Vec<Resource> = vec![serde_json::from_value(spec).unwrap()];
        let plan = plan::plan(&Input {
            stack: "a",
            desired: &desired,
            recorded: &BTreeMap::new(),
            live: &BTreeMap::new(),
            state_generation: 0,
            options: &Options::default(),
        });
        let now = Timestamp::UNIX_EPOCH;

        let mut lines = vec![version(now, "0.1.0")];
        lines.extend(planned(now, &plan));
        lines.push(progress(now, &Event::Done(&plan.steps[0], Duration::from_secs(3))));

        let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
