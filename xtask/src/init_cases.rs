//! `cargo xtask init-cases`: the supervisor as the first process of containers, and what it costs.

use std::process::ExitCode;

use anyhow::Result;
use harness::init_cases::{self, Report};
use harness::rig::{Engine, NoEngine};

use crate::shell;

/// No Docker engine: nothing was tried, which is not the same as failed.
const NO_ENGINE: u8 = 3;

/// Ended from outside, it leaves containers behind, which the next run removes.
pub(crate) fn run() -> ExitCode {
    match told() {
        Ok(report) => {
            println!("\n{}", report.table().trim_end());
            if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(err) => {
            eprintln!("error: {err:#}");
            if err.is::<NoEngine>() { ExitCode::from(NO_ENGINE) } else { ExitCode::FAILURE }
        }
    }
}

fn told() -> Result<Report> {
    let cache = shell::root().join("target/e2e-cache");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let engine = Engine::find().await?;
        init_cases::run(&engine, &cache, &|line| eprintln!("init: {line}")).await
    })
}

/// Whether a Docker engine answers.
pub(crate) fn has_engine() -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.is_ok_and(|runtime| runtime.block_on(Engine::find()).is_ok())
}
