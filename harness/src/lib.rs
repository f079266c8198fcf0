//! A Google Cloud and a Swarm on one machine, and the scenarios that prove the product on them.
//!
//! The harness runs the product's programs as programs and sees only their public faces. [`laptop`] is the stack without
//! Docker (`cargo xtask dev`, process-level tests); [`e2e`] runs the scenarios on the real Swarm nodes of [`rig`];
//! [`mod@bench`] measures; [`init_cases`] tries the supervisor as the first process of containers. All stand on the local [`cloud`].

pub mod bench;
pub mod client;
pub mod cloud;
pub mod conformance;
pub mod e2e;
pub mod fleet;
pub mod init_cases;
pub mod laptop;
pub mod load;
pub mod local;
pub mod process;
pub mod programs;
pub mod report;
pub mod rig;
pub mod sandbox_cases;
pub mod wait;
