//! One node: a container with an engine inside, and what can happen to a machine.

use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use bollard::Docker;
use bollard::models::{Mount, MountType};
use bollard::query_parameters::{
    InspectContainerOptions, KillContainerOptions, LogsOptionsBuilder, StartContainerOptions,
};
use futures_util::StreamExt;
use testcontainers::core::CgroupnsMode;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;

use super::engine::{Engine, REQUEST_SECONDS};
use super::network::Network;
use super::node_image::NodeImage;
use super::run::Run;
use crate::wait::Patience;

/// Where a node's engine has its socket, seen from inside.
pub const SOCKET_FOLDER: &str = "/run/node";
/// Three nodes start in two seconds on a quiet machine.
const UP_WITHIN: Duration = Duration::from_secs(60);

/// A machine of the cluster.
#[derive(Debug)]
pub struct Node {
    name: String,
    address: Ipv4Addr,
    docker: Docker,
    outer: Docker,
    network: Network,
    container: ContainerAsync<GenericImage>,
    socket: PathBuf,
    log: PathBuf,
    follower: JoinHandle<()>,
}

impl Node {
    /// Starts the node with this number, counted from 1, and waits until its engine answers.
    pub(super) async fn start(
        engine: &Engine,
        run: &Run,
        network: &Network,
        image: &NodeImage,
        number: u8,
    ) -> Result<Self> {
        let name = format!("n{number}");
        let sockets = run.id().sockets().join(&name);
        fs_err::create_dir_all(&sockets)?;
        // The socket belongs to root; the group lets whoever runs the tests use it.
        let group = fs_err::metadata(&sockets)?.gid();
        let mounts = vec![bind(&sockets.display().to_string(), SOCKET_FOLDER), anonymous_volume("/var/lib/docker")];
        let request = GenericImage::new(image.repository, image.tag.as_str())
            .with_network(network.name())
            .with_hostname(&name)
            .with_container_name(format!("{}-{name}", run.id()))
            .with_labels(run.labels())
            // No userland proxy: with one, each container with a port starts two more processes.
            .with_cmd([format!("--group={group}"), "--log-level=info".to_owned(), "--userland-proxy=false".to_owned()])
            .with_startup_timeout(UP_WITHIN)
            .with_cgroupns_mode(CgroupnsMode::Private)
            // Not `privileged`, which many machines refuse: all capabilities, and devices by cgroup rule. Without
            // SYS_RESOURCE, because the engine would otherwise try to raise limits that are not this container's to raise.
            .with_cap_add("ALL")
            .with_cap_drop("SYS_RESOURCE")
            .with_security_opt("seccomp=unconfined")
            .with_security_opt("apparmor=unconfined")
            .with_host_config_modifier(move |config| {
                config.device_cgroup_rules = Some(vec!["a *:* rwm".to_owned()]);
                config.publish_all_ports = Some(false);
                config.mounts.get_or_insert_default().extend(mounts.clone());
            });
        let container = request.start().await.with_context(|| format!("start node {name}"))?;

        let address = network.node_address(number);
        let log = run.logs().join(format!("{name}.log"));
        let follower = follow(engine.docker(), container.id(), 0, log.clone());
        network.detach(container.id()).await?;
        network.attach(container.id(), address).await?;
        let socket = sockets.join("docker.sock");
        let outer = engine.docker().clone();
        let docker = until_up(&name, &socket, &outer, container.id(), &log).await?;
        Ok(Self { name, address, docker, outer, network: network.clone(), container, socket, log, follower })
    }

    /// Its host name and its name in Swarm: `n1`, `n2`, …
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address on the run's network, kept over restarts.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The socket of the engine inside, seen from this machine.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A client of the engine inside.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Its container in the outer engine.
    pub fn container_id(&self) -> &str {
        self.container.id()
    }

    /// Where the log of its engine goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Ends the node as a power cut would: everything on it is gone at once, its disk stays.
    ///
    /// # Errors
    /// The outer engine refuses.
    pub async fn kill(&self) -> Result<()> {
        let killed = self.outer.kill_container(self.container_id(), None::<KillContainerOptions>).await;
        killed.with_context(|| format!("kill node {}", self.name))
    }

    /// Boots a killed node and waits until its engine answers. That it is a healthy member of the cluster again is
    /// another wait: [`super::Nodes::until_ready`].
    ///
    /// # Errors
    /// The outer engine refuses, or the node is not up in time.
    pub async fn boot(&mut self) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let started = self.outer.start_container(self.container_id(), None::<StartContainerOptions>).await;
        started.with_context(|| format!("boot node {}", self.name))?;
        self.follower = follow(&self.outer, self.container.id(), i32::try_from(now).unwrap_or(0), self.log.clone());
        self.docker = until_up(&self.name, &self.socket, &self.outer, self.container.id(), &self.log).await?;
        Ok(())
    }

    /// Kills and boots the node.
    ///
    /// # Errors
    /// As [`Self::kill`] and [`Self::boot`].
    pub async fn restart(&mut self) -> Result<()> {
        self.kill().await?;
        self.boot().await
    }

    /// Stops every process on the node where it is, as a machine that hangs.
    ///
    /// # Errors
    /// The outer engine refuses.
    pub async fn pause(&self) -> Result<()> {
        let paused = self.outer.pause_container(self.container_id()).await;
        paused.with_context(|| format!("pause node {}", self.name))
    }

    /// Lets a paused node go on.
    ///
    /// # Errors
    /// The outer engine refuses.
    pub async fn unpause(&self) -> Result<()> {
        let resumed = self.outer.unpause_container(self.container_id()).await;
        resumed.with_context(|| format!("unpause node {}", self.name))
    }

    /// Pulls the node's network cable. Its engine can still be reached by its socket.
    ///
    /// # Errors
    /// The outer engine refuses.
    pub async fn disconnect(&self) -> Result<()> {
        self.network.detach(self.container_id()).await
    }

    /// Plugs the cable in again, same address.
    ///
    /// # Errors
    /// The outer engine refuses.
    pub async fn reconnect(&self) -> Result<()> {
        self.network.attach(self.container_id(), self.address).await
    }

    /// Removes the container and its disk.
    pub(super) async fn remove(self) -> Result<()> {
        self.container.rm().await.with_context(|| format!("remove node {}", self.name))
    }
}

/// Waits until the engine of a node answers, and agrees with it on an API version.
async fn until_up(name: &str, socket: &Path, outer: &Docker, container: &str, log: &Path) -> Result<Docker> {
    let patience =
        Patience::new(format!("the engine of node {name} answers, see its log {}", log.display()), UP_WITHIN);
    loop {
        let last = match connect(&socket.display().to_string()).await {
            Ok(docker) => return Ok(docker),
            Err(error) => error,
        };
        if let Some(code) = exit_code(outer, container).await {
            bail!("node {name} ended with exit code {code}, see its log {}", log.display());
        }
        patience.again(last).await?;
    }
}

async fn connect(socket: &str) -> Result<Docker, bollard::errors::Error> {
    // An error as long as there is no socket.
    let docker = Docker::connect_with_unix(socket, REQUEST_SECONDS, bollard::API_DEFAULT_VERSION)?;
    docker.negotiate_version().await
}

/// The exit code of a container, if it has ended.
async fn exit_code(outer: &Docker, container: &str) -> Option<i64> {
    let state = outer.inspect_container(container, None::<InspectContainerOptions>).await.ok()?.state?;
    if state.running == Some(false) { state.exit_code } else { None }
}

/// A folder of the host, at `target` in the node.
fn bind(source: &str, target: &str) -> Mount {
    Mount {
        source: Some(source.to_owned()),
        target: Some(target.to_owned()),
        typ: Some(MountType::BIND),
        ..Mount::default()
    }
}

/// The node's disk. Anonymous, because such a volume is removed together with its container; a named one is not.
fn anonymous_volume(target: &str) -> Mount {
    Mount { target: Some(target.to_owned()), typ: Some(MountType::VOLUME), ..Mount::default() }
}

/// Appends what the node says from `since` (seconds since 1970) to `file`, until the node ends.
fn follow(outer: &Docker, container: &str, since: i32, file: PathBuf) -> JoinHandle<()> {
    let options = LogsOptionsBuilder::default().follow(true).stdout(true).stderr(true).since(since).build();
    let mut output = outer.logs(container, Some(options)).boxed();
    tokio::spawn(async move {
        let opened = tokio::fs::OpenOptions::new().create(true).append(true).open(&file).await;
        let Ok(mut log) = opened else { return };
        while let Some(Ok(line)) = output.next().await {
            // A log that can't be written must not end a run; what is missing shows in the file.
            if log.write_all(line.as_ref()).await.is_err() || log.flush().await.is_err() {
                return;
            }
        }
    })
}
