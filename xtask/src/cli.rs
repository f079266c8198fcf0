//! What can be typed. The doc comments are the help texts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::provision::options::ProvisionOptions;

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
    /// Make the cloud resources of a stack, change them, delete them.
    Provision(ProvisionOptions),
    /// Run the local cloud by itself, with machines that boot, and tell how clients reach it.
    Cloud(CloudOptions),
    /// Try the local cloud under clients that others wrote: gcloud, Google's Python libraries, Google's emulator.
    Conformance(ConformanceOptions),
    /// Put the product on a Docker Swarm: checked before, followed until it works, taken back if it does not.
    Deploy(DeployOptions),
    /// Prove everything on a real Docker Swarm of three nodes, started here and removed again.
    E2e(E2eOptions),
    /// Try attacks on the sandbox and tell which were contained.
    SandboxCases(SandboxCasesOptions),
    /// Run one of them (started by `sandbox-cases` itself).
    #[command(hide = true)]
    SandboxCase,
    /// Try the supervisor as the first process of containers, side by side with tini and dumb-init.
    InitCases,
    /// Measure: other servers with the same rule, the sandbox alone, density, neighbours, swaps, a busy machine.
    Bench(BenchOptions),
    /// What is installed, reachable and wrong on this machine, and what mends it.
    Doctor(DoctorOptions),
    /// What CI runs: format, lints, tests, docs, dependency checks, fuzz targets, init cases, e2e.
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
#[command(
    after_help = "Examples:\n  cargo xtask cloud\n  cargo xtask cloud --paper --port 9000 > target/cloud.env &\n  \
    source target/cloud.env; gcloud compute instances list\n\nThe output is a shell script that sets what `gcloud`, `gsutil` \
    and Google's libraries need."
)]
pub(crate) struct CloudOptions {
    /// Where it listens. With machines on all addresses, so that they reach it; strangers are turned away.
    #[arg(long, default_value_t = 4443, value_name = "PORT")]
    pub(crate) port: u16,
    /// Keep instances on paper: no Docker is needed, and nothing boots.
    #[arg(long)]
    pub(crate) paper: bool,
    /// The project that the printed settings name, by default that of the stack `local`; every project is there.
    #[arg(long, default_value = "moonswarm-local", value_name = "ID")]
    pub(crate) project: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask conformance\n  cargo xtask conformance storage --python target/python/bin/python\n\n\
    The libraries come with: python3 -m venv target/python; target/python/bin/pip install google-cloud-compute \
    google-cloud-storage google-cloud-pubsub google-cloud-secret-manager. What is not installed is skipped. Exit codes: 0 no \
    difference, 1 a client saw one."
)]
pub(crate) struct ConformanceOptions {
    /// Only suites whose name contains this text.
    #[arg(value_name = "FILTER")]
    pub(crate) filter: Option<String>,
    /// The Python interpreter that has Google's libraries.
    #[arg(long, default_value = "python3", value_name = "PROGRAM")]
    pub(crate) python: PathBuf,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask deploy plan --stack blue\n  cargo xtask deploy --stack blue --yes\n  \
    cargo xtask deploy rollback --stack blue\n  \
    cargo xtask deploy status --stack blue --node n1=ssh://ops@10.0.0.2,manager,10.0.0.2\n\n\
    Exit codes: 0 done or nothing to do, 1 error, 2 (plan) something would change, 3 locked by somebody else, 4 half-way, \
    5 failed and taken back."
)]
pub(crate) struct DeployOptions {
    /// What to do; `apply` if absent.
    #[command(subcommand)]
    pub(crate) action: Option<DeployAction>,
    /// The installation.
    #[arg(long, global = true, default_value = "dev", value_name = "NAME")]
    pub(crate) stack: String,
    /// Its stack file; `infra/stacks/NAME.toml` if absent.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// A machine, NAME=ACCESS,ROLE,ADDRESS, in the place of those in the stack file; may be given several times. ACCESS is
    /// unix:///PATH, ssh://USER@HOST:PORT (user and port may be left out) or iap://INSTANCE?project=P&zone=Z.
    #[arg(long, global = true, value_name = "NODE")]
    pub(crate) node: Vec<::deploy::Node>,
    /// Print events and results as JSON, one object a line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Do not ask.
    #[arg(long, global = true)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeployAction {
    /// Show what would change, ask, and do it.
    Apply,
    /// Show what would change, field by field.
    Plan,
    /// The same as `plan`.
    Diff,
    /// Go back to a former deployment; the running rules stay.
    Rollback {
        /// Its number, see `status`; the one before the newest if absent.
        #[arg(value_name = "N")]
        number: Option<u64>,
    },
    /// Show services, tasks, who deploys, and what can be gone back to.
    Status,
    /// Take all tasks off a node, after a check that the others suffice.
    Drain {
        /// Its name.
        #[arg(value_name = "NODE")]
        node: String,
        /// Let it have tasks again.
        #[arg(long)]
        back: bool,
    },
    /// Spread executors evenly over the nodes; Swarm never moves a running task by itself.
    Rebalance,
    /// Remove secrets, configs, images and records that no deployment needs any more.
    Prune,
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
