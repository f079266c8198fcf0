//! Many tenants with a script each that nobody calls: what they hold in memory, and what the first call waits for.

use std::fmt::Write;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;

use super::Bench;
use super::generator::{Ask, Load};
use super::peers::{EXPECT, ORDER};
use super::stack::Stack;
use crate::laptop::BUCKET;

/// Tenants that are called for the first time, all over one connection and so on one worker.
const COLD_CALLS: usize = 1000;

/// Tenants that are called again and again, and how often: few enough first calls that they are not in the p99.
const WARM_TENANTS: usize = 20;
const WARM_ROUNDS: usize = 500;

/// What so many tenants cost.
#[derive(Debug, Clone, Serialize)]
pub struct Crowd {
    /// Tenants, of one script each.
    pub tenants: usize,
    /// From the start of a manager that finds them in the bucket to an executor that runs them, seconds.
    pub released_seconds: f64,
    /// One more push, until the executor runs it, milliseconds.
    pub change_ms: f64,
    /// From the start of an executor that has the release on disk until it answers with it, milliseconds.
    pub boot_ms: f64,
    /// Resident memory of that executor before the first call, MiB.
    pub rss_mib: f64,
    /// The same per tenant, without what an executor holds that has none, KiB.
    pub cold_kib: f64,
    /// So many cold tenants fit into a GiB.
    pub tenants_per_gib: f64,
    /// Resident memory per VM after the first calls, KiB.
    pub vm_kib: f64,
    /// First calls, microseconds.
    pub cold_p50_us: f64,
    /// The same.
    pub cold_p99_us: f64,
    /// Further calls, microseconds.
    pub warm_p50_us: f64,
    /// The same.
    pub warm_p99_us: f64,
    /// Calls without a good answer.
    pub faults: u64,
}

pub(super) async fn run(bench: &Bench<'_>, tenants: usize) -> Result<Crowd> {
    let mut stack = Stack::start(&bench.tools, &bench.folder.join(format!("tenants-{tenants}"))).await?;
    let empty = stack.usage()?.rss_bytes;
    // Without a manager while the objects are written, so that it finds them all at once.
    stack.laptop.manager.kill().await?;
    for number in 0..tenants {
        let object = format!("tenants/{}/scripts/rule.luau", name(number));
        let source = format!("-- {}\n{}", name(number), include_str!("../../bench/rule.lua"));
        stack.laptop.cloud.storage().put(BUCKET, &object, source)?;
    }
    let start = Instant::now();
    stack.laptop.restart_manager().await?;
    stack.wait_for_scripts(tenants).await?;
    let released_seconds = start.elapsed().as_secs_f64();
    (bench.say)(&format!("tenants: {tenants} live in {released_seconds:.1} s"));

    let start = Instant::now();
    stack.push("one-more", "rule", include_str!("../../bench/rule.lua")).await?;
    let change_ms = millis(start);

    stack.laptop.executors[0].terminate(std::time::Duration::from_secs(20)).await?;
    let start = Instant::now();
    stack.laptop.restart_executor(0).await?;
    stack.wait_for_scripts(tenants + 1).await?;
    let boot_ms = millis(start);
    let cold = stack.usage()?.rss_bytes;

    let first: Vec<usize> = (0..tenants.min(COLD_CALLS)).collect();
    let first_calls = call(bench, &stack, &first, first.len()).await?;
    let warm = stack.usage()?.rss_bytes;
    let again: Vec<usize> = (0..WARM_TENANTS).collect();
    let further_calls = call(bench, &stack, &again, WARM_TENANTS * WARM_ROUNDS).await?;

    let vms = stack.vms().await?.max(1.0);
    let cold_kib = kib(cold.saturating_sub(empty)) / tenants as f64;
    stack.laptop.stop().await;
    Ok(Crowd {
        tenants,
        released_seconds,
        change_ms,
        boot_ms,
        rss_mib: kib(cold) / 1024.0,
        cold_kib,
        tenants_per_gib: f64::from(1 << 20) / cold_kib,
        vm_kib: kib(warm.saturating_sub(cold)) / vms,
        cold_p50_us: first_calls.latency.p50,
        cold_p99_us: first_calls.latency.p99,
        warm_p50_us: further_calls.latency.p50,
        warm_p99_us: further_calls.latency.p99,
        faults: first_calls.requests - first_calls.good + further_calls.requests - further_calls.good,
    })
}

async fn call(bench: &Bench<'_>, stack: &Stack, tenants: &[usize], calls: usize) -> Result<loadgen::outcome::Outcome> {
    let (paths, body) = (bench.folder.join("paths"), bench.folder.join("order.json"));
    let mut list = String::new();
    for &number in tenants {
        writeln!(list, "/v1/run/{}/rule", name(number))?;
    }
    fs_err::write(&paths, list)?;
    fs_err::write(&body, ORDER)?;
    let load = Load {
        address: stack.address()?,
        ask: &Ask::Paths(paths),
        body: Some(&body),
        connections: 1,
        seconds: 60.0,
        requests: Some(calls as u64),
        rate: None,
        expect: EXPECT,
        note: None,
    };
    bench.tools.generator.run(&load).await
}

fn name(number: usize) -> String {
    format!("tenant-{number:06}")
}

fn millis(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}

fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}
