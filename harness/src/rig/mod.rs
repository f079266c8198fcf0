//! The rig: three real Swarm nodes on one machine, with the product deployed on them.
//!
//! A node is a container of the local Docker engine with an engine of its own inside, so everything that Docker Swarm
//! does on machines happens here too. The rig needs no registry and no network: the node image is made of the host's
//! files, the product's images of static programs, and both are loaded as archives.
//!
//! Order of a run: [`Engine::find`] → [`reaper::janitor`] → [`Run::begin`] → [`Reaper::arm`] → [`Nodes::start`] →
//! [`Deployment::create`] → scenarios → [`Nodes::tear_down`] → [`Reaper::disarm`]. Whatever goes wrong
//! in between, the reaper removes what carries the run's label.
//!
//! What is deployed, and how, is the `deploy` crate's business, as it is for the cloud; here is only what tests need
//! besides: where tasks are, killing them, and what explains a failure. It does not decide what a scenario proves.

mod capture;
mod closure;
mod debs;
mod deployment;
mod engine;
mod facts;
mod machines;
mod network;
mod node;
mod node_image;
mod nodes;
pub mod reaper;
mod run;

pub use capture::capture;
pub(crate) use closure::Trees;
pub use debs::unpack;
pub use deployment::{Deployment, Endpoint};
pub use engine::{Engine, NoEngine};
pub use facts::{Facts, Presence};
pub use machines::DockerMachines;
pub use network::Network;
pub use node::{Node, SOCKET_FOLDER};
pub use node_image::NodeImage;
pub(crate) use node_image::load_image;
pub use nodes::Nodes;
pub use reaper::Reaper;
pub use run::{Run, RunId};
