//! Deployments against a Swarm that is not there: the few calls of the Engine API that a deployment makes, with faults.
#![expect(clippy::unwrap_used, reason = "in tests a panic is the report")]

mod deployments;
mod engine;
mod ssh;
