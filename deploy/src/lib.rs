//! Puts the product on a Docker Swarm, and takes it back where that fails.
//!
//! [`Settings`] (the `[deploy]` section of a stack file), images and secrets are a [`Product`]; nodes are plain values
//! ([`Node`]), whoever made them. What is wanted ([`product`]), what would go wrong (`lint`), what differs (`diff`) and
//! where an update stands (`watch`) are decided without I/O; [`Session`] asks the Swarm and acts.
//!
//! A deployment: lock → checks → images to all nodes → secrets and configs by content → services in the order in which
//! they need each other, each followed until it runs → every task asked whether it works → record → prune. What fails
//! after the first service was touched is taken back, with exit code 5.
//!
//! The running rules are not part of a deployment: the config that rolling activation put into the executors' service
//! stays, whatever is deployed or gone back to.

mod apply;
mod cluster;
mod diff;
mod error;
mod history;
pub mod image;
mod lint;
mod lock;
mod model;
pub mod nodes;
mod place;
pub mod product;
mod progress;
mod prune;
mod session;
pub mod settings;
mod spec;
mod status;
mod tunnel;
mod verify;
mod watch;

pub use apply::Applied;
pub use cluster::Cluster;
pub use diff::Change;
pub use error::{DeployError, chain};
pub use history::{RECORDS_MAX, Record};
pub use lock::Who;
pub use nodes::{Access, Node, Role};
pub use product::Product;
pub use progress::Event;
pub use prune::Pruned;
pub use session::{Plan, PlannedService, Session};
pub use settings::{Secrets, Settings};
pub use status::{Deployment, ServiceStatus, Status, TaskStatus};
pub use tunnel::TunnelError;
