//! The program as a process: what a script asks for and what comes of it.
//!
//! Here it is no first process but adopts orphans all the same. Inside containers, as the first one, it is tried by
//! `cargo xtask init-cases`.
#![expect(clippy::unwrap_used, reason = "what fails here fails a test, and clippy knows only the test functions")]

mod api;
mod examples;
mod reference;
mod services;
mod signals;
mod support;
