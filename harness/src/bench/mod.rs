//! Figures that are measured and not assumed: `cargo xtask bench`.
//!
//! A run has parts that can be asked for by name. Each brings up what it needs, built and set up as it is delivered:
//! static programs of the profile `dist`, a release that a manager made, all limits on. What is compared is measured in
//! turn within one run; `docs/benchmarks.md` tells how each figure is made.

mod comparison;
mod figure;
mod generator;
mod inside;
mod lengths;
mod machine;
mod neighbour;
mod oversubscription;
mod peers;
mod report;
mod stack;
mod swaps;
mod tables;
mod tenants;
mod tools;
mod usage;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

pub use lengths::{Lengths, Part};
pub use report::Report;

use machine::Machine;
use tools::Tools;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only parts whose name contains this.
    pub filter: Option<String>,
    /// How long and how often.
    pub lengths: Lengths,
    /// For configurations, logs and caches; made anew.
    pub folder: PathBuf,
    /// The commit that is measured.
    pub revision: String,
    /// Install the servers of the comparison that are missing, with apt.
    pub install: bool,
}

/// What the parts work with.
struct Bench<'a> {
    tools: Tools,
    lengths: Lengths,
    folder: PathBuf,
    say: &'a dyn Fn(&str),
}

/// Measures, and tells `say` what it does. What is started ends when the future is dropped.
///
/// A part that fails does not keep the others from being measured; the report says what failed.
///
/// # Errors
/// No part has such a name, or the programs can't be built.
pub async fn run(options: &Options, say: &dyn Fn(&str)) -> Result<Report> {
    let parts = chosen(options.filter.as_deref())?;
    let names = parts.iter().map(|part| part.name()).collect::<Vec<_>>().join(", ");
    let estimate: Duration = parts.iter().map(|part| part.estimate(&options.lengths)).sum();
    say(&format!("{names}: about {} s, after the programs are built", estimate.as_secs()));
    if options.install && parts.contains(&Part::Peers) {
        peers::install(say).await?;
    }
    let bench =
        Bench { tools: Tools::build().await?, lengths: options.lengths.clone(), folder: options.folder.clone(), say };
    fs_err::create_dir_all(&bench.folder)?;

    let start = Instant::now();
    let mut report = Report::new(Machine::look(), options.revision.clone(), bench.lengths.clone());
    for part in parts {
        if let Err(err) = measure(part, &bench, &mut report).await {
            say(&format!("{}: FAILED: {err:#}", part.name()));
            report.failures.push(format!("{}: {err:#}", part.name()));
        }
    }
    report.machine.look_again();
    report.total_seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

async fn measure(part: Part, bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    match part {
        Part::Peers => report.comparison = Some(comparison::run(bench).await?),
        Part::Inside => report.inside = inside::run(bench).await?,
        Part::Tenants => {
            for &tenants in &bench.lengths.tenants {
                report.tenants.push(tenants::run(bench, tenants).await?);
            }
        }
        Part::Neighbour => report.neighbour = neighbour::run(bench).await?,
        Part::Swaps => report.swaps = Some(swaps::run(bench).await?),
        Part::Oversubscription => report.oversubscription = Some(oversubscription::run(bench).await?),
    }
    Ok(())
}

fn chosen(filter: Option<&str>) -> Result<Vec<Part>> {
    let wanted = |part: &Part| filter.is_none_or(|filter| part.name().contains(filter));
    let parts: Vec<Part> = Part::ALL.into_iter().filter(wanted).collect();
    if parts.is_empty() {
        let names = Part::ALL.map(Part::name).join(", ");
        bail!("no part's name contains `{}`; there are {names}", filter.unwrap_or_default());
    }
    Ok(parts)
}
