//! The nodes with their engines at hand: who answers, who leads, who is who in the Swarm.

use docker::{Engine, EngineError};
use futures_util::future::join_all;
use serde::Deserialize;

use crate::error::DeployError;
use crate::model::soon;
use crate::nodes::{Access, Node};
use crate::tunnel::Tunnel;

/// What an engine says of itself and of its place in the Swarm (`GET /info`).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Info {
    #[serde(default, rename = "OSType")]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) architecture: String,
    /// RFC 3339.
    #[serde(default)]
    pub(crate) system_time: String,
    #[serde(default)]
    pub(crate) swarm: SwarmInfo,
}

/// An engine's place in the Swarm.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SwarmInfo {
    #[serde(default, rename = "NodeID")]
    pub(crate) node_id: String,
    /// `active`, `inactive`, `locked`, …
    #[serde(default)]
    pub(crate) local_node_state: String,
    /// The engine takes orders for the Swarm.
    #[serde(default)]
    pub(crate) control_available: bool,
}

/// A node whose engine can be asked.
#[derive(Debug)]
pub(crate) struct Member {
    node: Node,
    engine: Engine,
    api: String,
    info: Info,
    _tunnel: Option<Tunnel>,
}

impl Member {
    async fn reach(node: &Node) -> Result<Self, DeployError> {
        let (address, tunnel) = match &node.access {
            Access::Socket(path) => (path.clone(), None),
            Access::Ssh(ssh) => {
                let open = Tunnel::open(ssh).await;
                let tunnel = open.map_err(|err| DeployError::Tunnel { node: node.name.clone(), err })?;
                (tunnel.socket(), Some(tunnel))
            }
        };
        let ask = async {
            let engine = Engine::at(&format!("unix://{}", address.display()))?;
            let info: Info = engine.get("/info", soon()).await?;
            let api = engine.api_version(soon()).await?;
            Ok::<_, EngineError>((engine, info, api))
        };
        let (engine, info, api) = ask.await.map_err(|err| DeployError::on(&node.name, err))?;
        Ok(Self { node: node.clone(), engine, api, info, _tunnel: tunnel })
    }

    pub(crate) fn name(&self) -> &str {
        &self.node.name
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn info(&self) -> &Info {
        &self.info
    }

    /// Newest version of its API, `1.41`.
    pub(crate) fn api(&self) -> &str {
        &self.api
    }
}

/// All nodes that a deployment goes to.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Member>,
    nodes: Vec<Node>,
    unreachable: Vec<(String, DeployError)>,
}

impl Cluster {
    /// Reaches for the engines of all `nodes`, in parallel. That one can't be reached is told by the checks before a
    /// deployment; that none leads a Swarm is an error now.
    ///
    /// # Errors
    /// [`DeployError::NoManager`].
    pub async fn connect(nodes: &[Node]) -> Result<Self, DeployError> {
        let reached = join_all(nodes.iter().map(Member::reach)).await;
        let (mut members, mut unreachable) = (Vec::new(), Vec::new());
        for (node, reached) in nodes.iter().zip(reached) {
            match reached {
                Ok(member) => members.push(member),
                Err(err) => unreachable.push((node.name.clone(), err)),
            }
        }
        let cluster = Self { members, nodes: nodes.to_vec(), unreachable };
        if cluster.members.iter().any(|member| member.info.swarm.control_available) {
            return Ok(cluster);
        }
        let states = cluster.members.iter().map(|member| {
            let swarm = &member.info.swarm;
            format!("{}: reached, Swarm {}, takes no orders", member.name(), swarm.local_node_state)
        });
        let silent = cluster.unreachable.iter().map(|(name, err)| format!("{name}: {}", crate::error::chain(err)));
        Err(DeployError::NoManager { states: states.chain(silent).collect::<Vec<_>>().join("; ") })
    }

    /// The engine that takes orders for the Swarm.
    pub(crate) fn swarm(&self) -> &Engine {
        self.leader().engine()
    }

    pub(crate) fn leader(&self) -> &Member {
        let leader = self.members.iter().find(|member| member.info.swarm.control_available);
        leader.expect("connect() gives no cluster without one")
    }

    /// Those that can be asked.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    /// The member with this id in Swarm.
    pub(crate) fn by_id(&self, id: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.info.swarm.node_id == id)
    }

    /// All nodes, also those that can't be asked.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Those that can't be asked, and why.
    pub(crate) fn unreachable(&self) -> &[(String, DeployError)] {
        &self.unreachable
    }
}
