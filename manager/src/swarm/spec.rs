//! A service's spec: putting our config into it, and telling specs that can't be rolled. Pure.
//!
//! A spec is JSON as the engine gave it. An update replaces the whole spec, so all that is not ours goes back as it
//! came, also what this program has never heard of.

use serde_json::{Value, json};

/// Where executors look for the release (the founding path).
pub(super) const TARGET: &str = "/config/logic.lua";

const CONFIGS: &str = "/TaskTemplate/ContainerSpec/Configs";

/// A config as a spec names it: the engine wants both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) id: String,
    pub(super) name: String,
}

/// Why the tasks of a service can't be moved to a release.
#[derive(Debug, thiserror::Error)]
pub enum UnfitService {
    /// A plugin or network attachment has no files.
    #[error("service `{0}` does not run containers, so it can't be given a release; name the service of the executors")]
    NoContainers(String),
    /// A new task waits for the port that the old one gives up only after the new one runs.
    #[error(
        "service `{service}` starts a new task before it stops the old one (`order: start-first`) and holds port {port} \
         of the node (`mode: host`): the new task would wait for that port for ever; \
         set `order: stop-first`, or do not publish a fixed port in host mode"
    )]
    PortHeldByOldTask {
        /// The service.
        service: String,
        /// The fixed port on the node.
        port: u64,
    },
}

/// `spec` with the config `reference` at [`TARGET`], in the place of the one that is there now. All else is kept, also
/// the order of other configs. None if the service does not run containers.
pub(super) fn with_config(mut spec: Value, reference: &Reference) -> Option<Value> {
    let container = spec.pointer_mut("/TaskTemplate/ContainerSpec")?.as_object_mut()?;
    let ours = json!({
        "File": { "Name": TARGET, "UID": "0", "GID": "0", "Mode": 0o444 },
        "ConfigID": reference.id,
        "ConfigName": reference.name,
    });
    let mut configs = match container.remove("Configs") {
        Some(Value::Array(configs)) => configs,
        _ => Vec::new(),
    };
    let place = configs.iter().position(is_at_target).unwrap_or(configs.len());
    configs.retain(|config| !is_at_target(config));
    configs.insert(place, ours);
    container.insert("Configs".to_owned(), Value::Array(configs));
    Some(spec)
}

/// The config at [`TARGET`]: its id.
pub(super) fn config_at_target(spec: &Value) -> Option<&str> {
    configs(spec).find(|config| is_at_target(config))?.get("ConfigID")?.as_str()
}

/// Ids of all configs that `spec` names.
pub(super) fn config_ids(spec: &Value) -> impl Iterator<Item = &str> {
    configs(spec).filter_map(|config| config.get("ConfigID")?.as_str())
}

/// The service's name.
pub(super) fn name(spec: &Value) -> &str {
    spec.get("Name").and_then(Value::as_str).unwrap_or_default()
}

/// A label of the service.
pub(super) fn label<'a>(spec: &'a Value, key: &str) -> Option<&'a str> {
    spec.get("Labels")?.get(key)?.as_str()
}

/// How many tasks are wanted; None where Swarm decides by the number of nodes.
pub(super) fn replicas(spec: &Value) -> Option<u64> {
    spec.pointer("/Mode/Replicated/Replicas")?.as_u64()
}

/// Whether a service of this spec can be rolled, and what an operator should know before.
///
/// # Errors
/// [`UnfitService`] where an update would never end.
pub(super) fn lint(spec: &Value) -> Result<Vec<String>, UnfitService> {
    let service = name(spec).to_owned();
    if !spec.pointer("/TaskTemplate/ContainerSpec").is_some_and(Value::is_object) {
        return Err(UnfitService::NoContainers(service));
    }
    let setting =
        |key| spec.get("UpdateConfig").and_then(|update| update.get(key)?.as_str()).filter(|it| !it.is_empty());
    // Swarm's defaults: `stop-first` and `pause`.
    if setting("Order") == Some("start-first")
        && let Some(port) = fixed_host_port(spec)
    {
        return Err(UnfitService::PortHeldByOldTask { service, port });
    }
    let mut warnings = Vec::new();
    let action = setting("FailureAction").unwrap_or("pause");
    if action != "rollback" {
        warnings.push(format!(
            "service `{service}` has `failure_action: {action}`: if executors fail to start with the release, \
             two releases keep answering; set `failure_action: rollback`"
        ));
    }
    Ok(warnings)
}

fn fixed_host_port(spec: &Value) -> Option<u64> {
    let ports = spec.pointer("/EndpointSpec/Ports")?.as_array()?;
    let in_host_mode = ports.iter().filter(|port| port.get("PublishMode").is_some_and(|mode| mode == "host"));
    in_host_mode.filter_map(|port| port.get("PublishedPort")?.as_u64()).find(|&port| port != 0)
}

fn configs(spec: &Value) -> impl Iterator<Item = &Value> {
    spec.pointer(CONFIGS).and_then(Value::as_array).into_iter().flatten()
}

fn is_at_target(config: &Value) -> bool {
    config.pointer("/File/Name").is_some_and(|name| name == TARGET)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference() -> Reference {
        Reference { id: "new".into(), name: "moonswarm-dev-1".into() }
    }

    fn config(id: &str, target: &str) -> Value {
        json!({ "ConfigID": id, "ConfigName": id, "File": { "Name": target, "UID": "7", "GID": "7", "Mode": 0o400 } })
    }

    fn service(configs: Value) -> Value {
        json!({
            "Name": "executor",
            "Labels": { "team": "risk" },
            "TaskTemplate": {
                "ContainerSpec": { "Image": "executor:1", "Secrets": [{ "SecretID": "s" }], "Configs": configs },
                "ForceUpdate": 3,
                "FieldOfALaterEngine": { "kept": true },
            },
            "Mode": { "Replicated": { "Replicas": 6 } },
            "UpdateConfig": { "Order": "start-first", "FailureAction": "rollback", "MaxFailureRatio": 0.25 },
        })
    }

    #[test]
    fn our_config_is_replaced_in_its_place_and_others_stay() {
        let spec = service(json!([config("a", "/a"), config("old", TARGET), config("runtime", "/z")]));

        let updated = with_config(spec, &reference()).unwrap();

        let ids: Vec<_> = config_ids(&updated).collect();
        assert_eq!(ids, ["a", "new", "runtime"]);
        assert_eq!(updated.pointer("/TaskTemplate/ContainerSpec/Configs/0").unwrap(), &config("a", "/a"));
        assert_eq!(config_at_target(&updated), Some("new"));
        insta::assert_snapshot!(
            updated.pointer("/TaskTemplate/ContainerSpec/Configs/1").unwrap(),
            @r#"{"ConfigID":"new","ConfigName":"moonswarm-dev-1","File":{"GID":"0","Mode":292,"Name":"/config/logic.lua","UID":"0"}}"#
        );
    }

    #[test]
    fn nothing_but_the_configs_changes_not_even_what_is_unknown() {
        let before = service(json!([config("old", TARGET)]));

        let mut after = with_config(before.clone(), &reference()).unwrap();

        *after.pointer_mut(CONFIGS).unwrap() = before.pointer(CONFIGS).unwrap().clone();
        assert_eq!(after, before);
    }

    #[test]
    fn a_service_without_our_config_gets_it_last() {
        for (configs, expected) in [
            (json!(null), vec!["new"]),
            (json!([]), vec!["new"]),
            (json!([config("a", "/a"), { "Runtime": {}, "ConfigID": "b" }]), vec!["a", "b", "new"]),
        ] {
            let updated = with_config(service(configs), &reference()).unwrap();
            assert_eq!(config_ids(&updated).collect::<Vec<_>>(), expected);
        }
        let without_field = json!({ "TaskTemplate": { "ContainerSpec": {} } });
        assert_eq!(config_at_target(&with_config(without_field, &reference()).unwrap()), Some("new"));
        assert_eq!(with_config(json!({ "TaskTemplate": { "PluginSpec": {} } }), &reference()), None);
    }

    #[test]
    fn doing_it_twice_is_doing_it_once() {
        let once = with_config(service(json!([config("old", TARGET)])), &reference()).unwrap();
        assert_eq!(with_config(once.clone(), &reference()).unwrap(), once);
    }

    #[test]
    fn a_fixed_host_port_is_refused_only_where_new_tasks_start_first() {
        let port = |mode: &str, published: u64| json!([{ "PublishMode": mode, "PublishedPort": published }]);
        for (order, ports, refused) in [
            ("start-first", port("host", 8080), true),
            ("start-first", port("host", 0), false),
            ("start-first", json!([{ "PublishMode": "host", "TargetPort": 8080 }]), false),
            ("start-first", port("ingress", 8080), false),
            ("start-first", json!(null), false),
            ("stop-first", port("host", 8080), false),
            ("", port("host", 8080), false),
        ] {
            let mut spec = service(json!([]));
            spec["UpdateConfig"]["Order"] = json!(order);
            spec["EndpointSpec"] = json!({ "Ports": ports });
            assert_eq!(lint(&spec).is_err(), refused, "{order} {ports}");
        }
    }

    #[test]
    fn refusals_and_warnings_say_what_to_set() {
        let mut spec = service(json!([]));
        assert_eq!(lint(&spec).unwrap(), Vec::<String>::new());

        spec["UpdateConfig"] = json!(null);
        insta::assert_snapshot!(
            lint(&spec).unwrap().join("\n"),
            @"service `executor` has `failure_action: pause`: if executors fail to start with the release, two releases keep answering; set `failure_action: rollback`"
        );

        spec["UpdateConfig"] = json!({ "Order": "start-first" });
        spec["EndpointSpec"] = json!({ "Ports": [{ "PublishMode": "host", "PublishedPort": 7701 }] });
        insta::assert_snapshot!(
            lint(&spec).unwrap_err(),
            @"service `executor` starts a new task before it stops the old one (`order: start-first`) and holds port 7701 of the node (`mode: host`): the new task would wait for that port for ever; set `order: stop-first`, or do not publish a fixed port in host mode"
        );

        spec["TaskTemplate"] = json!({ "PluginSpec": {} });
        assert!(matches!(lint(&spec), Err(UnfitService::NoContainers(_))));
    }
}
