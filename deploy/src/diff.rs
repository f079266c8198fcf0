//! What of a live spec differs from a wanted one, past what Swarm fills in by itself. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// What Swarm puts into specs where nothing was said.
const FILLED_IN: [(&str, &str); 2] =
    [("TaskTemplate.ContainerSpec.Isolation", "default"), ("TaskTemplate.Runtime", "container")];
/// Fields that are no part of what is wanted: ids stand for names, and the counter of forced updates is Swarm's.
const IGNORED: [&str; 3] = ["SecretID", "ConfigID", "ForceUpdate"];
/// Swarm keeps ratios as 32-bit numbers.
const RATIO_PRECISION: f64 = 1e-6;

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Where: `TaskTemplate.ContainerSpec.Env[MOONSWARM_DRAIN]`.
    pub field: String,
    /// What is live; absent if it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<Value>,
    /// What is wanted; absent if it should go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, live, wanted } = self;
        match (live, wanted) {
            (Some(live), Some(wanted)) => write!(f, "~ {field}: {live} -> {wanted}"),
            (None, Some(wanted)) => write!(f, "+ {field}: {wanted}"),
            (Some(live), None) => write!(f, "- {field}: {live}"),
            (None, None) => write!(f, "  {field}"),
        }
    }
}

/// The fields in which `live` differs from `wanted`, in the order of their names.
pub(crate) fn changes(live: &Value, wanted: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare("", Some(live), Some(wanted), &mut found);
    found
}

fn compare(field: &str, live: Option<&Value>, wanted: Option<&Value>, found: &mut Vec<Change>) {
    let name = field.rsplit('.').next().unwrap_or(field);
    if IGNORED.contains(&name) {
        return;
    }
    match (live, wanted) {
        (Some(Value::Object(live)), Some(Value::Object(wanted))) => {
            let names: std::collections::BTreeSet<_> = live.keys().chain(wanted.keys()).collect();
            for name in names {
                let field = if field.is_empty() { name.clone() } else { format!("{field}.{name}") };
                compare(&field, live.get(name), wanted.get(name), found);
            }
        }
        (Some(Value::Array(_)), Some(Value::Array(_))) => {
            let (live, wanted) = (by_key(live), by_key(wanted));
            let keys: std::collections::BTreeSet<_> = live.keys().chain(wanted.keys()).collect();
            for key in keys {
                compare(&format!("{field}[{key}]"), live.get(key), wanted.get(key), found);
            }
        }
        (live, wanted) => {
            let same = match (live, wanted) {
                (Some(live), Some(wanted)) => is_same(live, wanted),
                (Some(live), None) => is_nothing(live) || FILLED_IN.iter().any(|&(at, by)| at == field && live == by),
                (None, Some(wanted)) => is_nothing(wanted),
                (None, None) => true,
            };
            if !same {
                found.push(Change { field: field.to_owned(), live: live.cloned(), wanted: wanted.cloned() });
            }
        }
    }
}

fn is_same(live: &Value, wanted: &Value) -> bool {
    match (live.as_f64(), wanted.as_f64()) {
        (Some(live), Some(wanted)) => (live - wanted).abs() <= RATIO_PRECISION * live.abs().max(wanted.abs()),
        _ => live == wanted || (is_nothing(live) && is_nothing(wanted)),
    }
}

/// What says no more than leaving it out does.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_nothing),
    }
}

/// The items of a list by what they are about, since their order says nothing: a variable's name, a file's or a port's.
fn by_key(list: Option<&Value>) -> BTreeMap<String, Value> {
    let items = list.and_then(Value::as_array).into_iter().flatten().enumerate();
    let keyed = items.map(|(index, item)| match item {
        Value::String(text) => match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), Value::from(value)),
            None => (format!("{index}"), item.clone()),
        },
        _ => {
            let name = item.pointer("/File/Name").or(item.get("Target")).and_then(Value::as_str).map(str::to_owned);
            let port = || item.get("TargetPort").map(Value::to_string);
            (name.or_else(port).unwrap_or_else(|| index.to_string()), item.clone())
        }
    });
    keyed.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::product::tests::{nodes, product};

    fn told(live: &Value, wanted: &Value) -> String {
        changes(live, wanted).iter().map(|change| format!("{change}\n")).collect()
    }

    fn executor() -> Value {
        product().desired(&nodes()).services.pop().unwrap().spec
    }

    #[test]
    fn what_swarm_fills_in_is_no_change() {
        let wanted = executor();
        let mut live = wanted.clone();
        let container = &mut live["TaskTemplate"]["ContainerSpec"];
        container["Isolation"] = json!("default");
        container["DNSConfig"] = json!({});
        container["Secrets"][0]["SecretID"] = json!("x1");
        container["Env"].as_array_mut().unwrap().reverse();
        live["TaskTemplate"]["Runtime"] = json!("container");
        live["TaskTemplate"]["ForceUpdate"] = json!(7);
        live["TaskTemplate"]["RestartPolicy"]["MaxAttempts"] = json!(0);
        live["UpdateConfig"]["MaxFailureRatio"] = json!(0.300_000_011_920_928_96);

        assert_eq!(told(&live, &wanted), "");
    }

    #[test]
    fn each_field_that_differs_is_told() {
        let wanted = executor();
        let mut live = wanted.clone();
        live["TaskTemplate"]["ContainerSpec"]["Image"] = json!("localhost/moonswarm-executor:0");
        live["TaskTemplate"]["ContainerSpec"]["Env"].as_array_mut().unwrap().retain(|it| *it != "MOONSWARM_STACK=e2e");
        live["TaskTemplate"]["ContainerSpec"]["Env"].as_array_mut().unwrap().push(json!("HAND=made"));
        live["TaskTemplate"]["Resources"] = json!({ "Limits": { "MemoryBytes": 1 } });
        live["Mode"]["Replicated"]["Replicas"] = json!(5);
        live["EndpointSpec"]["Ports"][0]["PublishedPort"] = json!(7701);

        insta::assert_snapshot!(told(&live, &wanted), @r#"
        - EndpointSpec.Ports[7701].PublishedPort: 7701
        ~ Mode.Replicated.Replicas: 5 -> 6
        - TaskTemplate.ContainerSpec.Env[HAND]: "made"
        + TaskTemplate.ContainerSpec.Env[MOONSWARM_STACK]: "e2e"
        ~ TaskTemplate.ContainerSpec.Image: "localhost/moonswarm-executor:0" -> "localhost/moonswarm-executor:1"
        - TaskTemplate.Resources: {"Limits":{"MemoryBytes":1}}
        "#);
    }

    #[test]
    fn nothing_and_an_empty_thing_are_the_same() {
        assert_eq!(told(&json!({ "a": null, "b": {}, "c": { "d": 0 } }), &json!({ "e": [], "f": "" })), "");
        assert_eq!(told(&json!({ "a": 1 }), &json!({})), "- a: 1\n");
    }
}
