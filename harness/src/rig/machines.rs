//! The machine room of the local cloud on a Docker engine: subnetworks are bridges, disks are volumes, machines are nodes
//! that run the startup script they were given.
//!
//! Everything carries the run's labels, so that the reaper finds it. Firewalls, routes and external addresses of the cloud
//! are recorded above and have no effect here: machines of one subnetwork reach each other, those of two do not.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, HostConfigCgroupnsModeEnum, Ipam,
    IpamConfig, Mount, MountType, NetworkCreateRequest, NetworkingConfig, VolumeCreateRequest,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, InspectNetworkOptions, KillContainerOptions,
    LogsOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptions, StartContainerOptions,
    StopContainerOptionsBuilder, WaitContainerOptions,
};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;

use super::engine::Engine;
use super::node::SOCKET_FOLDER;
use super::node_image::NodeImage;
use super::run::Run;
use crate::cloud::{MachineSpec, Machines, NetworkSpec, Work};

/// Google gives a machine 90 s for its shutdown script.
const STOP_SECONDS: i32 = 90;
/// Bytes of a serial port's output that are told: the last ones, as Google's one MiB.
const SERIAL_BYTES_MAX: usize = 1024 * 1024;

/// A machine room. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DockerMachines {
    room: Arc<Room>,
}

#[derive(Debug)]
struct Room {
    engine: Engine,
    run: Run,
    image: NodeImage,
    /// Where the local cloud listens on each gateway.
    port: AtomicU16,
}

impl DockerMachines {
    /// A machine room for one run; its local cloud must listen on all addresses.
    pub fn new(engine: Engine, run: Run, image: NodeImage) -> Self {
        Self { room: Arc::new(Room { engine, run, image, port: AtomicU16::new(0) }) }
    }
}

impl Machines for DockerMachines {
    fn are_real(&self) -> bool {
        true
    }

    fn cloud_listens(&self, port: u16) {
        self.room.port.store(port, Ordering::Relaxed);
    }

    fn perform(&self, work: Work) -> BoxFuture<'static, Result<(), String>> {
        let room = Arc::clone(&self.room);
        Box::pin(async move { room.perform(work).await.map_err(|error| format!("{error:#}")) })
    }

    fn ended(&self, machine: &str) -> BoxFuture<'static, ()> {
        let (room, name) = (Arc::clone(&self.room), self.room.object(machine));
        Box::pin(async move {
            let mut wait = room.engine.docker().wait_container(&name, None::<WaitContainerOptions>);
            // How it ended, or that it is gone, comes to the same.
            while let Some(Ok(_)) = wait.next().await {}
        })
    }

    fn kill(&self, machine: &str) -> BoxFuture<'static, Result<(), String>> {
        let (room, name) = (Arc::clone(&self.room), self.room.object(machine));
        Box::pin(async move {
            let killed = room.engine.docker().kill_container(&name, None::<KillContainerOptions>).await;
            killed.map_err(|error| error.to_string())
        })
    }

    fn serial(&self, machine: &str) -> BoxFuture<'static, Result<String, String>> {
        let (room, name) = (Arc::clone(&self.room), self.room.object(machine));
        Box::pin(async move {
            let options = LogsOptionsBuilder::default().stdout(true).stderr(true).build();
            let mut lines = room.engine.docker().logs(&name, Some(options));
            let mut output = String::new();
            while let Some(line) = lines.next().await {
                output.push_str(&line.map_err(|error| error.to_string())?.to_string());
            }
            let cut = output.len().saturating_sub(SERIAL_BYTES_MAX);
            let cut = (cut..=output.len()).find(|at| output.is_char_boundary(*at)).unwrap_or(0);
            Ok(output.split_off(cut))
        })
    }

    fn doors(&self, machine: &str) -> BTreeMap<String, String> {
        let socket = self.room.sockets(machine).join("docker.sock");
        BTreeMap::from([
            ("container".to_owned(), self.room.object(machine)),
            ("docker".to_owned(), format!("unix://{}", socket.display())),
        ])
    }
}

impl Room {
    async fn perform(&self, work: Work) -> Result<()> {
        match work {
            Work::Nothing => Ok(()),
            Work::MakeNetwork(spec) => self.make_network(&spec).await,
            Work::RemoveNetwork(name) => {
                gone(self.engine.docker().remove_network(&self.object(&name)).await).context("remove the bridge")
            }
            Work::MakeDisk(name) => self.make_disk(&name).await,
            Work::RemoveDisk(name) => self.remove_disk(&name).await,
            Work::Build(spec) => self.build(&spec).await,
            Work::Start(name) => self.start(&name).await,
            Work::Stop(name) => self.stop(&name).await,
            Work::Reset(name) => {
                gone(self.engine.docker().kill_container(&self.object(&name), None::<KillContainerOptions>).await)?;
                self.start(&name).await
            }
            Work::Scrap { machine, disks } => {
                self.stop(&machine).await?;
                let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
                let removed = self.engine.docker().remove_container(&self.object(&machine), Some(options)).await;
                gone(removed).context("remove the node")?;
                for disk in disks {
                    self.remove_disk(&disk).await?;
                }
                Ok(())
            }
        }
    }

    async fn make_network(&self, spec: &NetworkSpec) -> Result<()> {
        let name = self.object(&spec.name);
        let docker = self.engine.docker();
        if docker.inspect_network(&name, None::<InspectNetworkOptions>).await.is_ok() {
            return Ok(());
        }
        let gateway = spec.range.hosts().next().context("the range has no addresses")?;
        let request = NetworkCreateRequest {
            name: name.clone(),
            driver: Some("bridge".to_owned()),
            ipam: Some(Ipam {
                config: Some(vec![IpamConfig {
                    subnet: Some(spec.range.to_string()),
                    gateway: Some(gateway.to_string()),
                    ..IpamConfig::default()
                }]),
                ..Ipam::default()
            }),
            options: Some(HashMap::from([("com.docker.network.driver.mtu".to_owned(), spec.mtu.to_string())])),
            labels: Some(self.run.labels()),
            ..NetworkCreateRequest::default()
        };
        docker.create_network(request).await.with_context(|| {
            format!("make a bridge for {} on {}: another network of this computer may overlap", spec.name, spec.range)
        })?;
        Ok(())
    }

    async fn make_disk(&self, name: &str) -> Result<()> {
        let request = VolumeCreateRequest {
            name: Some(self.object(name)),
            labels: Some(self.run.labels()),
            ..VolumeCreateRequest::default()
        };
        self.engine.docker().create_volume(request).await.with_context(|| format!("make a volume for {name}"))?;
        Ok(())
    }

    async fn remove_disk(&self, name: &str) -> Result<()> {
        let removed = self.engine.docker().remove_volume(&self.object(name), None::<RemoveVolumeOptions>).await;
        gone(removed).with_context(|| format!("remove the volume of {name}"))
    }

    async fn build(&self, spec: &MachineSpec) -> Result<()> {
        for disk in &spec.disks {
            self.make_disk(&disk.name).await?;
        }
        let name = self.object(&spec.name);
        let docker = self.engine.docker();
        if docker.inspect_container(&name, None::<InspectContainerOptions>).await.is_err() {
            let options = CreateContainerOptionsBuilder::default().name(&name).build();
            let body = self.container(spec).await?;
            docker.create_container(Some(options), body).await.with_context(|| format!("build {}", spec.name))?;
        }
        self.start(&spec.name).await
    }

    async fn container(&self, spec: &MachineSpec) -> Result<ContainerCreateBody> {
        let network = self.object(&spec.network);
        let found = self.engine.docker().inspect_network(&network, None::<InspectNetworkOptions>).await?;
        let config = found.ipam.and_then(|ipam| ipam.config).and_then(|configs| configs.into_iter().next());
        let gateway = config.and_then(|config| config.gateway).context("the bridge has no gateway")?;
        let sockets = self.sockets(&spec.name);
        fs_err::create_dir_all(&sockets)?;
        let mount = |kind, source: Option<String>, target: &str| Mount {
            typ: Some(kind),
            source,
            target: Some(target.to_owned()),
            ..Mount::default()
        };
        let mut mounts = vec![
            mount(MountType::BIND, Some(sockets.display().to_string()), SOCKET_FOLDER),
            // The boot disk, as far as it matters: anonymous, so that it goes with the machine.
            mount(MountType::VOLUME, None, "/var/lib/docker"),
        ];
        for disk in &spec.disks {
            let target = format!("/disks/{}", disk.device);
            mounts.push(mount(MountType::VOLUME, Some(self.object(&disk.name)), &target));
        }
        let endpoint = EndpointSettings {
            ipam_config: Some(EndpointIpamConfig {
                ipv4_address: Some(spec.address.to_string()),
                ..EndpointIpamConfig::default()
            }),
            ..EndpointSettings::default()
        };
        Ok(ContainerCreateBody {
            image: Some(self.image.name()),
            hostname: Some(spec.hostname.split('.').next().unwrap_or_default().to_owned()),
            labels: Some(self.run.labels()),
            cmd: Some(vec!["machine".to_owned(), gateway.clone(), self.port.load(Ordering::Relaxed).to_string()]),
            stop_signal: Some("SIGTERM".to_owned()),
            host_config: Some(HostConfig {
                cap_add: Some(vec!["ALL".to_owned()]),
                cap_drop: Some(vec!["SYS_RESOURCE".to_owned()]),
                security_opt: Some(vec!["seccomp=unconfined".to_owned(), "apparmor=unconfined".to_owned()]),
                cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
                device_cgroup_rules: Some(vec!["a *:* rwm".to_owned()]),
                extra_hosts: Some(vec![
                    "metadata.google.internal:169.254.169.254".to_owned(),
                    "metadata:169.254.169.254".to_owned(),
                ]),
                mounts: Some(mounts),
                network_mode: Some(network.clone()),
                ..HostConfig::default()
            }),
            networking_config: Some(NetworkingConfig { endpoints_config: Some(HashMap::from([(network, endpoint)])) }),
            ..ContainerCreateBody::default()
        })
    }

    /// Returns when the machine's first process stands; whether its startup script succeeds is another matter.
    async fn start(&self, machine: &str) -> Result<()> {
        let name = self.object(machine);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let docker = self.engine.docker();
        docker
            .start_container(&name, None::<StartContainerOptions>)
            .await
            .with_context(|| format!("switch on {machine}"))?;
        let since = i32::try_from(since).unwrap_or(0);
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).follow(true).since(since).build();
        let mut lines = docker.logs(&name, Some(options));
        let mut said = String::new();
        while let Some(line) = lines.next().await {
            said.push_str(&line.context("read the machine's serial port")?.to_string());
            if said.contains("machine: up") {
                return Ok(());
            }
        }
        bail!("{machine} went off while it booted; it said: {}", said.trim());
    }

    async fn stop(&self, machine: &str) -> Result<()> {
        let options = StopContainerOptionsBuilder::default().t(STOP_SECONDS).build();
        let stopped = self.engine.docker().stop_container(&self.object(machine), Some(options)).await;
        gone(stopped).with_context(|| format!("switch off {machine}"))
    }

    /// The name of a resource's object in the Docker engine: readable, and of one resource only.
    fn object(&self, resource: &str) -> String {
        let last = resource.rsplit('/').next().unwrap_or_default();
        let kind = resource.rsplit('/').nth(1).unwrap_or_default();
        format!("{}-{kind}-{last}-{:08x}", self.run.id(), crc32c::crc32c(resource.as_bytes()))
    }

    fn sockets(&self, machine: &str) -> PathBuf {
        self.run.id().sockets().join(format!("{:08x}", crc32c::crc32c(machine.as_bytes())))
    }
}

/// What is not there is gone (404), and what is off is off (304).
fn gone(done: Result<(), bollard::errors::Error>) -> Result<(), bollard::errors::Error> {
    match done {
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 304 | 404 | 409, message })
            if !message.contains("in use") =>
        {
            Ok(())
        }
        other => other,
    }
}
