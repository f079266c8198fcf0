//! The manager: turns the state of a bucket into signed releases and moves executors to them.
//!
//! The bucket is the truth. Changes come in by three doors (the API, notifications, a look at the whole bucket), pass
//! the gate, and leave by one lane as releases: prepared on the executors, committed by a conditional write to the
//! bucket, activated. Nothing that matters is only in memory; a manager that restarts finds everything again.
//!
//! Only [`bucket::google`], [`cloud`] and [`notifications`] name Google's clients, only [`swarm`] the Docker API, only
//! [`settings`] the environment. [`plan`] is pure.

pub mod activation;
pub mod api;
pub mod bucket;
pub mod change;
pub mod cloud;
pub mod context;
pub mod feed;
pub mod fetch;
pub mod gate;
pub mod hints;
pub mod keygen;
pub mod metrics;
pub mod notifications;
pub mod plan;
pub mod pointer;
pub mod reconcile;
pub mod refusals;
pub mod releaser;
pub mod releases;
pub mod rolling;
pub mod run;
pub mod serve;
pub mod settings;
pub mod swarm;
pub mod writing;
