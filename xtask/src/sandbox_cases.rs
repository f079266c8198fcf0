//! `cargo xtask sandbox-cases`: attacks on the sandbox, by the library and by HTTP, and what became of each.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use containment::report::{ATTEMPTS, Report, Row};
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
        let once = || {
            let mut child = Command::new(&this);
            child.arg("sandbox-case");
            library::run(child, case, rounds).map(|seen| Row::new(case, "library", seen))
        };
        let mut row = once()?;
        for late_before in 1..ATTEMPTS {
            if row.is_late() {
                row = Row { late_before, ..once()? };
            }
        }
        add(report, row);
    }
    Ok(())
}

async fn by_http(cases: &[Case], rounds: u32, report: &mut Report) -> Result<()> {
    let mut stage = Stage::start(shell::root().join("target/sandbox-cases")).await?;
    for case in cases {
        let mut row = Row::new(case, "http", stage.run(case, rounds).await?);
        for late_before in 1..ATTEMPTS {
            if row.is_late() {
                row = Row { late_before, ..Row::new(case, "http", stage.run(case, rounds).await?) };
            }
        }
        add(report, row);
    }
    report.notes.push(stage.stop().await?);
    Ok(())
}

fn add(report: &mut Report, row: Row) {
    println!("{}", row.line());
    report.rows.push(row);
}
