//! Process-level tests: the local cloud under the official clients, and the whole product as real programs on it.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests are tests too")]

mod bad_input;
mod cloud;
mod middleware;
mod outages;
mod path;
mod policy;
mod provision;
mod requests;
mod support;
