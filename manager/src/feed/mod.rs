//! The feed: which executors follow this manager, what each of them runs, and what it is told next.
//!
//! [`registry`] remembers and decides (its rules are in `state`), [`service`] carries it over gRPC, [`delta`] makes the messages.

pub mod delta;
mod executor;
pub mod registry;
pub mod service;
mod state;
