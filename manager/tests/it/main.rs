//! The manager as its neighbours see it: the API over HTTP, the feed over gRPC, the bucket in memory.
#![expect(clippy::unwrap_used, reason = "a test that can't go on says where")]

mod api;
mod bucket;
mod executor;
mod feed;
mod hints;
mod lane;
mod packages;
mod policy;
mod reconcile;
mod rolling;
mod world;
