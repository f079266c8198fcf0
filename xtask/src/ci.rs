//! `cargo xtask ci`: all that CI runs, in the order in which faults are cheapest to find.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::cli::CiOptions;
use crate::shell;

/// One step: its name, and what it did.
struct Step {
    name: &'static str,
    outcome: Outcome,
    seconds: f64,
}

enum Outcome {
    Passed,
    Failed(String),
    /// Not run, and why: never to be mistaken for passed.
    Skipped(&'static str),
}

type Check = fn() -> Result<Option<&'static str>>;

pub(crate) fn run(options: &CiOptions) -> Result<()> {
    let mut checks: Vec<(&'static str, Check)> = vec![
        ("format", format),
        ("lints", lints),
        ("tests", tests),
        ("doc tests", doc_tests),
        ("docs", docs),
        ("dependencies", dependencies),
        ("fuzz", crate::fuzz::smoke),
        ("init cases", init_cases),
    ];
    checks.push(if options.no_e2e { ("e2e", || Ok(Some("left out by --no-e2e"))) } else { ("e2e", e2e) });

    let steps: Vec<Step> = checks.into_iter().map(|(name, check)| step(name, check)).collect();
    println!("\n{}", table(&steps));
    match steps.iter().filter(|step| matches!(step.outcome, Outcome::Failed(_))).count() {
        0 => Ok(()),
        failed => bail!("{failed} of {} steps failed", steps.len()),
    }
}

fn step(name: &'static str, check: Check) -> Step {
    eprintln!("\n== {name}");
    let start = Instant::now();
    let outcome = match check() {
        Ok(None) => Outcome::Passed,
        Ok(Some(why)) => Outcome::Skipped(why),
        Err(err) => Outcome::Failed(format!("{err:#}")),
    };
    Step { name, outcome, seconds: start.elapsed().as_secs_f64() }
}

fn format() -> Result<Option<&'static str>> {
    shell::run(&["fmt", "--all", "--check"])?;
    Ok(None)
}

fn lints() -> Result<Option<&'static str>> {
    shell::run(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    Ok(None)
}

/// Snapshots must not be written in CI: a new one would make its own test pass.
const NO_NEW_SNAPSHOTS: &[(&str, &str)] = &[("INSTA_UPDATE", "no")];

fn tests() -> Result<Option<&'static str>> {
    if shell::succeeds(&["nextest", "--version"]) {
        shell::run_with(&["nextest", "run", "--workspace"], NO_NEW_SNAPSHOTS)?;
    } else {
        shell::run_with(&["test", "--workspace", "--lib", "--bins", "--tests"], NO_NEW_SNAPSHOTS)?;
    }
    Ok(None)
}

fn doc_tests() -> Result<Option<&'static str>> {
    shell::run(&["test", "--workspace", "--doc"])?;
    Ok(None)
}

fn docs() -> Result<Option<&'static str>> {
    // The pages are for those who work here and hold private items too, so links to these resolve.
    let deny = [("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links")];
    shell::run_with(&["doc", "--workspace", "--no-deps", "--document-private-items"], &deny)?;
    Ok(None)
}

fn dependencies() -> Result<Option<&'static str>> {
    if !shell::succeeds(&["deny", "--version"]) {
        return Ok(Some("cargo-deny is not installed (`cargo install cargo-deny --locked`)"));
    }
    shell::run(&["deny", "--offline", "check", "bans", "licenses", "sources"])?;
    Ok(None)
}

fn init_cases() -> Result<Option<&'static str>> {
    if !crate::init_cases::has_engine() {
        return Ok(Some("no Docker engine answers"));
    }
    shell::run(&["xtask", "init-cases"])?;
    Ok(None)
}

fn e2e() -> Result<Option<&'static str>> {
    shell::run(&["xtask", "e2e", "--json", "target/e2e/report.json"])?;
    Ok(None)
}

fn table(steps: &[Step]) -> String {
    let line = |step: &Step| {
        let (word, why) = match &step.outcome {
            Outcome::Passed => ("passed", String::new()),
            Outcome::Failed(why) => ("FAILED", format!("  {why}")),
            Outcome::Skipped(why) => ("SKIPPED", format!("  {why}")),
        };
        format!("{word:<8} {:<13} {:>6.0} s{why}", step.name, step.seconds)
    };
    steps.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skipped_step_does_not_look_passed() {
        let steps = [
            Step { name: "format", outcome: Outcome::Passed, seconds: 1.2 },
            Step { name: "dependencies", outcome: Outcome::Skipped("no cargo-deny"), seconds: 0.0 },
            Step { name: "e2e", outcome: Outcome::Failed("`cargo xtask e2e` ended with 1".into()), seconds: 300.0 },
        ];
        insta::assert_snapshot!(table(&steps), @r"
        passed   format             1 s
        SKIPPED  dependencies       0 s  no cargo-deny
        FAILED   e2e              300 s  `cargo xtask e2e` ended with 1
        ");
    }
}
