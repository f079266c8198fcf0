//! `cargo xtask conformance`: the local cloud under clients that others wrote.

use std::process::ExitCode;

use anyhow::Result;
use harness::conformance::{Conformance, Outcome};

use crate::cli::ConformanceOptions;
use crate::shell;

/// A client saw a difference, or the local cloud did not start.
const FAILED: u8 = 1;

pub(crate) fn run(options: &ConformanceOptions) -> ExitCode {
    match results(options) {
        Ok(results) if results.iter().any(|result| matches!(result.outcome, Outcome::Failed(_))) => {
            ExitCode::from(FAILED)
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn results(options: &ConformanceOptions) -> Result<Vec<Conformance>> {
    let scratch = shell::root().join("target/conformance");
    let filter = options.filter.as_deref().unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime
        .block_on(harness::conformance::run(filter, &options.python, &scratch, |result| println!("{}", line(result))))
}

/// Also what is skipped is told, so that it is not mistaken for passed.
fn line(result: &Conformance) -> String {
    let (word, why) = match &result.outcome {
        Outcome::Passed => ("passed", String::new()),
        Outcome::Failed(why) => ("FAILED", format!("\n{why}")),
        Outcome::Skipped(why) => ("SKIPPED", format!("  {why}")),
    };
    format!("{word:<8} {:<29} {:>5.0} s{why}", result.suite, result.seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skipped_suite_says_what_is_missing() {
        let outcome = Outcome::Skipped("`gcloud` is not installed".to_owned());
        let result = Conformance { suite: "gcloud".to_owned(), outcome, seconds: 0.1 };

        insta::assert_snapshot!(line(&result), @"SKIPPED  gcloud                            0 s  `gcloud` is not installed");
    }
}
