//! Service specs as JSON (<https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Service>): made of parts,
//! given what the live one keeps, and told what Swarm's ids are. Pure.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::settings::Common;

/// A read-only file system needs some place to write.
const SCRATCH_BYTES: u64 = 64 << 20;
const RESTART_DELAY: Duration = Duration::from_millis(500);
/// The share of new tasks that may fail before Swarm takes an update back: one of six. A task may fail to start for
/// reasons of its node, and is started again; a bad version fails everywhere.
const FAILURES_MAX: f64 = 0.3;
/// A health check that takes longer has failed.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
const HEALTH_RETRIES: u32 = 3;
/// Where rolling activation puts the running rules.
const RULES: &str = "/config/logic.lua";

/// Whether a new task is started before or after its old one is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    StartFirst,
    StopFirst,
}

/// A replicated service whose tasks are always started again, and whose update is taken back if it fails.
pub(crate) struct ServiceParts {
    pub(crate) labels: Value,
    pub(crate) replicas: u16,
    pub(crate) container: Value,
    pub(crate) placement: Value,
    pub(crate) order: Order,
    /// How many tasks are replaced at once; 0 is all.
    pub(crate) parallelism: u16,
    pub(crate) port: Value,
}

impl ServiceParts {
    /// `program` is its path in the image, which answers `health`.
    pub(crate) fn spec(self, name: &str, program: &str, common: &Common) -> Value {
        let mut container = self.container;
        if !common.health.is_zero() {
            container["Healthcheck"] = json!({
                "Test": ["CMD", program, "health"],
                "Interval": nanoseconds(common.health),
                "Timeout": nanoseconds(HEALTH_TIMEOUT),
                "StartPeriod": nanoseconds(common.start),
                "Retries": HEALTH_RETRIES,
            });
        }
        let mut task = json!({
            "ContainerSpec": container,
            "Placement": self.placement,
            "RestartPolicy": { "Condition": "any", "Delay": nanoseconds(RESTART_DELAY) },
        });
        let mut limits = json!({});
        if let Some(cpus) = common.cpus {
            limits["NanoCPUs"] = json!(nanoseconds(Duration::from_secs_f64(cpus.clamp(0.01, 1024.0))));
        }
        if let Some(memory) = common.memory_mib {
            limits["MemoryBytes"] = json!(u64::from(memory) << 20);
        }
        if limits != json!({}) {
            task["Resources"] = json!({ "Limits": limits });
        }
        let order = match self.order {
            Order::StartFirst => "start-first",
            Order::StopFirst => "stop-first",
        };
        let how = json!({
            "Parallelism": self.parallelism,
            "Monitor": nanoseconds(common.monitor),
            "MaxFailureRatio": FAILURES_MAX,
            "Order": order,
        });
        let (mut update, mut rollback) = (how.clone(), how);
        update["FailureAction"] = json!("rollback");
        rollback["FailureAction"] = json!("pause");
        json!({
            "Name": name,
            "Labels": self.labels,
            "Mode": { "Replicated": { "Replicas": self.replicas } },
            "TaskTemplate": task,
            "UpdateConfig": update,
            "RollbackConfig": rollback,
            "EndpointSpec": { "Mode": "dnsrr", "Ports": [self.port] },
        })
    }
}

/// The secret `name` as the file `/run/secrets/FILE`, readable by `user` alone.
pub(crate) fn secret(name: &str, file: &str, user: u32) -> Value {
    let user = user.to_string();
    json!({ "SecretName": name, "File": { "Name": file, "UID": user, "GID": user, "Mode": 0o400 } })
}

/// The config `name` as the file at `path`, readable by all.
pub(crate) fn config(name: &str, path: &str) -> Value {
    json!({ "ConfigName": name, "File": { "Name": path, "UID": "0", "GID": "0", "Mode": 0o444 } })
}

/// A port on the task's own node: `published`, or a free one that Swarm chooses.
pub(crate) fn port(target: u16, published: Option<u16>) -> Value {
    let mut port = json!({ "Protocol": "tcp", "TargetPort": target, "PublishMode": "host" });
    if let Some(published) = published {
        port["PublishedPort"] = json!(published);
    }
    port
}

/// A path of the node in the container.
pub(crate) fn bind(source: &Path, target: &Path) -> Value {
    json!({ "Type": "bind", "Source": source, "Target": target })
}

/// A folder in memory.
pub(crate) fn scratch(target: &str) -> Value {
    json!({ "Type": "tmpfs", "Target": target, "TmpfsOptions": { "SizeBytes": SCRATCH_BYTES, "Mode": 0o1777 } })
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// `wanted` with what a deployment must keep of the live spec: the rules that rolling activation put there, and the
/// counter by which tasks were replaced without a change.
pub(crate) fn over(live: &Value, mut wanted: Value) -> Value {
    let rules = configs(live).find(|config| is_rules(config)).cloned();
    let configs: Vec<Value> = configs(&wanted).filter(|config| !is_rules(config)).cloned().chain(rules).collect();
    if !configs.is_empty() {
        wanted["TaskTemplate"]["ContainerSpec"]["Configs"] = Value::Array(configs);
    }
    match live.pointer("/TaskTemplate/ForceUpdate") {
        Some(force) => wanted["TaskTemplate"]["ForceUpdate"] = force.clone(),
        None => drop(wanted["TaskTemplate"].as_object_mut().map(|task| task.remove("ForceUpdate"))),
    }
    wanted
}

/// Ids by name, of secrets and of configs.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    pub(crate) secrets: BTreeMap<String, String>,
    pub(crate) configs: BTreeMap<String, String>,
}

/// Fills in the ids; gives the names that have none. What has an id already and no other known keeps it.
pub(crate) fn resolve(spec: &mut Value, ids: &Ids) -> Vec<String> {
    let mut missing = Vec::new();
    for (list, name, id, known) in
        [("Secrets", "SecretName", "SecretID", &ids.secrets), ("Configs", "ConfigName", "ConfigID", &ids.configs)]
    {
        let references = spec["TaskTemplate"]["ContainerSpec"].get_mut(list).and_then(Value::as_array_mut);
        for reference in references.into_iter().flatten() {
            let named = reference[name].as_str().unwrap_or_default().to_owned();
            match known.get(&named) {
                Some(found) => reference[id] = json!(found),
                None if reference.get(id).is_some_and(Value::is_string) => {}
                None => missing.push(named),
            }
        }
    }
    missing
}

/// `spec` without ids and without the running rules: what is worth keeping of it.
pub(crate) fn lasting(mut spec: Value) -> Value {
    let container = &mut spec["TaskTemplate"]["ContainerSpec"];
    for (list, id) in [("Secrets", "SecretID"), ("Configs", "ConfigID")] {
        if let Some(references) = container.get_mut(list).and_then(Value::as_array_mut) {
            references.retain(|reference| !is_rules(reference));
            references.iter_mut().filter_map(Value::as_object_mut).for_each(|fields| drop(fields.remove(id)));
        }
    }
    if let Some(task) = spec["TaskTemplate"].as_object_mut() {
        task.remove("ForceUpdate");
    }
    spec
}

/// Names of all secrets and configs that `spec` reads.
pub(crate) fn reads(spec: &Value) -> impl Iterator<Item = &str> {
    let secrets = spec.pointer("/TaskTemplate/ContainerSpec/Secrets").and_then(Value::as_array).into_iter().flatten();
    secrets.chain(configs(spec)).filter_map(|it| it.get("SecretName").or(it.get("ConfigName"))?.as_str())
}

/// Tag of the image.
pub(crate) fn image(spec: &Value) -> &str {
    spec.pointer("/TaskTemplate/ContainerSpec/Image").and_then(Value::as_str).unwrap_or_default()
}

/// How many tasks are wanted.
pub(crate) fn replicas(spec: &Value) -> u64 {
    spec.pointer("/Mode/Replicated/Replicas").and_then(Value::as_u64).unwrap_or(0)
}

fn configs(spec: &Value) -> impl Iterator<Item = &Value> {
    spec.pointer("/TaskTemplate/ContainerSpec/Configs").and_then(Value::as_array).into_iter().flatten()
}

fn is_rules(config: &Value) -> bool {
    config.pointer("/File/Name").is_some_and(|name| name == RULES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(configs: &[Value]) -> Value {
        json!({ "Name": "x", "TaskTemplate": { "ContainerSpec": { "Configs": configs } } })
    }

    fn rules(name: &str) -> Value {
        json!({ "ConfigName": name, "ConfigID": format!("id-{name}"), "File": { "Name": RULES } })
    }

    #[test]
    fn the_running_rules_stay_whatever_is_deployed() {
        let keys = config("keys", "/config/signing.pub");
        for (live, wanted, expected) in [
            (vec![keys.clone(), rules("r7")], vec![keys.clone()], vec![keys.clone(), rules("r7")]),
            (vec![keys.clone(), rules("r7")], vec![keys.clone(), rules("r3")], vec![keys.clone(), rules("r7")]),
            (vec![keys.clone()], vec![keys.clone(), rules("r3")], vec![keys.clone()]),
        ] {
            assert_eq!(over(&spec(&live), spec(&wanted)), spec(&expected));
        }
    }

    #[test]
    fn the_counter_of_forced_updates_is_the_live_one() {
        let mut live = spec(&[]);
        live["TaskTemplate"]["ForceUpdate"] = json!(3);

        assert_eq!(over(&live, spec(&[]))["TaskTemplate"]["ForceUpdate"], 3);
        assert_eq!(over(&spec(&[]), live)["TaskTemplate"].get("ForceUpdate"), None);
    }

    #[test]
    fn names_get_their_ids_and_names_without_one_are_told() {
        let ids = Ids { configs: [("keys".to_owned(), "k1".to_owned())].into(), ..Ids::default() };
        let mut spec = spec(&[config("keys", "/k"), config("gone", "/g")]);

        assert_eq!(resolve(&mut spec, &ids), ["gone"]);
        assert_eq!(spec["TaskTemplate"]["ContainerSpec"]["Configs"][0]["ConfigID"], "k1");
    }
}
