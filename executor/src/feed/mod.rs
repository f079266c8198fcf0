//! Following releases: the stream to a manager (`client`), what its messages mean (`follower`), and how they are
//! read (`wire`).
//!
//! Everything here runs on the control thread; compiling runs beside it, so that the stream stays alive meanwhile.

pub(crate) mod backoff;
mod client;
mod follower;
mod wire;

pub use client::{Link, follow};
