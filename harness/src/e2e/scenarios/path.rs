//! From push to live, on six executors of three nodes.

use std::time::Instant;

use anyhow::{Result, ensure};
use contract::{Code, Version};
use hdrhistogram::Histogram;
use serde_json::json;

use crate::e2e::world::{BUCKET, World};
use crate::load::Series;
use crate::report::Latency;

pub(super) async fn push_is_live_on_all_six(world: &mut World) -> Result<()> {
    let answer = world.push("path", "risk", &Series::source(1)).await?;

    let live = answer.live.expect("asked with wait");
    ensure!((live.executors, live.acknowledged) == (6, 6), "live on {live:?}");
    for url in world.executor_urls().await? {
        let run = world.caller.run(&url, "path", "risk", "{}").await?;
        ensure!(run.body == json!({"output": {"k": 1}}), "{url} answers {run:?}");
        ensure!(run.version == Some(Version::of(Series::source(1).as_bytes())), "{url} answers {run:?}");
        ensure!(run.release == Some(answer.release), "{url} answers {run:?}");
    }
    Ok(())
}

pub(super) async fn founding_script_runs_unchanged(world: &mut World) -> Result<()> {
    let folder = crate::programs::workspace().join("examples");
    let (source, input) =
        (fs_err::read_to_string(folder.join("founding.lua"))?, fs_err::read(folder.join("founding.json"))?);
    world.push("path", "founding", &source).await?;

    for url in world.executor_urls().await? {
        let run = world.caller.run(&url, "path", "founding", input.clone()).await?;
        ensure!(run.status == 200 && run.body.get("output").is_some(), "{url} answers {run:?}");
    }
    Ok(())
}

pub(super) async fn raw_upload_is_live_by_its_notification(world: &mut World) -> Result<()> {
    let object = "tenants/upload/scripts/risk.luau";

    world.cloud.storage().put(BUCKET, object, Series::source(7))?;

    world.wait_everywhere("upload", "risk", 7).await
}

pub(super) async fn bad_script_is_refused_and_the_old_one_answers(world: &mut World) -> Result<()> {
    world.push("bad", "risk", &Series::source(1)).await?;

    let pushed = world.manager.push("bad", "risk", b"return function(input)\n  return {{\nend", "wait=10s").await?;
    let object = "tenants/bad/scripts/uploaded.luau";
    world.cloud.storage().put(BUCKET, object, "return function( end")?;

    let problem = pushed.err();
    let refused = problem.as_ref().is_some_and(|p| p.code == Code::ScriptRefused && p.diagnostics[0].line == 3);
    ensure!(refused, "pushing a syntax error answered {problem:?}");
    world
        .wait_for("the status names the refused upload", async |world| {
            let status = world.manager.status().await.map_err(|err| err.to_string())?;
            let status = status.map_err(|problem| problem.detail)?;
            let named = status.refused.iter().any(|script| script.script.as_str() == "uploaded");
            if named { Ok(()) } else { Err(format!("{:?}", status.refused)) }
        })
        .await?;
    world.check_everywhere("bad", "risk", 1).await
}

pub(super) async fn rollback_is_live_on_all_six(world: &mut World) -> Result<()> {
    world.push("back", "risk", &Series::source(1)).await?;
    world.push("back", "risk", &Series::source(2)).await?;

    let answer = world.manager.rollback("back", "risk", None).await?;

    let answer = answer.map_err(|problem| anyhow::anyhow!("rollback answered {problem:?}"))?;
    ensure!(answer.version == Some(Version::of(Series::source(1).as_bytes())), "rolled back to {answer:?}");
    world.check_everywhere("back", "risk", 1).await
}

/// Pushes on an otherwise idle cluster: from sending the push to its answer, all six acknowledged.
pub(super) async fn live_activation_is_measured(world: &mut World) -> Result<()> {
    let pushes = world.scaled(200);
    let mut micros = Histogram::<u64>::new(3)?;
    world.push("pace", "risk", &Series::source(0)).await?;

    for number in 1..=pushes {
        let start = Instant::now();
        let answer = world.push("pace", "risk", &Series::source(number)).await?;
        micros.record(u64::try_from(start.elapsed().as_micros())?)?;
        let live = answer.live.expect("asked with wait");
        ensure!(live.acknowledged == 6, "push {number} is live on {live:?}");
    }

    world.hot_swap.live = Latency::of(&micros);
    world.check_everywhere("pace", "risk", pushes).await
}
