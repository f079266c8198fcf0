//! The local cloud by itself, for provisioning against it: Google's APIs on one port, with machines that boot.
//!
//! `cargo xtask cloud` is this until Ctrl-C. Everything it made in the Docker engine goes with it: the reaper sees to that.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::cloud::LocalCloud;
use crate::rig::{DockerMachines, Engine, NodeImage, Reaper, Run, reaper};

/// How to start.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// The port; 0 takes a free one.
    pub port: u16,
    /// Whether instances boot as nodes on the Docker engine; otherwise they are on paper.
    pub machines: bool,
    /// Where logs go.
    pub reports: PathBuf,
    /// For packages, used only if the host has no Docker programs.
    pub cache: PathBuf,
}

/// A local cloud that runs. [`Self::stop`] removes what it made; dropped, the reaper does.
#[derive(Debug)]
pub struct Local {
    /// The cloud.
    pub cloud: LocalCloud,
    reaper: Option<Reaper>,
}

impl Local {
    /// Starts it.
    ///
    /// # Errors
    /// The port is taken, or machines are wanted and there is no Docker engine.
    pub async fn start(options: &LocalOptions) -> Result<Self> {
        crate::client::install_crypto();
        if !options.machines {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
            let cloud = LocalCloud::start(address, None).await?;
            return Ok(Self { cloud, reaper: None });
        }
        let engine = Engine::find().await?;
        reaper::janitor(&engine).await?;
        let image = NodeImage::ensure(&engine, &options.cache).await?;
        let run = Run::begin(&options.reports)?;
        let reaper = Reaper::arm(&run).await?;
        // Machines come to their gateways, which are there only once their networks are; strangers are turned away.
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, options.port));
        let machines = Arc::new(DockerMachines::new(engine, run, image));
        let cloud = LocalCloud::start_with(address, None, machines).await?;
        Ok(Self { cloud, reaper: Some(reaper) })
    }

    /// Ends the cloud and removes its machines, disks and networks.
    ///
    /// # Errors
    /// Something could not be removed; the error says how to.
    pub async fn stop(self) -> Result<()> {
        self.cloud.shutdown().await;
        match self.reaper {
            Some(reaper) => reaper.disarm().await.context("remove the machines of the local cloud"),
            None => Ok(()),
        }
    }
}

/// What clients that others wrote must have in their environment to reach a local cloud: names and values.
pub fn environment(url: &str, project: &str) -> Vec<(&'static str, String)> {
    let bare = url.trim_start_matches("http://");
    let overridden = |path: &str| format!("{url}/{path}");
    vec![
        ("CLOUDSDK_CORE_PROJECT", project.to_owned()),
        ("CLOUDSDK_CORE_DISABLE_PROMPTS", "1".to_owned()),
        ("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "true".to_owned()),
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER", overridden("")),
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE", overridden("compute/v1/")),
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_IAM", overridden("")),
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB", overridden("")),
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER", overridden("")),
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICEUSAGE", overridden("")),
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE", overridden("storage/v1/")),
        ("STORAGE_EMULATOR_HOST", url.to_owned()),
        ("PUBSUB_EMULATOR_HOST", bare.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_every_service() {
        let told = environment("http://127.0.0.1:4443", "dev");
        let told: Vec<String> = told.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        CLOUDSDK_CORE_PROJECT=dev
        CLOUDSDK_CORE_DISABLE_PROMPTS=1
        CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true
        CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER=http://127.0.0.1:4443/
        CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE=http://127.0.0.1:4443/compute/v1/
        CLOUDSDK_API_ENDPOINT_OVERRIDES_IAM=http://127.0.0.1:4443/
        CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB=http://127.0.0.1:4443/
        CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER=http://127.0.0.1:4443/
        CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICEUSAGE=http://127.0.0.1:4443/
        CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE=http://127.0.0.1:4443/storage/v1/
        STORAGE_EMULATOR_HOST=http://127.0.0.1:4443
        PUBSUB_EMULATOR_HOST=127.0.0.1:4443
        ");
    }
}
