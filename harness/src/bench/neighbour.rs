//! A tenant that is called now and then, beside one that takes all it can get.
//!
//! The quiet tenant is asked at a fixed rate and its latency counts from when a request was due, so that a stall is not
//! hidden by asking less.

use anyhow::Result;
use serde::Serialize;
use tokio::time::{Duration, sleep};

use super::Bench;
use super::figure::Figure;
use super::generator::{Ask, Load};
use super::peers::{EXPECT, ORDER};
use super::stack::Stack;

/// Requests per second of the quiet tenant.
const RATE: f64 = 500.0;
const QUIET_CONNECTIONS: u16 = 8;
const LOUD_CONNECTIONS: u16 = 64;

/// The loud one begins this long before, and goes on this long after the quiet one is measured.
const MARGIN: f64 = 0.5;

const ENDLESS: &str = "return function() while true do end end";
/// Some 10 ms of honest work.
const HEAVY: &str =
    "return function()\n  local sum = 0\n  for i = 1, 1000000 do sum = sum + i % 7 end\n  return sum\nend";

/// What the quiet tenant has beside it.
const COMPANY: [(&str, Company); 4] = [
    ("nobody", Company::Nobody),
    ("busy processes", Company::Processes),
    ("heavy scripts", Company::Script("heavy")),
    ("endless loops", Company::Script("endless")),
];

#[derive(Debug, Clone, Copy)]
enum Company {
    Nobody,
    /// One process per core that is not ours at all: what a busy machine does without any tenant's fault.
    Processes,
    Script(&'static str),
}

/// The quiet tenant beside something.
#[derive(Debug, Clone, Serialize)]
pub struct Neighbour {
    /// Beside what.
    pub beside: &'static str,
    /// Its latency, microseconds.
    pub p50_us: Figure,
    /// The same.
    pub p99_us: Figure,
    /// Its p99 over the one beside nobody, in the same round.
    pub p99_ratio: Figure,
    /// Its requests without a good answer.
    pub faults: u64,
    /// Answers that the other one got, all rounds together.
    pub other_answers: u64,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    p50: f64,
    p99: f64,
    faults: u64,
    other_answers: u64,
}

pub(super) async fn run(bench: &Bench<'_>) -> Result<Vec<Neighbour>> {
    let stack = Stack::start(&bench.tools, &bench.folder.join("neighbour")).await?;
    stack.push("quiet", "rule", include_str!("../../bench/rule.lua")).await?;
    stack.push("loud", "endless", ENDLESS).await?;
    stack.push("loud", "heavy", HEAVY).await?;
    fs_err::write(bench.folder.join("order.json"), ORDER)?;

    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); COMPANY.len()];
    for round in 1..=bench.lengths.rounds {
        for ((beside, company), samples) in COMPANY.iter().zip(&mut samples) {
            let sample = measure(bench, &stack, *company).await?;
            (bench.say)(&format!(
                "neighbour: round {round}: beside {beside:<14}  p50 {:>8.0} µs  p99 {:>8.0} µs",
                sample.p50, sample.p99
            ));
            samples.push(sample);
        }
    }
    stack.laptop.stop().await;
    let neighbour = |(&(beside, _), theirs): (&(&'static str, Company), &Vec<Sample>)| Neighbour {
        beside,
        p50_us: Figure::of(theirs.iter().map(|sample| sample.p50)),
        p99_us: Figure::of(theirs.iter().map(|sample| sample.p99)),
        p99_ratio: Figure::of(theirs.iter().zip(&samples[0]).map(|(with, alone)| with.p99 / alone.p99)),
        faults: theirs.iter().map(|sample| sample.faults).sum(),
        other_answers: theirs.iter().map(|sample| sample.other_answers).sum(),
    };
    Ok(COMPANY.iter().zip(&samples).map(neighbour).collect())
}

async fn measure(bench: &Bench<'_>, stack: &Stack, company: Company) -> Result<Sample> {
    let (address, seconds) = (stack.address()?, bench.lengths.seconds);
    let generator = &bench.tools.generator;
    let (body, rule) = (bench.folder.join("order.json"), Ask::Path("/v1/run/quiet/rule".into()));
    let quiet = Load {
        address,
        ask: &rule,
        body: Some(&body),
        connections: QUIET_CONNECTIONS,
        seconds,
        requests: None,
        rate: Some(RATE),
        expect: EXPECT,
        note: None,
    };
    let quiet = async {
        sleep(Duration::from_secs_f64(MARGIN)).await;
        generator.run(&quiet).await
    };
    let (quiet, other_answers) = match company {
        Company::Nobody => (quiet.await?, 0),
        Company::Processes => {
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
            let busy: Vec<_> = (0..cores).map(|_| generator.busy(seconds + 2.0 * MARGIN)).collect::<Result<_>>()?;
            let outcome = quiet.await?;
            drop(busy);
            (outcome, 0)
        }
        Company::Script(script) => {
            let ask = Ask::Path(format!("/v1/run/loud/{script}"));
            let loud = Load {
                address,
                ask: &ask,
                body: None,
                connections: LOUD_CONNECTIONS,
                seconds: seconds + 2.0 * MARGIN,
                requests: None,
                rate: None,
                expect: "",
                note: None,
            };
            let (quiet, loud) = tokio::try_join!(quiet, generator.run(&loud))?;
            (quiet, loud.requests)
        }
    };
    Ok(Sample {
        p50: quiet.latency.p50,
        p99: quiet.latency.p99,
        faults: quiet.requests - quiet.good + quiet.broken + quiet.unanswered,
        other_answers,
    })
}
