//! `cargo xtask bench`: measures, shows the tables, and writes them as JSON.

use anyhow::{Context, Result, bail, ensure};
use harness::bench::{Lengths, Options, Part, Report};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::BenchOptions;
use crate::{e2e, shell};

pub(crate) fn run(options: &BenchOptions) -> Result<()> {
    let lengths = lengths(options)?;
    if options.list {
        for part in Part::ALL {
            println!("{:<17} about {:>4} s", part.name(), part.estimate(&lengths).as_secs());
        }
        return Ok(());
    }
    let run = Options {
        filter: options.filter.clone(),
        lengths,
        folder: shell::root().join("target/bench"),
        revision: e2e::revision(),
        install: options.install,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let report = runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        // Dropping the run ends all that it started.
        tokio::select! {
            report = harness::bench::run(&run, &|line| eprintln!("bench: {line}")) => report,
            _ = interrupt.recv() => bail!("interrupted; what was started is ended"),
            _ = terminate.recv() => bail!("terminated; what was started is ended"),
        }
    })?;
    println!("\n{}", report.tables());
    write(&report, options)?;
    if report.failures.is_empty() { Ok(()) } else { bail!("{} parts failed", report.failures.len()) }
}

fn lengths(options: &BenchOptions) -> Result<Lengths> {
    let mut lengths = if options.quick { Lengths::quick() } else { Lengths::full() };
    if let Some(rounds) = options.rounds {
        lengths.rounds = usize::from(rounds);
    }
    if let Some(seconds) = options.seconds {
        lengths.seconds = seconds;
    }
    if let Some(requests) = options.requests {
        lengths.requests = requests;
    }
    if !options.tenants.is_empty() {
        lengths.tenants.clone_from(&options.tenants);
    }
    let Lengths { seconds, tenants, requests, .. } = &lengths;
    ensure!((0.1..=600.0).contains(seconds), "`--seconds` is {seconds}: expected 0.1 to 600");
    ensure!(!tenants.contains(&0), "`--tenants` has 0: expected at least 1");
    ensure!(*requests > 0, "`--requests` is 0: expected at least 1");
    Ok(lengths)
}

fn write(report: &Report, options: &BenchOptions) -> Result<()> {
    let Some(file) = &options.json else { return Ok(()) };
    let text = serde_json::to_string_pretty(report).context("write the report as JSON")?;
    if let Some(folder) = file.parent() {
        fs_err::create_dir_all(folder)?;
    }
    fs_err::write(file, text)?;
    println!("\nreport: {}", file.display());
    Ok(())
}
