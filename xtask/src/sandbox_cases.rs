//! `cargo xtask sandbox-cases`: attacks on the sandbox, by the library and by HTTP, and what became of each.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use containment::report::{Report, Row};
use containment::{Case, case, library};
use harness::sandbox_cases::Stage;

use crate::cli::{SandboxCasesOptions, Via};
use crate::shell;

pub(crate) fn run(options: &SandboxCasesOptions) -> ExitCode {
    match told(options) {
        Ok(report) if report.passed() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(err) => {
            eprintln!("error: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn told(options: &SandboxCasesOptions) -> Result<Report> {
    let cases = case::read_folder(&options.folder)?;
    let mut report = Report::default();
    if options.via != Via::Http {
        by_library(&cases, options.rounds, &mut report)?;
    }
    if options.via != Via::Library {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(by_http(&cases, options.rounds, &mut report))?;
    }
    println!("\n{}", report.summary().trim_end());
    if let Some(file) = &options.json {
        fs_err::write(file, serde_json::to_string_pretty(&report).context("write the report as JSON")?)?;
        println!("report: {}", file.display());
    }
    Ok(report)
}

fn by_library(cases: &[Case], rounds: u32, report: &mut Report) -> Result<()> {
    let this = std::env::current_exe().context("find this program, which runs the cases")?;
    for case in cases {
        let mut child = Command::new(&this);
        child.arg("sandbox-case");
        add(report, Row::new(case, "library", library::run(child, case, rounds)?));
    }
    Ok(())
}

async fn by_http(cases: &[Case], rounds: u32, report: &mut Report) -> Result<()> {
    let mut stage = Stage::start(shell::root().join("target/sandbox-cases")).await?;
    for case in cases {
        add(report, Row::new(case, "http", stage.run(case, rounds).await?));
    }
    report.notes.push(stage.stop().await?);
    Ok(())
}

fn add(report: &mut Report, row: Row) {
    println!("{}", row.line());
    report.rows.push(row);
}
