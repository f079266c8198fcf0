//! Deployments against a Swarm that is not there: the few calls of the Engine API that a deployment makes, with faults.

mod deployments;
mod engine;
mod ssh;
