//! Where tasks run: taking them off a node, and spreading them evenly again, which Swarm never does by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use docker::{EngineError, segment};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::apply::Applied;
use crate::error::{DeployError, chain};
use crate::lock::{Lock, Who};
use crate::model::{LABEL_ROLE, SwarmNode, Task, nodes, service, soon, tasks};
use crate::product::{EXECUTOR, MANAGER, service_name};
use crate::progress::Phase;
use crate::session::Session;
use crate::watch::{Verdict, Watch};

const LOOK_EVERY: Duration = Duration::from_millis(200);
const ATTEMPTS: u32 = 12;

impl Session<'_> {
    /// Takes all tasks off a node and keeps new ones away, or (`back`) lets it have tasks again. Returns when the services
    /// are complete on the other nodes.
    ///
    /// # Errors
    /// [`DeployError::Preflight`] if the others can't take the tasks: then nothing was touched.
    pub async fn drain(&self, node: &str, back: bool, deadline: Duration, who: &Who) -> Result<(), DeployError> {
        let lock = Lock::take(self.cluster, self.stack, who).await?;
        let drained = self.drain_locked(node, back, deadline, &lock).await;
        lock.release().await;
        drained
    }

    async fn drain_locked(
        &self,
        node: &str,
        back: bool,
        deadline: Duration,
        lock: &Lock<'_>,
    ) -> Result<(), DeployError> {
        let swarm = self.cluster.swarm();
        let ask = || DeployError::swarm(format!("drain node `{node}`"));
        let all = nodes(swarm).await.map_err(ask())?;
        let find = |all: &[SwarmNode]| all.iter().find(|it| it.name() == node).cloned();
        let names = || all.iter().map(SwarmNode::name).collect::<Vec<_>>().join(", ");
        let mut found = find(&all)
            .ok_or_else(|| DeployError::Unknown(format!("the Swarm has no node `{node}`; it has {}", names())))?;
        if !back {
            self.others_suffice(&found, &all).await?;
        }
        let phase = Phase::begin(if back { "activate" } else { "drain" });
        let availability = if back { "active" } else { "drain" };
        for attempt in 1.. {
            lock.check()?;
            let mut spec = found.spec.clone();
            spec["Availability"] = json!(availability);
            let path = format!("/nodes/{}/update?version={}", segment(&found.id), found.version.index);
            match swarm.post_for_bytes(&path, &spec, soon()).await {
                Ok(_) => break,
                Err(err) if err.is_out_of_sequence() && attempt < ATTEMPTS => {
                    found = find(&nodes(swarm).await.map_err(ask())?).unwrap_or(found);
                }
                Err(err) => return Err(ask()(err)),
            }
        }
        let begun = Instant::now();
        loop {
            let seen = match self.is_off(&found.id, back).await {
                Ok(None) => break,
                Ok(Some(seen)) => seen,
                Err(err) => chain(&err),
            };
            if begun.elapsed() > deadline {
                let trouble = format!(
                    "is not complete without node `{node}` after {deadline:?}: {seen}; `deploy drain {node} --back` undoes it"
                );
                return Err(DeployError::Converge { service: service_name(self.stack, EXECUTOR), trouble });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let what = if back {
            "takes tasks again; `deploy rebalance` gives it some"
        } else {
            "runs no task of this stack any more"
        };
        (self.report)(phase.done(format!("{node} {what}")));
        Ok(())
    }

    /// None when no task is left on the node and every service has its number elsewhere.
    async fn is_off(&self, id: &str, back: bool) -> Result<Option<String>, EngineError> {
        let swarm = self.cluster.swarm();
        for role in [MANAGER, EXECUTOR] {
            let name = service_name(self.stack, role);
            let found = match service(swarm, &name).await {
                Ok(found) => found,
                Err(err) if err.is_not_found() => continue,
                Err(err) => return Err(err),
            };
            let all = tasks(swarm, &found.id).await?;
            let left = all.iter().filter(|task| !back && task.node_id == id && task.runs()).count();
            let running = all.iter().filter(|task| task.is_wanted() && task.runs()).count() as u64;
            let wanted = crate::spec::replicas(&found.spec);
            if left > 0 || running != wanted {
                let waiting = all.iter().find(|task| task.is_wanted() && !task.runs()).map_or("", Task::reason);
                return Ok(Some(format!("{name}: {left} tasks left there, {running} of {wanted} run; {waiting}")));
            }
        }
        Ok(None)
    }

    async fn others_suffice(&self, leaving: &SwarmNode, all: &[SwarmNode]) -> Result<(), DeployError> {
        let rest: Vec<_> = all.iter().filter(|it| it.id != leaving.id && it.is_ready() && it.is_active()).collect();
        let name = leaving.name();
        let mut faults = Vec::new();
        if rest.is_empty() {
            faults.push(format!(
                "no other node is ready and active, so nothing would run; bring one up before draining `{name}`"
            ));
        }
        if leaving.is_manager() && leaving.is_active() && !rest.iter().any(|it| it.is_manager()) {
            faults.push(format!("`{name}` is the last active manager node, and the manager's service runs on one; activate another first"));
        }
        for live in self.live().await? {
            let most = live.spec["TaskTemplate"]["Placement"]["MaxReplicas"].as_u64().unwrap_or(0);
            let wanted = crate::spec::replicas(&live.spec);
            if most > 0 && most * (rest.len() as u64) < wanted {
                let role = live.label(LABEL_ROLE).unwrap_or_default();
                faults.push(format!(
                    "{} nodes take {most} tasks each, service `{}` wants {wanted}; add nodes, or raise `max_per_node` of the {role}",
                    rest.len(),
                    live.name()
                ));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(DeployError::Preflight(faults)) }
    }

    /// Spreads the executors evenly, by replacing all of them one by one as an update would; does nothing where they are even.
    ///
    /// # Errors
    /// [`DeployError`].
    pub async fn rebalance(&self, deadline: Duration, who: &Who) -> Result<Applied, DeployError> {
        let lock = Lock::take(self.cluster, self.stack, who).await?;
        let done = self.rebalance_locked(deadline, &lock).await;
        lock.release().await;
        done
    }

    async fn rebalance_locked(&self, deadline: Duration, lock: &Lock<'_>) -> Result<Applied, DeployError> {
        let swarm = self.cluster.swarm();
        let name = service_name(self.stack, EXECUTOR);
        let ask = || DeployError::swarm(format!("spread service `{name}`"));
        let deployment = self.records().await?.first().map_or(0, |record| record.number);
        let members = nodes(swarm).await.map_err(ask())?;
        let found = service(swarm, &name).await.map_err(ask())?;
        let spread_now = async || Ok::<_, EngineError>(spread(&members, &tasks(swarm, &found.id).await?));
        let before = spread_now().await.map_err(ask())?;
        if is_even(&before) {
            self.note(format!("the executors are even already: {}", told(&before)));
            return Ok(Applied { changed: Vec::new(), deployment });
        }
        let phase = Phase::begin("rebalance");
        // One by one: Swarm counts old tasks too, so that many at once would all go to the emptiest node.
        let parallelism = found.spec["UpdateConfig"]["Parallelism"].clone();
        let (sent, started) = self
            .change(&name, lock, |spec| {
                let forced = spec.pointer("/TaskTemplate/ForceUpdate").and_then(Value::as_u64).unwrap_or(0);
                spec["TaskTemplate"]["ForceUpdate"] = json!(forced + 1);
                spec["UpdateConfig"]["Parallelism"] = json!(1);
            })
            .await?;
        let followed = self.follow(&found.id, &name, Watch::new(&sent, started), deadline).await;
        self.change(&name, lock, |spec| spec["UpdateConfig"]["Parallelism"] = parallelism.clone()).await?;
        followed?;
        let after = spread_now().await.map_err(ask())?;
        (self.report)(phase.done(format!("{} became {}", told(&before), told(&after))));
        Ok(Applied { changed: vec![name], deployment })
    }

    /// Changes a service's spec as it is now, again where somebody was faster. The spec that was sent, and the start of
    /// the update that the service showed before.
    async fn change(
        &self,
        name: &str,
        lock: &Lock<'_>,
        edit: impl Fn(&mut Value),
    ) -> Result<(Value, Option<String>), DeployError> {
        let swarm = self.cluster.swarm();
        let ask = || DeployError::swarm(format!("change service `{name}`"));
        for attempt in 1.. {
            lock.check()?;
            let found = service(swarm, name).await.map_err(ask())?;
            let mut spec = found.spec;
            edit(&mut spec);
            let path = format!("/services/{}/update?version={}", segment(&found.id), found.version.index);
            match swarm.post::<Value>(&path, &spec, soon()).await {
                Ok(_) => return Ok((spec, found.update_status.and_then(|status| status.started_at))),
                Err(err) if err.is_out_of_sequence() && attempt < ATTEMPTS => tokio::time::sleep(LOOK_EVERY).await,
                Err(err) => return Err(ask()(err)),
            }
        }
        unreachable!("the loop ends by returning")
    }

    async fn follow(&self, id: &str, name: &str, mut watch: Watch, deadline: Duration) -> Result<(), DeployError> {
        let swarm = self.cluster.swarm();
        let ask = || DeployError::swarm(format!("look at service `{name}`"));
        let begun = Instant::now();
        loop {
            let (found, now) = (service(swarm, id).await.map_err(ask())?, tasks(swarm, id).await.map_err(ask())?);
            let trouble = match watch.judge(&found, &now, begun.elapsed()) {
                Verdict::Settled => return Ok(()),
                Verdict::Failed(reason) => reason,
                Verdict::Superseded => "was changed by somebody else meanwhile".to_owned(),
                Verdict::Underway { running, of, .. } if begun.elapsed() > deadline => {
                    format!("is not up after {deadline:?}: {running} of {of} tasks run")
                }
                Verdict::Underway { .. } => {
                    tokio::time::sleep(LOOK_EVERY).await;
                    continue;
                }
            };
            return Err(DeployError::Converge { service: name.to_owned(), trouble });
        }
    }
}

/// Running tasks on each node that may have some.
fn spread(members: &[SwarmNode], tasks: &[Task]) -> BTreeMap<String, usize> {
    let open = members.iter().filter(|member| member.is_ready() && member.is_active());
    let on = |id: &str| tasks.iter().filter(|task| task.is_wanted() && task.runs() && task.node_id == id).count();
    open.map(|member| (member.name().to_owned(), on(&member.id))).collect()
}

fn is_even(spread: &BTreeMap<String, usize>) -> bool {
    let (most, least) = (spread.values().max(), spread.values().min());
    most.zip(least).is_none_or(|(most, least)| most - least <= 1)
}

fn told(spread: &BTreeMap<String, usize>) -> String {
    spread.iter().map(|(node, count)| format!("{node} {count}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_task_more_or_less_is_even() {
        let spread = |counts: &[usize]| -> BTreeMap<String, usize> {
            counts.iter().enumerate().map(|(n, &count)| (format!("n{n}"), count)).collect()
        };
        assert!(is_even(&spread(&[])) && is_even(&spread(&[6])) && is_even(&spread(&[2, 1, 2])));
        assert!(!is_even(&spread(&[3, 3, 0])));
    }
}
