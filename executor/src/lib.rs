//! Runs rules: follows the feed, holds the active release in memory, answers HTTP.
//!
//! A release comes in by [`boot`] (disk cache, Docker config) or by the [`feed`], is verified and compiled by
//! [`release::prepare`], and is swapped in by [`release::Serving`]. Worker threads ([`worker`]) answer requests
//! ([`http`]); where their scripts run, mostly on the same thread, [`strategy`] says. Nothing here knows the bucket, Docker or the Luau engine.

pub mod boot;
pub mod cache;
mod executions;
mod executor;
pub mod feed;
pub mod http;
mod life_cycle;
mod listen;
mod messages;
pub mod metrics;
pub mod outbound;
mod places;
pub mod pubsub;
pub mod release;
pub mod settings;
pub mod shutdown;
pub mod strategy;
mod vms;
pub mod worker;

pub use executor::{Executor, StartError};

/// Stack of every thread that compiles or runs scripts, in bytes: the Luau parser and 200 nested C calls overflow
/// stacks below 1 MiB and take the process with them.
pub(crate) const STACK_BYTES: usize = 8 << 20;
