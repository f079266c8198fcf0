//! What explains a failure afterwards: tasks with their errors, and what every container said.
//!
//! Best effort: a part that can't be had is written down as such and hides neither the others nor the failure itself.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::models::ContainerSummary;
use bollard::query_parameters::{ListContainersOptionsBuilder, ListNodesOptions, LogsOptionsBuilder};
use futures_util::StreamExt;
use futures_util::future::join_all;

use super::deployment::Deployment;
use super::node::Node;
use super::nodes::Nodes;
use super::run::Run;

/// Lines kept of each container.
const LINES: &str = "5000";
/// A node that hangs must not hold up the report.
const WITHIN: Duration = Duration::from_secs(15);
/// Lines of each node's log that go into the summary; the whole is beside it.
const NODE_LINES: usize = 40;

/// Writes `cluster.txt` (nodes, tasks, ends of the nodes' logs) and one log per container into the run's folder.
/// Gives the files that were written.
pub async fn capture(run: &Run, nodes: &Nodes, deployment: Option<&Deployment>) -> Vec<PathBuf> {
    let mut summary = String::new();
    let states = tokio::time::timeout(WITHIN, cluster(nodes, deployment)).await;
    summary += &states.unwrap_or_else(|_| format!("the Swarm does not answer within {WITHIN:?}\n"));
    for node in nodes.iter() {
        let _ = writeln!(summary, "\n== end of {}\n{}", node.log().display(), tail(node.log()));
    }

    let mut files = vec![run.logs().join("cluster.txt")];
    let written = fs_err::write(&files[0], summary);
    if let Err(error) = written {
        tracing::warn!(%error, "the state of the cluster is lost");
        files.clear();
    }
    let logs = join_all(nodes.iter().map(|node| tokio::time::timeout(WITHIN, containers(run, node)))).await;
    files.extend(logs.into_iter().flatten().flatten());
    files
}

async fn cluster(nodes: &Nodes, deployment: Option<&Deployment>) -> String {
    let mut text = "== nodes\n".to_owned();
    match nodes.manager().docker().list_nodes(None::<ListNodesOptions>).await {
        Ok(members) => {
            for member in members {
                let name = member.description.and_then(|description| description.hostname);
                let status = member.status.unwrap_or_default();
                let _ = writeln!(
                    text,
                    "{} {:?} {}",
                    name.unwrap_or_default(),
                    status.state,
                    status.message.unwrap_or_default()
                );
            }
        }
        Err(error) => {
            let _ = writeln!(text, "{error}");
        }
    }
    if let Some(deployment) = deployment {
        let _ = writeln!(text, "\n== tasks\n{}", deployment.task_states().await);
    }
    text
}

/// The logs of all containers of a node, also of ended ones.
async fn containers(run: &Run, node: &Node) -> Vec<PathBuf> {
    let options = ListContainersOptionsBuilder::default().all(true).build();
    let containers = node.docker().list_containers(Some(options)).await.unwrap_or_default();
    let mut files = Vec::new();
    for container in containers {
        let Some(id) = container.id.clone() else { continue };
        let file = run.logs().join(format!("{}-{}.log", node.name(), file_name(&container)));
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).timestamps(true).tail(LINES).build();
        let mut output = node.docker().logs(&id, Some(options)).boxed();
        let mut text = Vec::new();
        while let Some(Ok(line)) = output.next().await {
            text.extend_from_slice(line.as_ref());
        }
        if fs_err::write(&file, text).is_ok() {
            files.push(file);
        }
    }
    files
}

/// A task's container is named `/SERVICE.SLOT.TASK`.
fn file_name(container: &ContainerSummary) -> String {
    let name = container.names.as_ref().and_then(|names| names.first()).cloned().unwrap_or_default();
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' };
    name.trim_start_matches('/').chars().map(safe).collect()
}

fn tail(file: &Path) -> String {
    let text = fs_err::read_to_string(file).unwrap_or_else(|error| error.to_string());
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(NODE_LINES)..].join("\n")
}
