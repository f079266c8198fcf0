//! What can be typed. The doc comments are the help texts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Developer commands of Moonswarm.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine: local cloud, manager, executors. No Docker, no cloud account.
    Dev(DevOptions),
    /// Prove everything on a real Docker Swarm of three nodes, started here and removed again.
    E2e(E2eOptions),
    /// Try attacks on the sandbox and tell which were contained.
    SandboxCases(SandboxCasesOptions),
    /// Run one of them (started by `sandbox-cases` itself).
    #[command(hide = true)]
    SandboxCase,
    /// Measure: other servers with the same rule, the sandbox alone, density, neighbours, swaps, a busy machine.
    Bench(BenchOptions),
    /// What is installed, reachable and wrong on this machine, and what mends it.
    Doctor(DoctorOptions),
    /// What CI runs: format, lints, tests, docs, dependency checks, fuzz targets, e2e.
    Ci(CiOptions),
    /// Clean up after an e2e run when its process is gone (started by `e2e` itself).
    #[command(hide = true)]
    E2eReaper(ReaperOptions),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  cargo xtask dev\n  cargo xtask dev --executors 6 --watch examples --tenant acme")]
pub(crate) struct DevOptions {
    /// How many executors to run, 1 to 90.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=90))]
    pub(crate) executors: u16,
    /// The manager's port; executors take the next ones, the local cloud the one 99 above.
    #[arg(long, default_value_t = 7700, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=65_436))]
    pub(crate) port: u16,
    /// Push every `.luau` and `.lua` file of this folder, and again whenever one changes.
    #[arg(long, value_name = "DIR")]
    pub(crate) watch: Option<PathBuf>,
    /// Whose scripts the watched files are.
    #[arg(long, default_value = "dev", value_name = "TENANT")]
    pub(crate) tenant: String,
    /// Log filter of the programs; their whole logs are in `target/dev/`.
    #[arg(long, default_value = "info", value_name = "FILTER")]
    pub(crate) log: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  cargo xtask e2e\n  cargo xtask e2e rolling --json target/e2e/report.json\n\n\
    Exit codes: 0 all passed, 1 a scenario failed, 3 no Docker engine.")]
pub(crate) struct E2eOptions {
    /// Only scenarios whose name contains this text.
    #[arg(value_name = "FILTER")]
    pub(crate) filter: Option<String>,
    /// Write the report as JSON to this file, also when scenarios fail.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Print the names of the scenarios and end.
    #[arg(long)]
    pub(crate) list: bool,
    /// Make the measured parts this much shorter (0.1 = a tenth) while developing; the report says so.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    pub(crate) scale: f64,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask sandbox-cases sandbox/cases\n  cargo xtask sandbox-cases sandbox/cases/memory \
    --via library --rounds 10000\n\nWhat counts as contained is told in docs/sandbox.md. Exit codes: 0 all contained, 1 one \
    was late or not contained."
)]
pub(crate) struct SandboxCasesOptions {
    /// Folder of `.luau` and `.lua` files, see docs/sandbox.md for their form.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Write all that was seen as JSON to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Which way the scripts run.
    #[arg(long, value_enum, default_value_t = Via::Both)]
    pub(crate) via: Via,
    /// How often each case runs; memory is compared between the first run and the last.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rounds: u32,
}

/// Ways to run a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Via {
    /// The library, in a process for each case.
    Library,
    /// `POST /v1/run` of an executor.
    Http,
    /// Both.
    Both,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  cargo xtask bench --quick\n  cargo xtask bench peers --install\n  \
    cargo xtask bench --json target/bench/report.json\n\ndocs/benchmarks.md tells how each figure is made.")]
pub(crate) struct BenchOptions {
    /// Only parts whose name contains this text.
    #[arg(value_name = "FILTER")]
    pub(crate) filter: Option<String>,
    /// Write the report as JSON to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// At most two minutes, for development: the figures are rough.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Print the names of the parts, with how long they take, and end.
    #[arg(long)]
    pub(crate) list: bool,
    /// Install servers of the comparison that are missing (Debian packages, as root).
    #[arg(long)]
    pub(crate) install: bool,
    /// Rounds of each comparison.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) rounds: Option<u16>,
    /// Length of one measurement.
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// Requests on the oversubscribed machine.
    #[arg(long, value_name = "N")]
    pub(crate) requests: Option<u64>,
    /// Numbers of tenants, comma separated.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub(crate) tenants: Vec<usize>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  cargo xtask doctor\n  cargo xtask doctor --json\n\n\
    Exit codes: 0 nothing is wrong (optional things may be missing), 1 something is.")]
pub(crate) struct DoctorOptions {
    /// Print what was found as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CiOptions {
    /// Leave out the end-to-end scenarios (they need a Docker engine).
    #[arg(long)]
    pub(crate) no_e2e: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReaperOptions {
    /// The run to clean up after.
    #[arg(long)]
    pub(crate) run: String,
}
