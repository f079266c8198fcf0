//! Four times more work than cores: nobody who did nothing wrong may be stopped for taking long.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::Bench;
use super::generator::{Ask, Load};
use super::peers::{EXPECT, ORDER};
use super::stack::Stack;

/// Busy processes per core.
const BUSY_PER_CORE: usize = 4;
const CONNECTIONS: u16 = 32;

/// Requests per second below which the run is given up.
const SLOWEST: f64 = 1000.0;

/// Requests on a machine that has no time for them.
#[derive(Debug, Clone, Serialize)]
pub struct Oversubscription {
    /// Busy processes beside the executor and the generator.
    pub busy_processes: usize,
    /// Requests that were answered.
    pub requests: u64,
    /// Requests that were wanted.
    pub wanted: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Answers that were not 200 with the right text: executions that were stopped, though innocent.
    pub killed: u64,
    /// Requests without any answer.
    pub lost: u64,
    /// Per second.
    pub requests_per_second: f64,
    /// Latency, microseconds.
    pub p99_us: f64,
    /// The longest, microseconds.
    pub max_us: f64,
}

pub(super) async fn run(bench: &Bench<'_>) -> Result<Oversubscription> {
    let stack = Stack::start(&bench.tools, &bench.folder.join("oversubscription")).await?;
    stack.push("bench", "rule", include_str!("../../bench/rule.lua")).await?;
    let body = bench.folder.join("order.json");
    fs_err::write(&body, ORDER)?;

    let wanted = bench.lengths.requests;
    let seconds = 30.0 + wanted as f64 / SLOWEST;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let busy =
        (0..cores * BUSY_PER_CORE).map(|_| bench.tools.generator.busy(seconds + 30.0)).collect::<Result<Vec<_>>>()?;
    let load = Load {
        address: stack.address()?,
        ask: &Ask::Path("/v1/run/bench/rule".into()),
        body: Some(&body),
        connections: CONNECTIONS,
        seconds,
        requests: Some(wanted),
        rate: None,
        expect: EXPECT,
        note: None,
    };
    let outcome = bench.tools.generator.run(&load).await?;
    let busy_processes = busy.len();
    drop(busy);
    stack.laptop.stop().await;
    Ok(Oversubscription {
        busy_processes,
        requests: outcome.requests,
        wanted,
        killed: outcome.requests - outcome.good,
        lost: outcome.broken + outcome.unanswered,
        statuses: outcome.statuses,
        requests_per_second: outcome.requests as f64 / outcome.seconds,
        p99_us: outcome.latency.p99,
        max_us: outcome.latency.max,
    })
}
