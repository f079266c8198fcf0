//! What would go wrong, told before anything is touched. Pure: facts in, faults out, each with what to do.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::image::archive::architecture;
use crate::model::{LABEL_STACK, Service, SwarmNode};
use crate::nodes::{Node, Role};
use crate::product::{Desired, Kind};
use crate::spec;

/// `swarmkit api/validation/secrets.go`: smaller than this.
const SECRET_BYTES: usize = 500 << 10;
/// Measured: 1,024,000 bytes are refused.
const CONFIG_BYTES: usize = 1_024_000;
/// Docker 20.10, the oldest that was tried.
const API_LEAST: (u32, u32) = (1, 41);

/// A node's engine as it was found.
pub(crate) struct Found<'a> {
    pub(crate) node: &'a Node,
    pub(crate) id: &'a str,
    pub(crate) api: &'a str,
    pub(crate) os: &'a str,
    pub(crate) architecture: &'a str,
}

/// Everything that is checked.
pub(crate) struct Facts<'a> {
    pub(crate) desired: &'a Desired,
    pub(crate) found: &'a [Found<'a>],
    /// Name and reason.
    pub(crate) unreachable: &'a [(String, String)],
    pub(crate) swarm: &'a [SwarmNode],
    pub(crate) services: &'a [Service],
}

/// All faults; none means that a deployment can begin.
pub(crate) fn faults(facts: &Facts) -> Vec<String> {
    let mut faults = Vec::new();
    for (node, reason) in facts.unreachable {
        faults.push(format!(
            "the engine of node `{node}` can't be reached ({reason}); start it, or take the node out of the list"
        ));
    }
    for found in facts.found {
        engine(found, &mut faults);
    }
    members(facts, &mut faults);
    files(facts.desired, &mut faults);
    for wanted in &facts.desired.services {
        service(facts, &wanted.name, &wanted.spec, &mut faults);
    }
    faults
}

fn engine(found: &Found, faults: &mut Vec<String>) {
    let name = &found.node.name;
    let version = || {
        let (major, minor) = found.api.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    };
    if version().is_none_or(|version| version < API_LEAST) {
        let (major, minor) = API_LEAST;
        faults.push(format!(
            "the engine of node `{name}` speaks API {}, older than {major}.{minor}; upgrade Docker there to 20.10 or newer",
            found.api
        ));
    }
    // Engines name it as the kernel does, images as Go does.
    let has = match found.architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    if found.os != "linux" || has != architecture() {
        faults.push(format!(
            "node `{name}` runs {}/{has}, the images are made for linux/{}; deploy from a machine of its kind",
            found.os,
            architecture()
        ));
    }
}

fn members(facts: &Facts, faults: &mut Vec<String>) {
    let known: BTreeSet<&str> = facts.found.iter().map(|found| found.id).collect();
    for found in facts.found {
        let name = &found.node.name;
        match facts.swarm.iter().find(|member| member.id == found.id) {
            None => faults.push(format!("node `{name}` is not a member of this Swarm; join it (`docker swarm join`)")),
            Some(member) if !member.is_ready() => faults.push(format!(
                "the Swarm says of node `{name}`: {}; restart its engine, or remove the node from Swarm and list",
                member.status["State"].as_str().unwrap_or("nothing")
            )),
            Some(member) if member.is_manager() != (found.node.role == Role::Manager) => faults.push(format!(
                "node `{name}` is listed as {} and is a {} in the Swarm; promote or demote it, or correct the list",
                found.node.role,
                member.spec["Role"].as_str().unwrap_or("nothing")
            )),
            Some(_) => {}
        }
    }
    let unreachable: BTreeSet<&str> = facts.unreachable.iter().map(|(name, _)| name.as_str()).collect();
    for member in facts.swarm.iter().filter(|member| !known.contains(member.id.as_str())) {
        if member.is_active() && member.is_ready() && !unreachable.contains(member.name()) {
            faults.push(format!(
                "the Swarm has a node `{0}` that is not listed: it would get tasks but no images; list it, or drain it \
                 (`docker node update --availability drain {0}`)",
                member.name()
            ));
        }
    }
    let managers: Vec<_> = facts.swarm.iter().filter(|member| member.is_manager()).collect();
    let reachable = managers.iter().filter(|member| member.manager_status["Reachability"] == "reachable").count();
    if reachable * 2 <= managers.len() {
        faults.push(format!(
            "{reachable} of {} Swarm managers are reachable, which is no majority: the Swarm takes no orders; bring one back",
            managers.len()
        ));
    }
}

fn files(desired: &Desired, faults: &mut Vec<String>) {
    for file in &desired.files {
        let (most, what) = match file.kind {
            Kind::Secret => (SECRET_BYTES, "secret"),
            Kind::Config => (CONFIG_BYTES, "config"),
        };
        let (name, bytes) = (&file.name, file.content.len());
        if bytes == 0 {
            faults.push(format!("{what} `{name}` is empty; put its content into the secrets' folder"));
        } else if bytes >= most {
            faults.push(format!(
                "{what} `{name}` has {bytes} bytes, Swarm takes less than {most}; is it the right file?"
            ));
        }
    }
}

fn service(facts: &Facts, name: &str, wanted: &Value, faults: &mut Vec<String>) {
    let placement = &wanted["TaskTemplate"]["Placement"];
    let constraints: Vec<&str> =
        placement["Constraints"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let takes = |member: &&SwarmNode| {
        let role = member.spec["Role"].as_str().unwrap_or_default();
        // The others (labels, names) are left to Swarm: a task that no node takes is told while converging.
        let kept = |constraint: &&str| match constraint.replace(' ', "").split_once("node.role==") {
            Some((_, wanted)) => wanted == role,
            None => true,
        };
        member.is_ready() && member.is_active() && constraints.iter().all(kept)
    };
    let nodes = facts.swarm.iter().filter(takes).count() as u64;
    let replicas = spec::replicas(wanted);
    let starts_first = wanted["UpdateConfig"]["Order"] == "start-first";
    let ports = wanted["EndpointSpec"]["Ports"].as_array().into_iter().flatten();
    let fixed: Vec<u64> =
        ports.filter(|port| port["PublishMode"] == "host").filter_map(|port| port["PublishedPort"].as_u64()).collect();

    if nodes == 0 {
        faults.push(format!("no node that is ready and active may run service `{name}` ({})", constraints.join(", ")));
        return;
    }
    for &port in &fixed {
        if starts_first {
            faults.push(format!(
                "service `{name}` starts a new task before it stops the old one and holds port {port} of the node: the new \
                 task would wait for that port for ever; set the order to stop-first, or don't publish a fixed port"
            ));
        }
        if replicas > nodes {
            faults.push(format!("{replicas} tasks of service `{name}` want port {port}, each of a node of its own, and there are {nodes} nodes"));
        }
        for other in facts.services.iter().filter(|other| other.name() != name && publishes(other, port)) {
            faults.push(format!(
                "port {port} of service `{name}` is held by service `{}` (stack {}); choose another port, or remove that service",
                other.name(),
                other.label(LABEL_STACK).unwrap_or("none")
            ));
        }
    }
    if let Some(most) = placement["MaxReplicas"].as_u64().filter(|&most| most > 0) {
        let at_once = match wanted["UpdateConfig"]["Parallelism"].as_u64().unwrap_or(0) {
            _ if !starts_first => 0,
            0 => replicas,
            some => some.min(replicas),
        };
        if replicas + at_once > most * nodes {
            faults.push(format!(
                "service `{name}` needs room for {replicas} tasks and {at_once} new ones beside them, and {nodes} nodes take \
                 {most} each; add nodes, raise `max_per_node`, or replace fewer at once (`parallelism`)"
            ));
        }
    }
}

fn publishes(service: &Service, port: u64) -> bool {
    let ports = service.spec["EndpointSpec"]["Ports"].as_array();
    ports.into_iter().flatten().any(|it| it["PublishedPort"].as_u64() == Some(port))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::product::tests::{nodes, product};

    fn member(n: u8, role: &str) -> SwarmNode {
        serde_json::from_value(json!({
            "ID": format!("id{n}"), "Version": { "Index": 1 },
            "Spec": { "Role": role, "Availability": "active" },
            "Description": { "Hostname": format!("n{n}") },
            "Status": { "State": "ready" },
            "ManagerStatus": if role == "manager" { json!({ "Reachability": "reachable" }) } else { json!(null) },
        }))
        .unwrap()
    }

    struct World {
        nodes: Vec<Node>,
        swarm: Vec<SwarmNode>,
        desired: Desired,
        api: &'static str,
        architecture: &'static str,
        unreachable: Vec<(String, String)>,
        services: Vec<Service>,
    }

    impl World {
        fn new() -> Self {
            Self {
                nodes: nodes(),
                swarm: vec![member(1, "manager"), member(2, "worker"), member(3, "worker")],
                desired: product().desired(&nodes()),
                api: "1.41",
                architecture: std::env::consts::ARCH,
                unreachable: vec![],
                services: vec![],
            }
        }

        fn faults(&self) -> String {
            let ids: Vec<String> = (1..=self.nodes.len()).map(|n| format!("id{n}")).collect();
            let found = |(node, id)| Found { node, id, api: self.api, os: "linux", architecture: self.architecture };
            let found: Vec<Found> = self.nodes.iter().zip(ids.iter().map(String::as_str)).map(found).collect();
            let Self { desired, unreachable, swarm, services, .. } = self;
            faults(&Facts { desired, found: &found, unreachable, swarm, services }).join("\n")
        }

        fn executor(&mut self) -> &mut Value {
            &mut self.desired.services[1].spec
        }
    }

    #[test]
    fn a_sound_world_has_no_faults() {
        assert_eq!(World::new().faults(), "");
    }

    #[test]
    fn a_fixed_port_is_refused_where_new_tasks_start_first() {
        let mut world = World::new();
        world.executor()["EndpointSpec"]["Ports"][0]["PublishedPort"] = json!(7701);
        insta::assert_snapshot!(world.faults());
    }

    #[test]
    fn tasks_need_room_also_while_they_are_replaced() {
        let mut world = World::new();
        world.executor()["TaskTemplate"]["Placement"]["MaxReplicas"] = json!(2);
        insta::assert_snapshot!(world.faults());
    }

    #[test]
    fn files_that_swarm_would_refuse_are_told() {
        let mut world = World::new();
        world.desired.files[0].content = vec![0; SECRET_BYTES];
        world.desired.files[1].content = vec![];
        world.desired.files[4].content = vec![0; CONFIG_BYTES];
        for file in &mut world.desired.files {
            file.name = file.name.rsplit_once('-').unwrap().0.to_owned();
        }
        insta::assert_snapshot!(world.faults());
    }

    #[test]
    fn nodes_that_are_not_what_they_should_be_are_told() {
        let mut world = World::new();
        world.swarm[1].status = json!({ "State": "down" });
        world.swarm[2].spec["Role"] = json!("manager");
        world.swarm.push(member(4, "worker"));
        world.unreachable.push(("n9".into(), "connection refused".into()));
        insta::assert_snapshot!(world.faults());
    }

    #[test]
    fn old_engines_and_other_machines_are_told() {
        let mut world = World::new();
        world.nodes.truncate(1);
        world.swarm.truncate(1);
        (world.api, world.architecture) = ("1.40", "riscv64");
        world.executor()["TaskTemplate"]["Placement"] = json!({});
        let told = world.faults().replace(architecture(), "[ours]");
        insta::assert_snapshot!(told);
    }

    #[test]
    fn a_port_that_another_stack_holds_is_told() {
        let mut world = World::new();
        let other = json!({ "ID": "s", "Version": { "Index": 1 }, "Spec": {
            "Name": "blue-manager", "Labels": { "moonswarm.stack": "blue" },
            "EndpointSpec": { "Ports": [{ "PublishedPort": 7700 }] },
        }});
        world.services.push(serde_json::from_value(other).unwrap());
        insta::assert_snapshot!(world.faults());
    }
}
