//! The product on the nodes: deployed, looked at, hurt, removed.

use std::collections::HashMap;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use bollard::Docker;
use bollard::models::{Task, TaskSpecContainerSpecConfigs, TaskState};
use bollard::query_parameters::{
    InspectServiceOptions, KillContainerOptions, ListContainersOptionsBuilder, ListNodesOptions,
    ListTasksOptionsBuilder,
};
use deploy::image::ImageArchive;
use deploy::product::{EXECUTOR, MANAGER};
use deploy::{Applied, Cluster, DeployError, Event, Plan, Product, Session, Who};
use futures_util::future::join_all;

use super::nodes::Nodes;
use crate::client::install_crypto;
use crate::wait::Patience;

/// A node answers within microseconds; one that was killed never.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A running task, and where it can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The task in Swarm.
    pub task: String,
    /// Its container in the node's engine.
    pub container: String,
    /// Name of its node, `n2`.
    pub node: String,
    /// `http://ADDRESS:PORT`, reachable from this machine.
    pub url: String,
}

/// A deployed product.
#[derive(Debug)]
pub struct Deployment {
    swarm: Docker,
    /// By id in Swarm.
    members: Members,
    nodes: Vec<deploy::Node>,
    stack: String,
    executors: usize,
    manager_url: String,
    log: PathBuf,
    client: reqwest::Client,
}

impl Deployment {
    /// Deploys the product as an operator would. Returns when every task of it works.
    ///
    /// # Errors
    /// The deployment fails; the error says why.
    pub async fn create(nodes: &Nodes, product: &Product, images: &[ImageArchive], log: &Path) -> Result<Self> {
        install_crypto();
        let swarm = nodes.manager().docker().clone();
        let deployment = Self {
            members: members(nodes, &swarm).await?,
            swarm,
            nodes: nodes.as_deployed(),
            stack: product.stack.clone(),
            executors: usize::from(product.settings.executor.replicas),
            manager_url: format!("http://{}:{}", nodes.manager().address(), product.settings.manager.port),
            log: log.to_owned(),
            client: reqwest::Client::builder().build().context("make an HTTP client")?,
        };
        deployment.apply(product, images).await?;
        Ok(deployment)
    }

    /// Deploys another state of the product over this one.
    ///
    /// # Errors
    /// As the deployment's.
    pub async fn apply(&self, product: &Product, images: &[ImageArchive]) -> Result<Applied, DeployError> {
        let cluster = Cluster::connect(&self.nodes).await?;
        let report = |event: Event| self.note(&event);
        Session::new(&cluster, &self.stack, &report).apply(product, images, &who("apply")).await
    }

    /// What a deployment of `product` would change.
    ///
    /// # Errors
    /// Swarm does not answer.
    pub async fn plan(&self, product: &Product) -> Result<Plan, DeployError> {
        let cluster = Cluster::connect(&self.nodes).await?;
        Session::new(&cluster, &self.stack, &|_| ()).plan(product).await
    }

    /// Goes back to a former deployment.
    ///
    /// # Errors
    /// As the deployment's.
    pub async fn rollback(&self, number: Option<u64>, deadline: Duration) -> Result<Applied, DeployError> {
        let cluster = Cluster::connect(&self.nodes).await?;
        let report = |event: Event| self.note(&event);
        Session::new(&cluster, &self.stack, &report).rollback(number, deadline, None, &who("rollback")).await
    }

    /// Takes all tasks off a node, or gives it some again.
    ///
    /// # Errors
    /// As the deployment's.
    pub async fn drain(&self, node: &str, back: bool, deadline: Duration) -> Result<(), DeployError> {
        let cluster = Cluster::connect(&self.nodes).await?;
        let report = |event: Event| self.note(&event);
        Session::new(&cluster, &self.stack, &report).drain(node, back, deadline, &who("drain")).await
    }

    /// Spreads the executors evenly.
    ///
    /// # Errors
    /// As the deployment's.
    pub async fn rebalance(&self, deadline: Duration) -> Result<Applied, DeployError> {
        let cluster = Cluster::connect(&self.nodes).await?;
        let report = |event: Event| self.note(&event);
        Session::new(&cluster, &self.stack, &report).rebalance(deadline, &who("rebalance")).await
    }

    /// The name of the config that holds the rules of the last rolling activation.
    ///
    /// # Errors
    /// Swarm does not answer.
    pub async fn rules(&self) -> Result<Option<String>> {
        let service = self.swarm.inspect_service(&self.service(EXECUTOR), None::<InspectServiceOptions>).await?;
        let container = service.spec.and_then(|spec| spec.task_template?.container_spec);
        let configs = container.and_then(|container| container.configs).unwrap_or_default();
        let is_rules = |config: &TaskSpecContainerSpecConfigs| {
            config.file.as_ref().and_then(|file| file.name.as_deref()) == Some("/config/logic.lua")
        };
        Ok(configs.into_iter().find(is_rules).and_then(|config| config.config_name))
    }

    fn service(&self, role: &str) -> String {
        format!("{}-{role}", self.stack)
    }

    /// What a deployment tells goes into the run's folder.
    fn note(&self, event: &Event) {
        let opened = std::fs::OpenOptions::new().create(true).append(true).open(&self.log);
        // A log that can't be written must not end a run.
        let _ = opened.and_then(|mut log| writeln!(log, "{event}"));
    }

    /// The manager's API and feed, which stay at this URL when the manager's task is replaced.
    pub fn manager_url(&self) -> &str {
        &self.manager_url
    }

    /// The executors that run and have a port, by node and URL.
    ///
    /// # Errors
    /// Swarm does not answer.
    pub async fn executors(&self) -> Result<Vec<Endpoint>> {
        self.endpoints(&self.service(EXECUTOR)).await
    }

    /// The manager's task, if one runs.
    ///
    /// # Errors
    /// Swarm does not answer.
    pub async fn manager(&self) -> Result<Option<Endpoint>> {
        Ok(self.endpoints(&self.service(MANAGER)).await?.pop())
    }

    /// Waits until the manager and as many executors as there should be run and answer `/readyz` with 200.
    ///
    /// # Errors
    /// They don't within `deadline`; the error tells the last state of each task, with the errors that Swarm gives.
    pub async fn until_ready(&self, deadline: Duration) -> Result<Vec<Endpoint>> {
        let patience = Patience::new(format!("the manager and {} executors are ready", self.executors), deadline);
        loop {
            match self.all_ready().await {
                Ok(executors) => return Ok(executors),
                Err(last) => patience.again(last).await?,
            }
        }
    }

    /// The executors if all of them and the manager are ready; otherwise who is not.
    async fn all_ready(&self) -> Result<Vec<Endpoint>, String> {
        let executors = self.executors().await.map_err(|error| format!("{error:#}"))?;
        if executors.len() != self.executors {
            return Err(format!("{} executors run; tasks:\n{}", executors.len(), self.task_states().await));
        }
        let urls = executors.iter().map(|executor| &executor.url).chain([&self.manager_url]);
        let looks: Vec<_> = urls.map(|url| ready(self.client.clone(), format!("{url}/readyz"))).collect();
        let unready: Vec<String> = join_all(looks).await.into_iter().filter_map(Result::err).collect();
        if unready.is_empty() { Ok(executors) } else { Err(unready.join(", ")) }
    }

    /// The executors that are ready now, as `HOST:PORT`; their number says nothing.
    ///
    /// # Errors
    /// Swarm does not answer.
    pub async fn ready_executors(&self) -> Result<Vec<String>> {
        let urls: Vec<String> = self.executors().await?.into_iter().map(|executor| executor.url).collect();
        let looks = urls.iter().map(|url| ready(self.client.clone(), format!("{url}/readyz")));
        let ready = join_all(looks).await;
        let both = urls.iter().zip(ready).filter(|(_, ready)| ready.is_ok());
        Ok(both.map(|(url, _)| url.trim_start_matches("http://").to_owned()).collect())
    }

    /// Kills the container of a task, as a crash would. Swarm starts another task.
    ///
    /// # Errors
    /// The node is unknown, or its engine refuses.
    pub async fn kill(&self, nodes: &Nodes, endpoint: &Endpoint) -> Result<()> {
        let docker = nodes.node(&endpoint.node)?.docker();
        let killed = docker.kill_container(&endpoint.container, None::<KillContainerOptions>).await;
        killed.with_context(|| format!("kill container {} on node {}", endpoint.container, endpoint.node))
    }

    /// The tasks that Swarm remembers, one a line with node, state and error, without those it ended in good order:
    /// `docker service ps --no-trunc`.
    pub(super) async fn task_states(&self) -> String {
        let mut all = Vec::new();
        for service in [MANAGER, EXECUTOR].map(|role| self.service(role)) {
            let tasks = tasks(&self.swarm, &service, false).await;
            all.push(tasks.map_or_else(
                |error| format!("{service}: {error:#}"),
                |tasks| describe(&service, &self.members, &tasks),
            ));
        }
        all.join("\n")
    }

    async fn endpoints(&self, service: &str) -> Result<Vec<Endpoint>> {
        let tasks = tasks(&self.swarm, service, true).await?;
        let found = join_all(tasks.into_iter().map(|task| endpoint(&self.members, task))).await;
        let mut endpoints: Vec<Endpoint> = found.into_iter().flatten().collect();
        endpoints.sort_by(|one, other| (&one.node, &one.url).cmp(&(&other.node, &other.url)));
        Ok(endpoints)
    }
}

fn who(message: &str) -> Who {
    Who { holder: "e2e".to_owned(), message: message.to_owned() }
}

/// A node as a member of the Swarm.
#[derive(Debug)]
struct Member {
    name: String,
    address: Ipv4Addr,
    docker: Docker,
}

/// Members by their id in Swarm.
type Members = HashMap<String, Member>;

async fn members(nodes: &Nodes, swarm: &Docker) -> Result<Members> {
    let listed = swarm.list_nodes(None::<ListNodesOptions>).await.context("list the Swarm's nodes")?;
    let member = |listed: bollard::models::Node| {
        let node = nodes.node(&listed.description?.hostname?).ok()?;
        let member = Member { name: node.name().to_owned(), address: node.address(), docker: node.docker().clone() };
        Some((listed.id?, member))
    };
    Ok(listed.into_iter().filter_map(member).collect())
}

async fn tasks(swarm: &Docker, service: &str, wanted_only: bool) -> Result<Vec<Task>> {
    let mut filters = HashMap::from([("service".to_owned(), vec![service.to_owned()])]);
    if wanted_only {
        filters.insert("desired-state".to_owned(), vec!["running".to_owned()]);
    }
    let options = ListTasksOptionsBuilder::default().filters(&filters).build();
    swarm.list_tasks(Some(options)).await.with_context(|| format!("list the tasks of service `{service}`"))
}

/// Where a task is reached, once it runs.
async fn endpoint(members: &Members, task: Task) -> Option<Endpoint> {
    let status = task.status?;
    if status.state != Some(TaskState::RUNNING) {
        return None;
    }
    let member = members.get(&task.node_id?)?;
    let container = status.container_status?.container_id?;
    let told = status.port_status.and_then(|status| status.ports).unwrap_or_default();
    let port = match told.into_iter().find_map(|port| u16::try_from(port.published_port?).ok()) {
        Some(port) => port,
        None => published_port(member, &container).await?,
    };
    let url = format!("http://{}:{port}", member.address);
    Some(Endpoint { task: task.id?, container, node: member.name.clone(), url })
}

/// The port as the node's own engine knows it. After its manager was killed and came back, Swarm tells of some running
/// tasks that they have no ports (seen with 20.10), although they do.
async fn published_port(member: &Member, container: &str) -> Option<u16> {
    let filters = HashMap::from([("id".to_owned(), vec![container.to_owned()])]);
    let options = ListContainersOptionsBuilder::default().filters(&filters).build();
    // A paused node does not answer.
    let listed = tokio::time::timeout(ANSWER_WITHIN, member.docker.list_containers(Some(options))).await.ok()?.ok()?;
    listed.into_iter().filter_map(|container| container.ports).flatten().find_map(|port| port.public_port)
}

fn describe(service: &str, members: &Members, tasks: &[Task]) -> String {
    let line = |task: &Task| {
        let status = task.status.clone().unwrap_or_default();
        let state = status.state.map_or_else(|| "unknown".to_owned(), |state| state.to_string());
        let reason = status.err.or(status.message).unwrap_or_default();
        let exit = status.container_status.and_then(|container| container.exit_code).filter(|code| *code != 0);
        if status.state == Some(TaskState::SHUTDOWN) && exit.is_none() {
            return None;
        }
        let exit = exit.map(|code| format!(", exit code {code}")).unwrap_or_default();
        let node = task.node_id.as_ref().and_then(|id| members.get(id)).map_or("no node", |member| &member.name);
        Some(format!("{service}.{} on {node} {state}: {reason}{exit}", task.slot.unwrap_or_default()))
    };
    let mut lines: Vec<String> = tasks.iter().filter_map(line).collect();
    lines.sort();
    lines.join("\n")
}

/// Whether `url` is answered with 200; otherwise what came instead.
async fn ready(client: reqwest::Client, url: String) -> Result<(), String> {
    match client.get(&url).timeout(ANSWER_WITHIN).send().await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => {
            let status = answer.status();
            Err(format!("{url}: {status} {}", answer.text().await.unwrap_or_default()))
        }
        Err(error) => Err(format!("{error:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(state: &str, port: Option<u16>) -> Task {
        serde_json::from_value(serde_json::json!({
            "ID": "task1",
            "NodeID": "node2",
            "Slot": 3,
            "Status": {
                "State": state,
                "Message": "started",
                "Err": if state == "failed" { Some("task: non-zero exit (2)") } else { None },
                "ContainerStatus": { "ContainerID": "container1", "ExitCode": if state == "failed" { 2 } else { 0 } },
                "PortStatus": { "Ports": [{ "TargetPort": 7701, "PublishedPort": port }] },
            },
        }))
        .unwrap()
    }

    fn members() -> Members {
        // Nobody listens there, as on a node that was killed.
        let docker = Docker::connect_with_http("http://127.0.0.1:1", 1, bollard::API_DEFAULT_VERSION).unwrap();
        let member = Member { name: "n2".to_owned(), address: Ipv4Addr::new(10, 213, 0, 12), docker };
        HashMap::from([("node2".to_owned(), member)])
    }

    #[tokio::test]
    async fn a_running_task_with_a_port_is_an_endpoint() {
        let found = endpoint(&members(), task("running", Some(32768))).await.unwrap();

        assert_eq!(found.url, "http://10.213.0.12:32768");
        assert_eq!((found.node.as_str(), found.container.as_str()), ("n2", "container1"));
    }

    #[tokio::test]
    async fn a_task_that_is_not_there_yet_is_none() {
        assert_eq!(endpoint(&members(), task("starting", Some(32768))).await, None);
        assert_eq!(endpoint(&members(), task("running", None)).await, None);
        assert_eq!(endpoint(&Members::new(), task("running", Some(32768))).await, None);
    }

    #[test]
    fn a_failed_task_is_told_with_its_reason_and_an_ended_one_is_not() {
        let tasks = [task("running", Some(1)), task("failed", None), task("shutdown", None)];

        insta::assert_snapshot!(describe("executor", &members(), &tasks), @r"
        executor.3 on n2 failed: task: non-zero exit (2), exit code 2
        executor.3 on n2 running: started
        ");
    }
}
