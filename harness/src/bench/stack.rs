//! The product as it is delivered, on this machine: the local cloud, one manager, one executor with two threads.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use super::tools::Tools;
use super::usage::{self, Usage};
use crate::client::Manager;
use crate::laptop::{Laptop, LaptopOptions};
use crate::process::no_sink;
use crate::wait::wait_until;

/// Above what a release of ten thousand scripts takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(300);

/// A running stack.
#[derive(Debug)]
pub(super) struct Stack {
    pub(super) laptop: Laptop,
    pub(super) manager: Manager,
    client: reqwest::Client,
}

impl Stack {
    /// Starts it; logs and caches go to `folder`.
    ///
    /// # Errors
    /// As [`Laptop::start`].
    pub(super) async fn start(tools: &Tools, folder: &Path) -> Result<Self> {
        if folder.exists() {
            fs_err::remove_dir_all(folder)?;
        }
        let laptop = Laptop::start(LaptopOptions {
            programs: tools.programs.clone(),
            executors: 1,
            port: None,
            directory: folder.to_owned(),
            log: "info".into(),
            sink: no_sink(),
        })
        .await?;
        let manager = Manager::new(&laptop.manager_url, None)?;
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
        Ok(Self { laptop, manager, client })
    }

    /// Pushes a script and returns when the executor runs it.
    ///
    /// # Errors
    /// The manager refuses it.
    pub(super) async fn push(&self, tenant: &str, script: &str, source: &str) -> Result<()> {
        let answer = self.manager.push(tenant, script, source.as_bytes(), "wait=30s").await?;
        let change = answer.map_err(|problem| anyhow!("push {tenant}/{script}: {}", problem.detail))?;
        ensure!(change.live.is_some_and(|live| live.is_complete()), "{tenant}/{script} is not live after 30 s");
        Ok(())
    }

    /// Where the executor answers.
    pub(super) fn address(&self) -> Result<SocketAddr> {
        let url = &self.laptop.executor_urls[0];
        url.strip_prefix("http://").unwrap_or(url).parse().with_context(|| format!("read the address in `{url}`"))
    }

    /// The executor's process.
    pub(super) fn process(&self) -> Result<u32> {
        self.laptop.executors[0].id().context("the executor ended")
    }

    /// What the executor uses.
    pub(super) fn usage(&self) -> Result<Usage> {
        usage::of_tree(self.process()?)
    }

    /// Returns when the executor answers with so many scripts.
    ///
    /// # Errors
    /// It does not in five minutes.
    pub(super) async fn wait_for_scripts(&self, count: usize) -> Result<()> {
        let url = format!("{}/v1/release", self.laptop.executor_urls[0]);
        wait_until(&format!("the executor has {count} scripts"), DEADLINE, async || {
            let answer = self.client.get(&url).send().await.map_err(|err| err.to_string())?;
            let release: serde_json::Value = answer.json().await.map_err(|err| err.to_string())?;
            if release["scripts"] == count { Ok(()) } else { Err(release.to_string()) }
        })
        .await
    }

    /// VMs that the executor holds, as its counters tell.
    ///
    /// # Errors
    /// It does not answer, or does not count them.
    pub(super) async fn vms(&self) -> Result<f64> {
        let url = format!("{}/metrics", self.laptop.executor_urls[0]);
        let text = self.client.get(url).send().await?.text().await?;
        let count = text.lines().find_map(|line| line.strip_prefix("moonswarm_vms ")?.trim().parse().ok());
        count.context("the executor's metrics have no `moonswarm_vms`")
    }
}
