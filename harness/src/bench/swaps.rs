//! New versions of the script that is under load, many times a second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use contract::Version;
use contract::api::HEADER_VERSION;
use loadgen::outcome::Outcome;
use serde::{Deserialize, Serialize};

use super::Bench;
use super::figure::Figure;
use super::generator::{Ask, Load};
use super::stack::Stack;
use crate::load::Series;

/// One push per this time.
const EVERY: Duration = Duration::from_millis(50);
const CONNECTIONS: u16 = 32;

/// Load with and without swaps.
#[derive(Debug, Clone, Serialize)]
pub struct Swaps {
    /// Swaps in all rounds.
    pub swaps: usize,
    /// Swaps per second that were reached.
    pub swaps_per_second: Figure,
    /// Without swaps.
    pub calm_requests_per_second: Figure,
    /// With swaps.
    pub swapped_requests_per_second: Figure,
    /// With over without, in the same round.
    pub speed_ratio: Figure,
    /// Without swaps, microseconds.
    pub calm_p99_us: Figure,
    /// With swaps, microseconds.
    pub swapped_p99_us: Figure,
    /// With over without, in the same round.
    pub p99_ratio: Figure,
    /// The executor's processor time per request without swaps, microseconds.
    pub calm_cpu_us: Figure,
    /// The same with swaps: the manager and the local cloud take the rest of the difference in speed.
    pub swapped_cpu_us: Figure,
    /// Requests during swaps.
    pub requests: u64,
    /// Of these, without a good answer.
    pub faults: u64,
    /// Of these, whose body is of another version than their header says.
    pub mixed: u64,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    requests_per_second: f64,
    p99: f64,
    cpu: f64,
}

pub(super) async fn run(bench: &Bench<'_>) -> Result<Swaps> {
    let stack = Stack::start(&bench.tools, &bench.folder.join("swaps")).await?;
    stack.push("bench", "series", &Series::source(0)).await?;
    let (mut calm, mut swapped) = (Vec::new(), Vec::new());
    let (mut next, mut rates, mut requests, mut faults, mut mixed) = (1, Vec::new(), 0, 0, 0);
    for round in 1..=bench.lengths.rounds {
        calm.push(measure(bench, &stack).await?.0);

        let over = AtomicBool::new(false);
        let first = next;
        let load = async {
            let measured = measure(bench, &stack).await;
            over.store(true, Ordering::Relaxed);
            measured
        };
        let ((sample, outcome), ()) = tokio::try_join!(load, swap(&stack, &over, &mut next))?;
        let rate = (next - first) as f64 / outcome.seconds;
        (bench.say)(&format!(
            "swaps: round {round}: {rate:.1}/s, {:.0} requests/s with, {:.0} without",
            sample.requests_per_second,
            calm.last().map_or(0.0, |sample| sample.requests_per_second)
        ));
        rates.push(rate);
        swapped.push(sample);
        requests += outcome.requests;
        faults += outcome.requests - outcome.good + outcome.broken + outcome.unanswered;
        mixed += count_mixed(&outcome);
    }
    stack.laptop.stop().await;

    let figure = |samples: &[Sample], value: fn(&Sample) -> f64| Figure::of(samples.iter().map(value));
    let ratio = |value: fn(&Sample) -> f64| {
        Figure::of(swapped.iter().zip(&calm).map(|(with, without)| value(with) / value(without)))
    };
    Ok(Swaps {
        swaps: next - 1,
        swaps_per_second: Figure::of(rates),
        calm_requests_per_second: figure(&calm, |sample| sample.requests_per_second),
        swapped_requests_per_second: figure(&swapped, |sample| sample.requests_per_second),
        speed_ratio: ratio(|sample| sample.requests_per_second),
        calm_p99_us: figure(&calm, |sample| sample.p99),
        swapped_p99_us: figure(&swapped, |sample| sample.p99),
        p99_ratio: ratio(|sample| sample.p99),
        calm_cpu_us: figure(&calm, |sample| sample.cpu),
        swapped_cpu_us: figure(&swapped, |sample| sample.cpu),
        requests,
        faults,
        mixed,
    })
}

/// Pushes the next of the series in every [`EVERY`] until it is over.
async fn swap(stack: &Stack, over: &AtomicBool, next: &mut usize) -> Result<()> {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    while !over.load(Ordering::Relaxed) {
        ticks.tick().await;
        stack.push("bench", "series", &Series::source(*next)).await?;
        *next += 1;
    }
    Ok(())
}

async fn measure(bench: &Bench<'_>, stack: &Stack) -> Result<(Sample, Outcome)> {
    let load = Load {
        address: stack.address()?,
        ask: &Ask::Path("/v1/run/bench/series".into()),
        body: None,
        connections: CONNECTIONS,
        seconds: bench.lengths.seconds,
        requests: None,
        rate: None,
        expect: "\"output\"",
        note: Some(HEADER_VERSION),
    };
    let before = stack.usage()?;
    let outcome = bench.tools.generator.run(&load).await?;
    let cpu = stack.usage()?.cpu - before.cpu;
    let sample = Sample {
        requests_per_second: outcome.good as f64 / outcome.seconds,
        p99: outcome.latency.p99,
        cpu: cpu.as_secs_f64() * 1e6 / outcome.requests.max(1) as f64,
    };
    Ok((sample, outcome))
}

/// Answers that are not what the version in their header answers, and those that were too many to be told apart.
fn count_mixed(outcome: &Outcome) -> u64 {
    #[derive(Deserialize)]
    struct Body {
        output: Output,
    }
    #[derive(Deserialize)]
    struct Output {
        k: usize,
    }
    let fits = |header: &str, body: &str| {
        serde_json::from_str::<Body>(body)
            .is_ok_and(|body| Version::of(Series::source(body.output.k).as_bytes()).as_str() == header)
    };
    let mixed = outcome.answers.iter().filter(|noted| !fits(&noted.header, &noted.body)).map(|noted| noted.count);
    mixed.sum::<u64>() + outcome.other_answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use loadgen::outcome::Noted;

    #[test]
    fn an_answer_of_another_version_than_its_header_is_mixed() {
        let version = Version::of(Series::source(3).as_bytes()).as_str().to_owned();
        let noted =
            |k: usize, count| Noted { header: version.clone(), body: format!(r#"{{"output":{{"k":{k}}}}}"#), count };

        let outcome = Outcome { answers: vec![noted(3, 10), noted(4, 2)], ..Outcome::default() };

        assert_eq!(count_mixed(&outcome), 2);
    }
}
