//! The whole product on one machine without Docker and without a cloud: the local cloud in this process, one manager and
//! some executors as child processes.
//!
//! `cargo xtask dev` is this with fixed ports; the process-level tests are this with free ports.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use contract::release::SigningKey;

use crate::cloud::{LocalCloud, StackResources};
use crate::process::{LineSink, Process};
use crate::programs::Programs;
use crate::wait::wait_until;

/// Name of the stack.
pub const STACK: &str = "dev";
/// Name of its bucket.
pub const BUCKET: &str = "moonswarm-dev";
/// Full name of the subscription to the bucket's notifications.
pub const SUBSCRIPTION: &str = "projects/moonswarm-dev/subscriptions/bucket";
/// Full name of the topic behind it.
pub const TOPIC: &str = "projects/moonswarm-dev/topics/bucket";

/// Programs are given this long to start or to end before that is an error.
const DEADLINE: Duration = Duration::from_secs(20);

/// How to start.
#[derive(Clone)]
pub struct LaptopOptions {
    /// What to run.
    pub programs: Programs,
    /// How many executors.
    pub executors: u16,
    /// The manager's port; executors follow on the next ones, the local cloud on the one 99 above. `None`: free ports.
    pub port: Option<u16>,
    /// For keys, caches and logs; made if absent.
    pub directory: PathBuf,
    /// The programs' log filter.
    pub log: String,
    /// Gets the programs' log lines.
    pub sink: LineSink,
}

/// A running stack. Dropping it kills the programs; [`Laptop::stop`] ends them in order.
#[derive(Debug)]
pub struct Laptop {
    /// The fake Google Cloud.
    pub cloud: LocalCloud,
    /// The manager; its port stays the same when it is started again.
    pub manager: Process,
    /// The executors, in order of their ports.
    pub executors: Vec<Process>,
    /// For example `http://127.0.0.1:7700`.
    pub manager_url: String,
    /// One for each executor.
    pub executor_urls: Vec<String>,
    options: KeptOptions,
}

/// What is needed to start a program again.
#[derive(Debug)]
struct KeptOptions {
    programs: Programs,
    directory: PathBuf,
    log: String,
}

impl std::fmt::Debug for LaptopOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LaptopOptions")
            .field("executors", &self.executors)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Laptop {
    /// Starts everything and returns when the manager is ready and every executor has a release.
    ///
    /// # Errors
    /// A port is taken, or a program does not come up in 20 s; the error tells which, with the end of its log.
    pub async fn start(options: LaptopOptions) -> Result<Self> {
        crate::client::install_crypto();
        let LaptopOptions { programs, executors, port, directory, log, sink } = options;
        fs_err::create_dir_all(&directory)?;
        make_keys(&directory)?;
        let cloud = start_cloud(port.map_or(0, |port| port + 99)).await?;
        let options = KeptOptions { programs, directory, log };

        let mut manager = options.spawn_manager(&cloud, port.unwrap_or(0), sink.clone()).await?;
        let manager_url = format!("http://{}", manager.address(DEADLINE).await?);
        let mut laptop =
            Self { cloud, manager, executors: Vec::new(), manager_url, executor_urls: Vec::new(), options };
        for index in 0..executors {
            laptop.add_executor(port.map_or(0, |port| port + 1 + index), sink.clone()).await?;
        }
        for process in &mut laptop.executors {
            laptop.executor_urls.push(format!("http://{}", process.address(DEADLINE).await?));
        }
        laptop.wait_ready().await?;
        Ok(laptop)
    }

    async fn add_executor(&mut self, port: u16, sink: LineSink) -> Result<()> {
        let name = format!("executor-{}", self.executors.len() + 1);
        let process = self.options.spawn_executor(&name, &self.manager_url, port, sink).await?;
        self.executors.push(process);
        Ok(())
    }

    /// Returns when every program says it is ready.
    ///
    /// # Errors
    /// One is not ready in 20 s.
    pub async fn wait_ready(&self) -> Result<()> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build()?;
        for url in std::iter::once(&self.manager_url).chain(&self.executor_urls) {
            wait_until(&format!("{url} is ready"), DEADLINE, async || {
                let answer = client.get(format!("{url}/readyz")).send().await.map_err(|err| err.to_string())?;
                if answer.status().is_success() { Ok(()) } else { Err(answer.text().await.unwrap_or_default()) }
            })
            .await?;
        }
        Ok(())
    }

    /// Starts the manager again on the same port, after it was killed or terminated.
    ///
    /// # Errors
    /// It does not come up.
    pub async fn restart_manager(&mut self) -> Result<()> {
        let port = port_of(&self.manager_url)?;
        self.manager = self.options.spawn_manager(&self.cloud, port, crate::process::no_sink()).await?;
        self.manager.address(DEADLINE).await?;
        Ok(())
    }

    /// Starts executor `index` (from 0) again on the same port.
    ///
    /// # Errors
    /// It does not come up.
    pub async fn restart_executor(&mut self, index: usize) -> Result<()> {
        let (name, port) = (self.executors[index].name().to_owned(), port_of(&self.executor_urls[index])?);
        let sink = crate::process::no_sink();
        self.executors[index] = self.options.spawn_executor(&name, &self.manager_url, port, sink).await?;
        self.executors[index].address(DEADLINE).await?;
        Ok(())
    }

    /// Ends every program: SIGTERM, and SIGKILL for those that do not follow.
    pub async fn stop(mut self) {
        let executors = self.executors.iter_mut().map(|executor| executor.terminate(DEADLINE));
        // How they end no longer matters to anybody; that they ended does.
        let _ = futures_util::future::join_all(executors).await;
        let _ = self.manager.terminate(DEADLINE).await;
        self.cloud.shutdown().await;
    }

    /// The programs that run.
    pub fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        std::iter::once(&mut self.manager).chain(&mut self.executors)
    }
}

impl KeptOptions {
    async fn spawn_manager(&self, cloud: &LocalCloud, port: u16, sink: LineSink) -> Result<Process> {
        let arguments = [
            ("--listen", format!("127.0.0.1:{port}")),
            ("--stack", STACK.into()),
            ("--bucket", BUCKET.into()),
            ("--subscription", SUBSCRIPTION.into()),
            ("--signing-key", self.path("signing.key")),
            ("--storage-endpoint", cloud.url().to_owned()),
            ("--pubsub-endpoint", cloud.url().to_owned()),
            ("--log", self.log.clone()),
        ];
        let log = self.directory.join("manager.log");
        Process::spawn("manager", &self.programs.manager, &flat(&arguments), &log, sink).await
    }

    async fn spawn_executor(&self, name: &str, feed: &str, port: u16, sink: LineSink) -> Result<Process> {
        let arguments = [
            ("--listen", format!("127.0.0.1:{port}")),
            ("--feed", feed.to_owned()),
            ("--stack", STACK.into()),
            ("--public-keys", self.path("signing.pub")),
            ("--cache-dir", self.path(&format!("cache-{name}"))),
            ("--node", "laptop".into()),
            ("--threads", "2".into()),
            ("--log", self.log.clone()),
        ];
        let log = self.directory.join(format!("{name}.log"));
        Process::spawn(name, &self.programs.executor, &flat(&arguments), &log, sink).await
    }

    fn path(&self, file: &str) -> String {
        self.directory.join(file).display().to_string()
    }
}

fn flat(arguments: &[(&str, String)]) -> Vec<String> {
    arguments.iter().flat_map(|(flag, value)| [(*flag).to_owned(), value.clone()]).collect()
}

fn make_keys(directory: &Path) -> Result<()> {
    let text = SigningKey::generate();
    fs_err::write(directory.join("signing.key"), &text)?;
    fs_err::write(directory.join("signing.pub"), SigningKey::parse(&text)?.public().to_text())?;
    Ok(())
}

async fn start_cloud(port: u16) -> Result<LocalCloud> {
    let address = ([127, 0, 0, 1], port).into();
    let cloud = LocalCloud::start(address, None)
        .await
        .with_context(|| format!("start the local cloud on {address}; choose other ports with `--port`"))?;
    cloud.set_up(&StackResources {
        project: "moonswarm-dev".into(),
        bucket: BUCKET.into(),
        topic: TOPIC.into(),
        subscription: SUBSCRIPTION.into(),
    })?;
    Ok(cloud)
}

fn port_of(url: &str) -> Result<u16> {
    url.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).with_context(|| format!("`{url}` ends with no port"))
}
