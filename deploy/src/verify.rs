//! Whether tasks that run also work, asked inside their containers: no port of a node has to be open to whoever deploys.

use std::time::Duration;

use docker::{Engine, EngineError, segment};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::error::DeployError;
use crate::model::{Created, Task, service, soon, tasks};
use crate::product::EXECUTOR;
use crate::session::Session;
use crate::spec;

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A health check answers within 3 s, a canary within its script's limits.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// What is told of a program's words.
const WORDS_MAX: usize = 400;

impl Session<'_> {
    /// Waits until each wanted task of a service says that it is ready, and each executor ran the canary script.
    pub(crate) async fn verify(
        &self,
        name: &str,
        role: &str,
        deadline: Duration,
        canary: Option<&str>,
    ) -> Result<String, DeployError> {
        let canary = canary.filter(|_| role == EXECUTOR);
        let begun = Instant::now();
        loop {
            let seen = match self.works(name, role, canary).await {
                Ok(count) => {
                    let ran = canary.map(|canary| format!(" and ran {canary}")).unwrap_or_default();
                    return Ok(format!("{name}: {count} ready{ran}"));
                }
                Err(seen) => seen,
            };
            if begun.elapsed() > deadline {
                let trouble = format!("{seen} (after {deadline:?})");
                return Err(DeployError::Verify { service: name.to_owned(), trouble });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// How many tasks work, if all do; otherwise what one of them says.
    async fn works(&self, name: &str, role: &str, canary: Option<&str>) -> Result<u64, String> {
        let swarm = self.cluster.swarm();
        let told = |err: EngineError| crate::error::chain(&err);
        let found = service(swarm, name).await.map_err(told)?;
        let tasks = tasks(swarm, &found.id).await.map_err(told)?;
        let running: Vec<_> = tasks.iter().filter(|task| task.is_wanted() && task.runs()).collect();
        let (count, wanted) = (running.len() as u64, spec::replicas(&found.spec));
        if count != wanted {
            let reason = tasks.iter().find(|task| task.is_wanted() && !task.runs()).map_or("", |task| task.reason());
            return Err(format!("{count} of {wanted} tasks run; {reason}"));
        }
        let program = format!("/bin/moonswarm-{role}");
        let asked = running.iter().map(async |task| {
            self.ask(task, &[&program, "health"]).await?;
            match canary {
                Some(canary) => self.ask(task, &[&program, "probe", canary]).await,
                None => Ok(()),
            }
        });
        join_all(asked).await.into_iter().collect::<Result<Vec<()>, String>>()?;
        Ok(count)
    }

    async fn ask(&self, task: &Task, command: &[&str]) -> Result<(), String> {
        let member = self.cluster.by_id(&task.node_id).ok_or("a task runs on a node that is not listed")?;
        let (code, words) = exec(member.engine(), &task.status.container_status.container_id, command)
            .await
            .map_err(|err| format!("task {} on {}: {}", task.slot, member.name(), crate::error::chain(&err)))?;
        if code == 0 {
            return Ok(());
        }
        Err(format!("task {} on {}: `{}` ended with {code}: {words}", task.slot, member.name(), command[1..].join(" ")))
    }
}

/// Runs a command in a container: its exit code and what it printed.
async fn exec(engine: &Engine, container: &str, command: &[&str]) -> Result<(i64, String), EngineError> {
    // With a terminal the answer is the plain text, without the frames of two streams.
    let make = json!({ "AttachStdout": true, "AttachStderr": true, "Tty": true, "Cmd": command });
    let made: Created = engine.post(&format!("/containers/{}/exec", segment(container)), &make, soon()).await?;
    let start = json!({ "Detach": false, "Tty": true });
    let path = format!("/exec/{}", segment(&made.id));
    let words = engine.post_for_bytes(&format!("{path}/start"), &start, Instant::now() + ANSWER_WITHIN).await?;
    let state: Value = engine.get(&format!("{path}/json"), soon()).await?;
    let words: String = String::from_utf8_lossy(&words).trim().chars().take(WORDS_MAX).collect();
    Ok((state["ExitCode"].as_i64().unwrap_or(-1), words))
}
