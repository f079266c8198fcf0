//! The same rule, request and number of workers on our executor and on the servers that people use instead.
//!
//! All servers run at the same time and are measured in turn, round after round, so that what else the machine does hits
//! all of them. Ratios are taken within a round.

use anyhow::Result;
use serde::Serialize;

use super::figure::Figure;
use super::generator::Load;
use super::peers::{self, EXPECT, ORDER, Server};
use super::stack::Stack;
use super::{Bench, machine, usage};

/// Connections of the closed loops: busy, and nearly idle.
const CONNECTIONS: [u16; 2] = [32, 4];

/// Of the slowest server's throughput: what the open loop asks for.
const OPEN_SHARE: f64 = 0.5;

/// Seconds for each server before anything counts.
const WARM_UP: f64 = 0.5;

/// How the servers compare.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Closed loops, one for each number of connections, and an open loop.
    pub contests: Vec<Contest>,
    /// Servers that were not measured.
    pub skipped: Vec<Skipped>,
}

/// A server that was not measured.
#[derive(Debug, Clone, Serialize)]
pub struct Skipped {
    /// Its name.
    pub name: String,
    /// Why, and what would help.
    pub why: String,
}

/// All servers under the same load.
#[derive(Debug, Clone, Serialize)]
pub struct Contest {
    /// Connections.
    pub connections: u16,
    /// Requests per second of an open loop; absent in a closed one.
    pub rate: Option<f64>,
    /// Ours first.
    pub servers: Vec<Entrant>,
}

/// How one server did.
#[derive(Debug, Clone, Serialize)]
pub struct Entrant {
    /// Its name.
    pub name: String,
    /// What it says it is.
    pub version: String,
    /// Good answers per second.
    pub requests_per_second: Figure,
    /// Latency, microseconds.
    pub p50_us: Figure,
    /// The same.
    pub p99_us: Figure,
    /// The same.
    pub p999_us: Figure,
    /// Processor time of the server per request, microseconds.
    pub cpu_us: Figure,
    /// Resident memory at the end, MiB.
    pub rss_mib: f64,
    /// Requests without a good answer.
    pub faults: u64,
    /// Ours over this one's requests per second: above 1, ours is faster.
    pub speed_of_ours: Figure,
    /// This one's over our processor time per request: above 1, ours is cheaper.
    pub thrift_of_ours: Figure,
    /// Ours over this one's p99: below 1, ours is quicker.
    pub p99_of_ours: Figure,
}

/// One server in one round.
#[derive(Debug, Clone, Copy)]
struct Sample {
    requests_per_second: f64,
    p50: f64,
    p99: f64,
    p999: f64,
    cpu: f64,
    rss: f64,
    faults: u64,
}

pub(super) async fn run(bench: &Bench<'_>) -> Result<Comparison> {
    let stack = Stack::start(&bench.tools, &bench.folder.join("peers/moonswarm")).await?;
    stack.push("bench", "rule", include_str!("../../bench/rule.lua")).await?;
    let version = machine::version(&bench.tools.programs.executor, "--version");
    let ours = Server::ours(version, stack.address()?, "/v1/run/bench/rule", stack.process()?);
    ours.try_out().await?;

    let (mut servers, mut skipped) = (vec![ours], Vec::new());
    for recipe in &peers::ALL {
        let folder = bench.folder.join("peers").join(recipe.name.replace([' ', '+'], "-"));
        let missing = recipe.missing();
        let started = if missing.is_empty() {
            Server::start(recipe, &folder).await.map_err(|err| format!("broken: {err:#}"))
        } else {
            Err(format!("not installed: apt-get install {} (`--install` does that)", missing.join(" ")))
        };
        match started {
            Ok(server) => servers.push(server),
            Err(why) => {
                (bench.say)(&format!("peers: {} SKIPPED, {why}", recipe.name));
                skipped.push(Skipped { name: recipe.name.into(), why });
            }
        }
    }

    let body = bench.folder.join("order.json");
    fs_err::write(&body, ORDER)?;
    for server in &servers {
        measure(bench, server, CONNECTIONS[0], WARM_UP, None).await?;
    }
    let mut contests = Vec::new();
    for connections in CONNECTIONS {
        contests.push(contest(bench, &servers, connections, None).await?);
    }
    let slowest = contests[0].servers.iter().map(|entrant| entrant.requests_per_second.median).fold(f64::MAX, f64::min);
    // Rounded, so that it can be asked for again.
    let rate = (slowest * OPEN_SHARE / 100.0).round().max(1.0) * 100.0;
    contests.push(contest(bench, &servers, CONNECTIONS[0], Some(rate)).await?);
    drop(servers);
    stack.laptop.stop().await;
    Ok(Comparison { contests, skipped })
}

async fn contest(bench: &Bench<'_>, servers: &[Server], connections: u16, rate: Option<f64>) -> Result<Contest> {
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); servers.len()];
    for round in 1..=bench.lengths.rounds {
        for (server, samples) in servers.iter().zip(&mut samples) {
            let sample = measure(bench, server, connections, bench.lengths.seconds, rate).await?;
            (bench.say)(&format!(
                "peers: {connections} connections{}, round {round}: {:<16} {:>7.0}/s  p99 {:>7.0} µs  {:>6.1} CPU-µs",
                if rate.is_some() { " at a fixed rate" } else { "" },
                server.name,
                sample.requests_per_second,
                sample.p99,
                sample.cpu
            ));
            samples.push(sample);
        }
    }
    let entrants = servers.iter().zip(&samples).map(|(server, theirs)| entrant(server, theirs, &samples[0]));
    Ok(Contest { connections, rate, servers: entrants.collect() })
}

async fn measure(
    bench: &Bench<'_>,
    server: &Server,
    connections: u16,
    seconds: f64,
    rate: Option<f64>,
) -> Result<Sample> {
    let body = bench.folder.join("order.json");
    let load = Load {
        address: server.address,
        ask: &server.ask,
        body: Some(&body),
        connections,
        seconds,
        requests: None,
        rate,
        expect: EXPECT,
        note: None,
    };
    let before = usage::of_tree(server.process)?;
    let outcome = bench.tools.generator.run(&load).await?;
    let after = usage::of_tree(server.process)?;
    Ok(Sample {
        requests_per_second: outcome.good as f64 / outcome.seconds,
        p50: outcome.latency.p50,
        p99: outcome.latency.p99,
        p999: outcome.latency.p999,
        cpu: (after.cpu - before.cpu).as_secs_f64() * 1e6 / outcome.requests.max(1) as f64,
        rss: after.rss_bytes as f64 / f64::from(1 << 20),
        faults: outcome.requests - outcome.good + outcome.broken + outcome.unanswered,
    })
}

fn entrant(server: &Server, theirs: &[Sample], ours: &[Sample]) -> Entrant {
    let figure = |value: fn(&Sample) -> f64| Figure::of(theirs.iter().map(value));
    let ratio = |value: fn(&Sample, &Sample) -> f64| {
        Figure::of(ours.iter().zip(theirs).map(|(ours, theirs)| value(ours, theirs)))
    };
    Entrant {
        name: server.name.clone(),
        version: server.version.clone(),
        requests_per_second: figure(|sample| sample.requests_per_second),
        p50_us: figure(|sample| sample.p50),
        p99_us: figure(|sample| sample.p99),
        p999_us: figure(|sample| sample.p999),
        cpu_us: figure(|sample| sample.cpu),
        rss_mib: theirs.last().map_or(0.0, |sample| sample.rss),
        faults: theirs.iter().map(|sample| sample.faults).sum(),
        speed_of_ours: ratio(|ours, theirs| ours.requests_per_second / theirs.requests_per_second),
        thrift_of_ours: ratio(|ours, theirs| theirs.cpu / ours.cpu),
        p99_of_ours: ratio(|ours, theirs| ours.p99 / theirs.p99),
    }
}
