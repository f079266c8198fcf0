//! Removing what no deployment needs any more, not even the way back.

use std::collections::BTreeSet;

use docker::{EngineError, filter, segment};
use serde_json::Value;

use crate::error::DeployError;
use crate::history;
use crate::lock::{Lock, Who};
use crate::model::{LABEL_KEPT, Service, Stored, kept, services, soon};
use crate::session::Session;
use crate::spec;

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pruned {
    /// Secrets and configs.
    pub files: usize,
    /// Images, counted on each node.
    pub images: usize,
    /// Records of deployments past the newest five.
    pub records: usize,
}

impl Session<'_> {
    /// Removes old secrets, configs, records and images.
    ///
    /// # Errors
    /// [`DeployError`].
    pub async fn prune(&self, who: &Who) -> Result<Pruned, DeployError> {
        let lock = Lock::take(self.cluster, self.stack, who).await?;
        let pruned = self.prune_locked().await;
        lock.release().await;
        pruned
    }

    pub(crate) async fn prune_locked(&self) -> Result<Pruned, DeployError> {
        let swarm = self.cluster.swarm();
        let ask = || DeployError::swarm("remove what is not needed any more");
        let records = history::trim(swarm, self.stack).await?;
        let all = services(swarm).await.map_err(ask())?;
        // Of all stacks: they share the nodes' images.
        let path = format!("/configs?{}", filter("label", &[&format!("{LABEL_KEPT}=record")]));
        let stored: Vec<Stored> = swarm.get(&path, soon()).await.map_err(ask())?;
        let mut specs: Vec<Value> = all.iter().flat_map(specs_of).cloned().collect();
        for it in &stored {
            specs.extend(history::read(it)?.into_iter().flat_map(|record| record.services));
        }
        let names: BTreeSet<&str> = specs.iter().flat_map(spec::reads).collect();
        let images: BTreeSet<&str> = specs.iter().map(spec::image).collect();

        let mut files = 0;
        for kind in ["secrets", "configs"] {
            let stored = kept(swarm, kind, self.stack).await.map_err(ask())?;
            let files_only = stored.iter().filter(|it| it.label(LABEL_KEPT) == Some("file"));
            for it in files_only.filter(|it| !names.contains(it.spec.name.as_str())) {
                files += removed(swarm.delete(&format!("/{kind}/{}", segment(&it.id)), soon()).await).map_err(ask())?;
            }
        }
        Ok(Pruned { files, images: self.prune_images(&images).await?, records })
    }

    async fn prune_images(&self, needed: &BTreeSet<&str>) -> Result<usize, DeployError> {
        let mut count = 0;
        for member in self.cluster.members() {
            let on = |err| DeployError::on(member.name(), err);
            let path = format!("/images/json?{}", filter("label", &["moonswarm.program.digest"]));
            let images: Vec<Value> = member.engine().get(&path, soon()).await.map_err(on)?;
            let tags = images.iter().flat_map(|image| image["RepoTags"].as_array().into_iter().flatten());
            for tag in tags
                .filter_map(Value::as_str)
                .filter(|tag| !needed.contains(tag) && tag.starts_with("localhost/moonswarm-"))
            {
                count += removed(member.engine().delete(&format!("/images/{tag}"), soon()).await).map_err(on)?;
            }
        }
        Ok(count)
    }
}

/// What runs, and what Swarm would go back to.
fn specs_of(service: &Service) -> impl Iterator<Item = &Value> {
    std::iter::once(&service.spec).chain(&service.previous_spec)
}

/// 1 if it was removed; what is in use after all, or gone already, stays so.
fn removed(result: Result<(), EngineError>) -> Result<usize, EngineError> {
    match result {
        Ok(()) => Ok(1),
        Err(EngineError::Refused { status: 400..500, .. }) => Ok(0),
        Err(err) => Err(err),
    }
}
