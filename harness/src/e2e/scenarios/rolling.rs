//! Rolling activation: every executor is a new process that boots from a Docker config.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use hdrhistogram::Histogram;

use crate::e2e::world::World;
use crate::load::Series;
use crate::report::Latency;

async fn roll(world: &World, number: usize) -> Result<()> {
    let source = Series::source(number);
    let answer = world.manager.push("rolling", "risk", source.as_bytes(), "wait=60s&activation=rolling").await?;
    let answer = answer.map_err(|problem| anyhow!("rolling push answered {problem:?}"))?;
    let live = answer.live.expect("asked with wait");
    ensure!(live.is_complete() && live.acknowledged >= 6, "rolling push {number} is live on {live:?}");
    Ok(())
}

pub(super) async fn rolling_activation_replaces_every_executor(world: &mut World) -> Result<()> {
    world.push("rolling", "risk", &Series::source(0)).await?;
    let before: BTreeSet<String> = world.executor_containers().await?.into_iter().collect();

    roll(world, 1).await?;

    world.wait_everywhere("rolling", "risk", 1).await?;
    let after: BTreeSet<String> = world.executor_containers().await?.into_iter().collect();
    ensure!(before.is_disjoint(&after), "these were not replaced: {:?}", before.intersection(&after));
    Ok(())
}

/// From sending the push to its answer, six new executors on the release.
pub(super) async fn rolling_activation_is_measured(world: &mut World) -> Result<()> {
    let pushes = world.scaled(30);
    let mut micros = Histogram::<u64>::new(3)?;

    for number in 2..2 + pushes {
        let start = Instant::now();
        roll(world, number).await?;
        micros.record(u64::try_from(start.elapsed().as_micros())?)?;
    }

    world.hot_swap.rolling = Latency::of(&micros);
    world.wait_everywhere("rolling", "risk", 1 + pushes).await
}
