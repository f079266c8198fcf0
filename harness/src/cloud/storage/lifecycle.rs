//! Lifecycle rules of buckets: kept and told by both protocols; the local cloud never acts on them.

use serde_json::{Map, Value, json};

use super::error::StorageError;
use crate::cloud::generated::storage::bucket::lifecycle::Rule;
use crate::cloud::generated::storage::bucket::lifecycle::rule::{Action, Condition};

/// From the JSON form, `{"rule": [{"action": {…}, "condition": {…}}]}`.
pub(super) fn read(lifecycle: &Value) -> Result<Vec<Rule>, StorageError> {
    let rules = lifecycle["rule"].as_array().into_iter().flatten();
    rules
        .map(|rule| {
            Ok(Rule { action: Some(action(&rule["action"])?), condition: Some(condition(&rule["condition"])?) })
        })
        .collect()
}

fn action(action: &Value) -> Result<Action, StorageError> {
    let kind = action["type"].as_str().unwrap_or_default();
    if !["Delete", "SetStorageClass", "AbortIncompleteMultipartUpload"].contains(&kind) {
        return Err(StorageError::invalid(format!("Invalid lifecycle action: {action}")));
    }
    let storage_class = action["storageClass"].as_str().unwrap_or_default().to_owned();
    Ok(Action { r#type: kind.to_owned(), storage_class })
}

fn condition(given: &Value) -> Result<Condition, StorageError> {
    let empty = Map::new();
    let mut condition = Condition::default();
    for (name, value) in given.as_object().unwrap_or(&empty) {
        let invalid = || StorageError::invalid(format!("Invalid lifecycle condition '{name}': {value}"));
        let number = || value.as_i64().and_then(|days| i32::try_from(days).ok()).ok_or_else(invalid).map(Some);
        let texts = || {
            let items = value.as_array().ok_or_else(invalid)?;
            items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(invalid)).collect::<Result<Vec<_>, _>>()
        };
        match name.as_str() {
            "age" => condition.age_days = number()?,
            "isLive" => condition.is_live = Some(value.as_bool().ok_or_else(invalid)?),
            "numNewerVersions" => condition.num_newer_versions = number()?,
            "daysSinceCustomTime" => condition.days_since_custom_time = number()?,
            "daysSinceNoncurrentTime" => condition.days_since_noncurrent_time = number()?,
            "matchesStorageClass" => condition.matches_storage_class = texts()?,
            "matchesPrefix" => condition.matches_prefix = texts()?,
            "matchesSuffix" => condition.matches_suffix = texts()?,
            _ => return Err(StorageError::not_implemented(format!("the lifecycle condition `{name}`"))),
        }
    }
    Ok(condition)
}

/// To the JSON form.
pub(super) fn told(rules: &[Rule]) -> Value {
    let rules: Vec<Value> = rules.iter().map(told_rule).collect();
    json!({ "rule": rules })
}

fn told_rule(rule: &Rule) -> Value {
    let action = rule.action.clone().unwrap_or_default();
    let condition = rule.condition.clone().unwrap_or_default();
    let mut told = json!({ "action": { "type": action.r#type }, "condition": {} });
    if !action.storage_class.is_empty() {
        told["action"]["storageClass"] = action.storage_class.into();
    }
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            told["condition"][name] = value;
        }
    };
    let list = |texts: Vec<String>| (!texts.is_empty()).then(|| Value::from(texts));
    set("age", condition.age_days.map(Value::from));
    set("isLive", condition.is_live.map(Value::from));
    set("numNewerVersions", condition.num_newer_versions.map(Value::from));
    set("daysSinceCustomTime", condition.days_since_custom_time.map(Value::from));
    set("daysSinceNoncurrentTime", condition.days_since_noncurrent_time.map(Value::from));
    set("matchesStorageClass", list(condition.matches_storage_class));
    set("matchesPrefix", list(condition.matches_prefix));
    set("matchesSuffix", list(condition.matches_suffix));
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_survive_both_forms() {
        let rules = json!({ "rule": [{
            "action": { "type": "Delete" },
            "condition": { "age": 30, "isLive": false, "numNewerVersions": 5, "matchesPrefix": ["tenants/"] },
        }] });

        assert_eq!(told(&read(&rules).unwrap()), rules);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let unknown =
            json!({ "rule": [{ "action": { "type": "Delete" }, "condition": { "createdBefore": "2026-01-01" } }] });
        let no_action = json!({ "rule": [{ "action": { "type": "Archive" } }] });

        assert_eq!(read(&unknown).unwrap_err().http_status(), 501);
        assert_eq!(read(&no_action).unwrap_err().http_status(), 400);
    }
}
