//! What a command works with, and what it looks at.

use docker::EngineError;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::diff::{self, Change};
use crate::error::{DeployError, chain};
use crate::history::{self, Record};
use crate::lint::{self, Facts, Found};
use crate::lock;
use crate::model::{LABEL_REVISION, LABEL_ROLE, LABEL_STACK, Service, nodes, services, tasks};
use crate::product::{Desired, Product};
use crate::progress::Event;
use crate::spec;
use crate::status::{ServiceStatus, Status, TaskStatus};

/// One installation on one Swarm.
pub struct Session<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) stack: &'a str,
    pub(crate) report: &'a (dyn Fn(Event) + Sync),
}

/// What would be done.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Plan {
    /// Services in the order in which they would be changed.
    pub services: Vec<PlannedService>,
    /// Secrets and configs that would be made.
    pub files: Vec<String>,
}

/// What would be done to a service.
#[derive(Debug, Clone, serde::Serialize)]
pub struct PlannedService {
    /// Its name.
    pub service: String,
    /// It does not exist yet.
    pub new: bool,
    /// Whether tasks would be replaced, one after the other as the update policy says.
    pub replaces_tasks: bool,
    /// The fields that differ; empty for a new one.
    pub changes: Vec<Change>,
}

impl Plan {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.services.iter().all(|service| !service.new && service.changes.is_empty())
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing to do: what runs is what is wanted\n");
        }
        for file in &self.files {
            writeln!(f, "+ {file}")?;
        }
        for planned in &self.services {
            match planned {
                PlannedService { service, new: true, .. } => writeln!(f, "+ service {service}")?,
                PlannedService { changes, .. } if changes.is_empty() => {}
                PlannedService { service, replaces_tasks, changes, .. } => {
                    let how = if *replaces_tasks { "its tasks are replaced" } else { "no task is touched" };
                    writeln!(f, "~ service {service} ({how})")?;
                    for change in changes {
                        writeln!(f, "    {change}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl<'a> Session<'a> {
    /// Works on `stack` and tells `report` what happens.
    pub fn new(cluster: &'a Cluster, stack: &'a str, report: &'a (dyn Fn(Event) + Sync)) -> Self {
        Self { cluster, stack, report }
    }

    pub(crate) fn note(&self, text: impl Into<String>) {
        (self.report)(Event::Note { text: text.into() });
    }

    /// The stack's services.
    pub(crate) async fn live(&self) -> Result<Vec<Service>, DeployError> {
        let mut live = self.all_services().await?;
        live.retain(|service| service.label(LABEL_STACK) == Some(self.stack));
        Ok(live)
    }

    async fn all_services(&self) -> Result<Vec<Service>, DeployError> {
        services(self.cluster.swarm()).await.map_err(DeployError::swarm("list services"))
    }

    /// Compares what runs with what is wanted. Changes nothing.
    ///
    /// # Errors
    /// [`DeployError::Swarm`].
    pub async fn plan(&self, product: &Product) -> Result<Plan, DeployError> {
        let desired = product.desired(self.cluster.nodes());
        let ids = self.ids().await?;
        let known = |name: &String| ids.secrets.contains_key(name) || ids.configs.contains_key(name);
        let files = desired.files.iter().filter(|file| !known(&file.name));
        let files = files.map(|file| format!("{} {}", file.kind.path().trim_end_matches('s'), file.name)).collect();
        let live = self.live().await?;
        let planned = desired.services.into_iter().map(|wanted| {
            let found = live.iter().find(|service| service.name() == wanted.name);
            let changes =
                found.map_or_else(Vec::new, |found| diff::changes(&found.spec, &spec::over(&found.spec, wanted.spec)));
            let replaces = |change: &Change| {
                ["TaskTemplate.ContainerSpec", "TaskTemplate.Resources", "EndpointSpec"]
                    .iter()
                    .any(|at| change.field.starts_with(at))
            };
            let replaces_tasks = changes.iter().any(replaces);
            PlannedService { service: wanted.name, new: found.is_none(), replaces_tasks, changes }
        });
        Ok(Plan { services: planned.collect(), files })
    }

    /// Looks for everything that would go wrong.
    ///
    /// # Errors
    /// [`DeployError::Preflight`] with all of it.
    pub(crate) async fn preflight(&self, desired: &Desired) -> Result<(), DeployError> {
        let swarm = nodes(self.cluster.swarm()).await.map_err(DeployError::swarm("list nodes"))?;
        let services = self.all_services().await?;
        let found: Vec<Found> = self
            .cluster
            .members()
            .map(|member| {
                let info = member.info();
                Found {
                    node: member.node(),
                    id: &info.swarm.node_id,
                    api: member.api(),
                    os: &info.os,
                    architecture: &info.architecture,
                }
            })
            .collect();
        let unreachable: Vec<_> =
            self.cluster.unreachable().iter().map(|(name, err)| (name.clone(), chain(err))).collect();
        let facts = Facts { desired, found: &found, unreachable: &unreachable, swarm: &swarm, services: &services };
        let faults = lint::faults(&facts);
        if faults.is_empty() { Ok(()) } else { Err(DeployError::Preflight(faults)) }
    }

    /// What runs, where, and since which deployment.
    ///
    /// # Errors
    /// [`DeployError::Swarm`].
    pub async fn status(&self) -> Result<Status, DeployError> {
        let swarm = self.cluster.swarm();
        let look = async {
            let members = nodes(swarm).await?;
            let name = |id: &str| {
                members.iter().find(|member| member.id == id).map_or("no node", |member| member.name()).to_owned()
            };
            let mut all = Vec::new();
            for service in services(swarm).await?.iter().filter(|it| it.label(LABEL_STACK) == Some(self.stack)) {
                let mut rows: Vec<TaskStatus> = tasks(swarm, &service.id)
                    .await?
                    .iter()
                    .filter(|task| task.is_wanted())
                    .map(|task| TaskStatus {
                        slot: task.slot,
                        node: name(&task.node_id),
                        state: task.status.state.clone(),
                        reason: if task.runs() { String::new() } else { task.reason().to_owned() },
                    })
                    .collect();
                rows.sort_by_key(|task| task.slot);
                let update = service.update_status.as_ref();
                all.push(ServiceStatus {
                    service: service.name().to_owned(),
                    role: service.label(LABEL_ROLE).unwrap_or_default().to_owned(),
                    revision: service.label(LABEL_REVISION).unwrap_or_default().to_owned(),
                    image: spec::image(&service.spec).to_owned(),
                    wanted: spec::replicas(&service.spec),
                    running: rows.iter().filter(|task| task.state == "running").count() as u64,
                    update: update.map(|update| format!("{}: {}", update.state, update.message)),
                    tasks: rows,
                });
            }
            let lock = lock::find(swarm).await?.as_ref().map(lock::describe);
            Ok::<_, EngineError>((all, lock))
        };
        let (services, lock) = look.await.map_err(DeployError::swarm("tell what runs"))?;
        let deployments = self.records().await?;
        Ok(Status {
            stack: self.stack.to_owned(),
            services,
            lock,
            deployments: deployments.into_iter().map(Into::into).collect(),
        })
    }

    /// Deployments that can be gone back to, newest first.
    ///
    /// # Errors
    /// [`DeployError::Swarm`].
    pub async fn records(&self) -> Result<Vec<Record>, DeployError> {
        history::records(self.cluster.swarm(), self.stack).await
    }

    /// All secrets and configs of the Swarm by name.
    pub(crate) async fn ids(&self) -> Result<spec::Ids, DeployError> {
        let swarm = self.cluster.swarm();
        let look = async {
            let mut ids = spec::Ids::default();
            for (kind, into) in [("secrets", &mut ids.secrets), ("configs", &mut ids.configs)] {
                let all: Vec<Value> = swarm.get(&format!("/{kind}"), crate::model::soon()).await?;
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                into.extend(all.iter().map(|it| (text(&it["Spec"]["Name"]), text(&it["ID"]))));
            }
            Ok(ids)
        };
        look.await.map_err(DeployError::swarm("list secrets and configs"))
    }
}
