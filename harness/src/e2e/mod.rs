//! The end-to-end run: images, cluster, scenarios, report.
//!
//! One cluster serves all scenarios: each uses tenants of its own, and leaves six executors that are ready and follow the manager.

mod scenarios;
mod world;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use deploy::image::{Program, build_static, product_image};

use crate::programs::cargo;
use crate::report::{Machine, Report, ScenarioReport, ScenarioStatus};
use crate::rig::{Engine, NoEngine, NodeImage, Reaper, Run, reaper};
use scenarios::Scenario;
use world::{Images, World};

/// No scenario takes longer, or something hangs.
const SCENARIO_DEADLINE: Duration = Duration::from_secs(900);

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only scenarios whose name contains this.
    pub filter: Option<String>,
    /// Factor on the length of the measured parts.
    pub scale: f64,
    /// For logs, one folder for each run.
    pub reports: PathBuf,
    /// For what may be made again: `.deb` files, images.
    pub cache: PathBuf,
    /// What the images' label says they were made of.
    pub revision: String,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum E2eError {
    /// This machine has no Docker engine that can be used.
    #[error(transparent)]
    NoEngine(#[from] NoEngine),
    /// Nothing has this name.
    #[error("no scenario's name contains `{filter}`; `cargo xtask e2e --list` names them all")]
    NothingToRun {
        /// What was asked for.
        filter: String,
    },
    /// The cluster did not come up, or went down.
    #[error(transparent)]
    Cluster(#[from] anyhow::Error),
}

/// The names of all scenarios, in the order in which they run.
pub fn names() -> impl Iterator<Item = &'static str> {
    scenarios::ALL.iter().map(|scenario| scenario.name)
}

/// Brings up a cluster, tells the scenarios and takes it down again. `progress` gets a line for each step.
///
/// The future may be dropped at any time (Ctrl-C): the reaper removes what was started.
///
/// # Errors
/// There is no report: no engine, no such scenario, or no cluster. A failed scenario is in the report, not here.
pub async fn run(options: &Options, progress: impl Fn(&str)) -> Result<Report, E2eError> {
    crate::client::install_crypto();
    let chosen = choose(options.filter.as_deref())?;
    let engine = Engine::find().await?;
    for former in reaper::janitor(&engine).await? {
        progress(&format!("removed what the dead run {former} had left"));
    }
    let images = images(&engine, options, &progress).await?;

    let start = Instant::now();
    let machine = machine(&engine);
    let run = Run::begin(&options.reports)?;
    let reaper = Reaper::arm(&run).await?;
    progress(&format!("run {}: logs in {}", run.id(), run.logs().display()));
    let mut world = World::start(&engine, &run, &images, options.scale).await?;
    let cluster_up_seconds = start.elapsed().as_secs_f64();
    progress(&format!("cluster up in {cluster_up_seconds:.1} s"));

    let mut told = Vec::new();
    for scenario in chosen {
        let report = tell(scenario, &mut world).await;
        progress(&format!("{:?} {} ({} ms)", report.status, report.name, report.duration_ms));
        told.push(report);
    }

    let (mut hot_swap, load) = (std::mem::take(&mut world.hot_swap), world.load.take());
    hot_swap.finish();
    world.tear_down().await?;
    reaper.disarm().await?;
    Ok(Report {
        run: run.id().to_string(),
        machine,
        cluster_up_seconds,
        total_seconds: start.elapsed().as_secs_f64(),
        scale: options.scale,
        scenarios: told,
        hot_swap,
        load,
        skipped_faults: engine.facts().absent().into_iter().map(skipped_fault).collect(),
    })
}

fn choose(filter: Option<&str>) -> Result<Vec<&'static Scenario>, E2eError> {
    let wanted = filter.unwrap_or_default();
    let chosen: Vec<_> = scenarios::ALL.iter().filter(|scenario| scenario.name.contains(wanted)).collect();
    if chosen.is_empty() { Err(E2eError::NothingToRun { filter: wanted.to_owned() }) } else { Ok(chosen) }
}

async fn images(engine: &Engine, options: &Options, progress: &impl Fn(&str)) -> Result<Images> {
    let node = NodeImage::ensure(engine, &options.cache).await?;
    match node.built_in {
        Some(time) => progress(&format!("node image {} built in {:.1} s", node.name(), time.as_secs_f64())),
        None => progress(&format!("node image {} is there", node.name())),
    }
    let programs = build_static(cargo, &[Program::EXECUTOR, Program::MANAGER]).await?;
    let image = |program: Program| product_image(program.binary, &programs[program.binary], &options.revision);
    let (manager, executor) = (image(Program::MANAGER)?, image(Program::EXECUTOR)?);
    let executor_program = programs[Program::EXECUTOR.binary].clone();
    Ok(Images { node, manager, executor, executor_program, revision: options.revision.clone() })
}

async fn tell(scenario: &Scenario, world: &mut World) -> ScenarioReport {
    let start = Instant::now();
    let outcome = match tokio::time::timeout(SCENARIO_DEADLINE, (scenario.tell)(world)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(anyhow::anyhow!("not done after {SCENARIO_DEADLINE:?}")),
    };
    let duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (status, detail) = match outcome {
        Ok(()) => (ScenarioStatus::Passed, None),
        Err(err) => {
            world.capture().await;
            (ScenarioStatus::Failed, Some(format!("{err:#}")))
        }
    };
    ScenarioReport { name: scenario.name.to_owned(), status, duration_ms, detail }
}

fn machine(engine: &Engine) -> Machine {
    let facts = engine.facts();
    let load = fs_err::read_to_string("/proc/loadavg").unwrap_or_default();
    Machine {
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        engine: facts.engine.clone(),
        kernel: facts.kernel.clone(),
        load_average: load.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or_default(),
    }
}

/// What the absence of a kernel feature leaves untried.
fn skipped_fault(feature: &str) -> String {
    match feature {
        "netem" => "netem: packet loss and delay between nodes (the kernel has no such queue discipline)".to_owned(),
        "ipvs" => "ipvs: virtual addresses and the ingress network (ports are published on hosts instead)".to_owned(),
        "esp" => "esp: encrypted overlay networks".to_owned(),
        other => format!("{other}: absent from the kernel"),
    }
}
