//! `cargo xtask deploy`: the product onto a Swarm, from what runs there to what is wanted, and back.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use ::deploy::image::{ImageArchive, Program, build_static, product_image};
use ::deploy::{Cluster, DeployError, Event, Node, Product, Secrets, Session, Settings, Who};
use anyhow::{Context, Result, bail};
use harness::programs::cargo;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{DeployAction, DeployOptions};
use crate::{e2e, shell};

/// Something would change.
const CHANGES: u8 = 2;
/// Ended by Ctrl-C, as shells count it (128 + SIGINT).
const INTERRUPTED: u8 = 130;

pub(crate) fn run(options: &DeployOptions) -> ExitCode {
    match told(options) {
        Ok(code) => ExitCode::from(code),
        Err(err) => {
            let code = err.downcast_ref::<DeployError>().map_or(1, DeployError::exit_code);
            if options.json {
                println!("{}", serde_json::json!({ "event": "error", "code": code, "message": format!("{err:#}") }));
            }
            eprintln!("error: {err:#}");
            ExitCode::from(code)
        }
    }
}

fn told(options: &DeployOptions) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            code = act(options) => code,
            _ = interrupt.recv() => Ok(interrupted()),
            _ = terminate.recv() => Ok(interrupted()),
        }
    })
}

/// An update that was begun lives in Swarm; the lock ends by itself.
fn interrupted() -> u8 {
    eprintln!(
        "interrupted: what Swarm was told to do goes on; deploy again in a minute, when the lock has ended, or look at `status`"
    );
    INTERRUPTED
}

async fn act(options: &DeployOptions) -> Result<u8> {
    let settings = Settings::read(&stack_file(options))?;
    let cluster = Cluster::connect(&nodes(options, &settings)?).await?;
    let json = options.json;
    let report = move |event: Event| {
        if json { print_json(&event) } else { eprintln!("deploy: {event}") }
    };
    let session = Session::new(&cluster, &options.stack, &report);
    let deadline = settings.deadline;
    match options.action.as_ref().unwrap_or(&DeployAction::Apply) {
        DeployAction::Apply => {
            let (product, images) = product(options, settings).await?;
            let plan = session.plan(&product).await?;
            show(json, &plan);
            if !plan.is_empty() && !options.yes && !agreed()? {
                bail!("nothing was done: not agreed; `--yes` agrees beforehand");
            }
            let applied = session.apply(&product, &images, &who("apply")).await?;
            conclude(json, &applied);
        }
        DeployAction::Plan | DeployAction::Diff => {
            let (product, _) = product(options, settings).await?;
            let plan = session.plan(&product).await?;
            show(json, &plan);
            return Ok(if plan.is_empty() { 0 } else { CHANGES });
        }
        DeployAction::Rollback { number } => {
            let applied = session.rollback(*number, deadline, settings.canary, &who("rollback")).await?;
            conclude(json, &applied);
        }
        DeployAction::Status => show(json, &session.status().await?),
        DeployAction::Drain { node, back } => session.drain(node, *back, deadline, &who("drain")).await?,
        DeployAction::Rebalance => conclude(json, &session.rebalance(deadline, &who("rebalance")).await?),
        DeployAction::Prune => {
            let pruned = session.prune(&who("prune")).await?;
            if json {
                print_json(&pruned);
            } else {
                println!(
                    "removed {} secrets and configs, {} images, {} records",
                    pruned.files, pruned.images, pruned.records
                );
            }
        }
    }
    Ok(0)
}

fn stack_file(options: &DeployOptions) -> PathBuf {
    let by_name = || shell::root().join("infra/stacks").join(format!("{}.toml", options.stack));
    options.file.clone().unwrap_or_else(by_name)
}

/// The seam to whoever makes the machines: `--node`, or else the stack file.
fn nodes(options: &DeployOptions, settings: &Settings) -> Result<Vec<Node>> {
    let nodes = if options.node.is_empty() { settings.node.clone() } else { options.node.clone() };
    if nodes.is_empty() {
        bail!(
            "no nodes to deploy to: give `--node n1=ssh://ops@10.0.0.2,manager,10.0.0.2`, or `[[deploy.node]]` in the stack file"
        );
    }
    Ok(nodes)
}

async fn product(options: &DeployOptions, settings: Settings) -> Result<(Product, Vec<ImageArchive>)> {
    let folder = settings
        .secrets
        .as_deref()
        .context("the stack file has no `deploy.secrets`, the folder with keys and tokens")?;
    let secrets = Secrets::read(folder)?;
    let programs = build_static(cargo, &[Program::EXECUTOR, Program::MANAGER]).await?;
    let revision = e2e::revision();
    let image = |program: Program| product_image(program.binary, &programs[program.binary], &revision);
    let (manager, executor) = (image(Program::MANAGER)?, image(Program::EXECUTOR)?);
    let product = Product {
        stack: options.stack.clone(),
        settings,
        secrets,
        manager_image: manager.tag().to_owned(),
        executor_image: executor.tag().to_owned(),
        revision,
    };
    Ok((product, vec![manager, executor]))
}

/// `ana@laptop`, for whoever finds the stack locked.
fn who(message: &str) -> Who {
    let told = |program: &str| {
        let output = Command::new(program).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()).filter(|text| !text.is_empty())
    };
    let (user, host) = (told("whoami"), told("hostname"));
    let word = |word: Option<String>| word.unwrap_or_else(|| "somebody".to_owned());
    Who { holder: format!("{}@{}", word(user), word(host)), message: message.to_owned() }
}

fn agreed() -> Result<bool> {
    eprint!("do this? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("read the answer")?;
    Ok(matches!(answer.trim(), "y" | "yes"))
}

fn conclude(json: bool, applied: &::deploy::Applied) {
    if json {
        return print_json(applied);
    }
    let changed = if applied.changed.is_empty() {
        "nothing had to be changed".to_owned()
    } else {
        format!("changed {}", applied.changed.join(", "))
    };
    println!("{changed}; this is deployment {}", applied.deployment);
}

fn show<T: Serialize + std::fmt::Display>(json: bool, value: &T) {
    if json { print_json(value) } else { print!("{value}") }
}

fn print_json(value: &impl Serialize) {
    println!("{}", serde_json::to_string(value).expect("plain data can be written as JSON"));
}
