//! Swapping under the heaviest load this machine can make.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use hdrhistogram::Histogram;

use crate::e2e::world::World;
use crate::load::{Load, Series, Target};
use crate::report::{Latency, LoadReport};

const SWAPS: usize = 200;
const REQUESTS: usize = 1_000_000;

/// The load ends when both numbers are reached; a machine that can't do it in this time is told so.
const DEADLINE: Duration = Duration::from_secs(600);

pub(super) async fn hot_swap_under_load_drops_and_mixes_nothing(world: &mut World) -> Result<()> {
    let (swaps, requests) = (world.scaled(SWAPS), world.scaled(REQUESTS));
    let series = Arc::new(Series::new(swaps + 1));
    world.push("load", "risk", &Series::source(0)).await?;
    let target = Target {
        urls: world.executor_urls().await?,
        token: world.caller_token.clone(),
        tenant: "load".into(),
        script: "risk".into(),
        connections_each: 3,
    };
    let load = Load::start(target, series).await?;
    let mut micros = Histogram::<u64>::new(3)?;

    let start = Instant::now();
    for number in 1..=swaps {
        // Swaps are spread over the load: the next one comes when its share of the requests was sent.
        while load.requests() < requests / swaps * number {
            if start.elapsed() > DEADLINE {
                bail!("{} of {requests} requests in {DEADLINE:?}: the machine is too slow", load.requests());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let push = Instant::now();
        let answer = world.push("load", "risk", &Series::source(number)).await?;
        micros.record(u64::try_from(push.elapsed().as_micros())?)?;
        let live = answer.live.expect("asked with wait");
        ensure!(live.is_complete() && live.executors == 6, "swap {number} is live on {live:?}");
        load.raise_floor(number);
    }
    let outcome = load.stop().await?;

    let tally = outcome.tally;
    world.hot_swap.live_under_load = Latency::of(&micros);
    world.load = Latency::of(&outcome.latency_micros).map(|latency| LoadReport {
        tally: tally.clone(),
        swaps,
        requests_per_second: f64::from(u32::try_from(tally.requests).unwrap_or(u32::MAX))
            / outcome.duration.as_secs_f64(),
        latency,
    });
    ensure!(tally.requests >= requests as u64, "only {} requests were sent", tally.requests);
    ensure!(tally.dropped + tally.mixed + tally.old_after_wait == 0, "{tally:#?}");
    world.check_everywhere("load", "risk", swaps).await
}
