//! The executor as callers and managers see it: in process on port 0, with a manager that the test speaks for, and as a
//! program.

#![expect(clippy::unwrap_used, reason = "in tests a panic is the report")]

mod asks;
mod caller;
mod drain;
mod events;
mod feed;
mod http;
mod later;
mod life_cycle;
mod manager;
mod middleware;
mod outbound;
mod policy;
mod program;
mod pubsub;
mod releases;
mod strategies;
mod world;
