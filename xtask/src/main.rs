//! Developer commands: `cargo xtask dev | e2e | bench | sandbox-cases | doctor | ci`. One file per command; this one only dispatches.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool prints")]

mod bench;
mod ci;
mod cli;
mod dev;
mod dev_log;
mod dev_watch;
mod doctor;
mod e2e;
mod fuzz;
mod sandbox_cases;
mod shell;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Dev(options) => report(dev::run(options)),
        Command::E2e(options) => e2e::run(options),
        Command::Bench(options) => report(bench::run(&options)),
        Command::Ci(options) => report(ci::run(&options)),
        Command::Doctor(options) => report_code(doctor::run(&options)),
        Command::SandboxCases(options) => sandbox_cases::run(&options),
        Command::SandboxCase => report(containment::library::serve()),
        Command::E2eReaper(options) => e2e::reaper(&options),
    }
}

/// The exit code of a command; its error, with every cause, goes to stderr.
fn report(result: anyhow::Result<()>) -> ExitCode {
    report_code(result.map(|()| ExitCode::SUCCESS))
}

/// The same of a command whose success has more than one code.
fn report_code(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(err) => {
            eprintln!("error: {err:#}");
            ExitCode::FAILURE
        }
    }
}
