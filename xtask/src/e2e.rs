//! `cargo xtask e2e`: the scenarios on a real Swarm, their report, and the exit code.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use harness::e2e::{E2eError, Options};
use harness::report::Report;
use harness::rig::reaper;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{E2eOptions, ReaperOptions};
use crate::shell;

/// A scenario failed, or the cluster did not come up.
const FAILED: u8 = 1;
/// No Docker engine.
const NO_ENGINE: u8 = 3;
/// Ended by Ctrl-C, as shells count it (128 + SIGINT).
const INTERRUPTED: u8 = 130;

pub(crate) fn run(options: E2eOptions) -> ExitCode {
    if options.list {
        for name in harness::e2e::names() {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    }
    match told(&options) {
        Ok(code) => ExitCode::from(code),
        Err(err) => {
            eprintln!("error: {err:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn told(options: &E2eOptions) -> Result<u8> {
    let target = shell::root().join("target");
    let run = Options {
        filter: options.filter.clone(),
        scale: options.scale,
        reports: target.join("e2e"),
        cache: target.join("e2e-cache"),
        revision: revision(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            report = harness::e2e::run(&run, |line| eprintln!("e2e: {line}")) => conclude(report, options.json.as_deref()),
            _ = interrupt.recv() => Ok(interrupted()),
            _ = terminate.recv() => Ok(interrupted()),
        }
    })
}

fn conclude(report: Result<Report, E2eError>, json: Option<&Path>) -> Result<u8> {
    let report = match report {
        Err(E2eError::NoEngine(err)) => {
            eprintln!("error: {err}");
            return Ok(NO_ENGINE);
        }
        other => other?,
    };
    println!("\n{}", report.table());
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(&report).context("write the report as JSON")?;
        if let Some(folder) = file.parent() {
            fs_err::create_dir_all(folder)?;
        }
        fs_err::write(file, text)?;
        println!("report: {}", file.display());
    }
    Ok(if report.passed() { 0 } else { FAILED })
}

/// What was started is removed by the reaper, which lives until that is done.
fn interrupted() -> u8 {
    eprintln!("interrupted: the reaper removes what was started");
    INTERRUPTED
}

/// The commit that images are labelled with and figures belong to, `-dirty` if the tree has changes; `unknown` outside a checkout.
pub(crate) fn revision() -> String {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .current_dir(shell::root())
        .output();
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    if text.is_empty() { "unknown".to_owned() } else { text }
}

/// The hidden sub-command: see `harness::rig::reaper`.
pub(crate) fn reaper(options: &ReaperOptions) -> ExitCode {
    let reaped = options.run.parse().and_then(|run| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(reaper::main_loop(&run, std::io::stdin()))
    });
    match reaped {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("error: clean up after run {}: {err:#}", options.run);
            ExitCode::FAILURE
        }
    }
}
