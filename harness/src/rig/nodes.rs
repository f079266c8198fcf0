//! The cluster: nodes started together, joined into one Swarm, removed together.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bollard::models::{Node as Member, NodeState, SwarmInitRequest, SwarmJoinRequest};
use bollard::query_parameters::ListNodesOptions;
use futures_util::future::{join_all, try_join_all};

use super::engine::Engine;
use super::network::Network;
use super::node::Node;
use super::node_image::NodeImage;
use super::run::Run;
use crate::wait::Patience;

/// More nodes than this were never tried on one machine, and they would not fit the range of addresses.
const NODES_MAX: u8 = 16;
/// Where Swarm's members talk to each other.
const SWARM_PORT: u16 = 2377;
/// A restarted member is back within 8 s; a machine with other work on it takes longer.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The nodes of a run. Node 1 is the Swarm's manager, the others are workers.
///
/// Removed by [`Self::tear_down`]. Dropped instead (a panic), each node removes itself if a Tokio runtime is still
/// there, and the reaper removes the rest.
#[derive(Debug)]
pub struct Nodes {
    nodes: Vec<Node>,
    network: Network,
    /// How long it took until all engines answered.
    pub up_in: Duration,
    /// How long it took after that until all were READY members of the Swarm.
    pub swarm_in: Duration,
}

impl Nodes {
    /// Starts `count` nodes in parallel on a network of their own and joins them into a Swarm.
    ///
    /// # Errors
    /// The node image can't be made, or the cluster is not ready in time; the error says what was seen last.
    pub async fn start(engine: &Engine, run: &Run, image: &NodeImage, count: u8) -> Result<Self> {
        if count == 0 || count > NODES_MAX {
            bail!("{count} nodes can't be started: give 1 to {NODES_MAX}");
        }
        let start = Instant::now();
        let network = Network::create(engine, run).await?;
        let mut starting = Vec::new();
        for number in 1..=count {
            starting.push(Node::start(engine, run, &network, image, number));
        }
        let nodes = try_join_all(starting).await?;
        let mut nodes = Self { nodes, network, up_in: start.elapsed(), swarm_in: Duration::ZERO };

        let start = Instant::now();
        nodes.form_swarm().await?;
        nodes.until_ready().await?;
        nodes.swarm_in = start.elapsed();
        Ok(nodes)
    }

    /// The node where the Swarm's manager is, and ours.
    pub fn manager(&self) -> &Node {
        &self.nodes[0]
    }

    /// All nodes, the manager first.
    pub fn iter(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// The node of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.iter().find(|node| node.name() == name).with_context(|| format!("no node is named `{name}`"))
    }

    /// The node of this name, to boot it.
    ///
    /// # Errors
    /// There is none.
    pub fn node_mut(&mut self, name: &str) -> Result<&mut Node> {
        self.nodes.iter_mut().find(|node| node.name() == name).with_context(|| format!("no node is named `{name}`"))
    }

    /// The network between the nodes and this machine.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The nodes as a deployment takes them.
    pub fn as_deployed(&self) -> Vec<deploy::Node> {
        let node = |node: &Node| deploy::Node {
            name: node.name().to_owned(),
            role: if node.name() == self.manager().name() { deploy::Role::Manager } else { deploy::Role::Worker },
            address: node.address().into(),
            access: deploy::Access::Socket(node.socket().to_owned()),
        };
        self.nodes.iter().map(node).collect()
    }

    /// Waits until the Swarm says of every node that it is READY.
    ///
    /// # Errors
    /// It does not within a minute; the error tells the states.
    pub async fn until_ready(&self) -> Result<()> {
        let patience = Patience::new(format!("{} nodes are READY", self.nodes.len()), READY_WITHIN);
        while let Err(last) = self.all_ready().await {
            patience.again(last).await?;
        }
        Ok(())
    }

    /// Whether all nodes are READY; otherwise the states of all.
    async fn all_ready(&self) -> Result<(), String> {
        let members = self.manager().docker().list_nodes(None::<ListNodesOptions>).await;
        let members = members.map_err(|error| error.to_string())?;
        let state = |member: &Member| member.status.as_ref().and_then(|status| status.state);
        let ready = members.iter().filter(|member| state(member) == Some(NodeState::READY)).count();
        if ready == self.nodes.len() {
            return Ok(());
        }
        let name = |member: &Member| member.description.as_ref()?.hostname.clone();
        let states = members.iter().map(|member| format!("{}: {:?}", name(member).unwrap_or_default(), state(member)));
        Err(states.collect::<Vec<_>>().join(", "))
    }

    /// Removes all nodes and their network.
    ///
    /// # Errors
    /// The outer engine refuses; the reaper will try again.
    pub async fn tear_down(self) -> Result<()> {
        let removed = join_all(self.nodes.into_iter().map(Node::remove)).await;
        removed.into_iter().collect::<Result<Vec<()>>>()?;
        self.network.remove().await
    }

    async fn form_swarm(&self) -> Result<()> {
        let manager = self.manager();
        let listen = Some(format!("0.0.0.0:{SWARM_PORT}"));
        let init = SwarmInitRequest {
            listen_addr: listen.clone(),
            advertise_addr: Some(manager.address().to_string()),
            ..SwarmInitRequest::default()
        };
        manager.docker().init_swarm(init).await.context("initialise the Swarm on node n1")?;
        let swarm = manager.docker().inspect_swarm().await.context("read the Swarm's join tokens")?;
        let token =
            swarm.join_tokens.and_then(|tokens| tokens.worker).context("the Swarm has no join token for workers")?;
        let join = async |node: &Node| {
            let request = SwarmJoinRequest {
                listen_addr: listen.clone(),
                advertise_addr: Some(node.address().to_string()),
                remote_addrs: Some(vec![format!("{}:{SWARM_PORT}", manager.address())]),
                join_token: Some(token.clone()),
                ..SwarmJoinRequest::default()
            };
            node.docker().join_swarm(request).await.with_context(|| format!("join node {} to the Swarm", node.name()))
        };
        try_join_all(self.nodes[1..].iter().map(join)).await.map(drop)
    }
}
