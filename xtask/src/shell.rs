//! cargo's commands: always from the workspace's root, always shown before they run.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use harness::programs::cargo;

/// The workspace's root folder.
pub(crate) fn root() -> &'static Path {
    harness::programs::workspace()
}

/// Runs `cargo ARGUMENTS` and shows its output as it comes.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    run_with(arguments, &[])
}

/// The same with additional environment variables.
pub(crate) fn run_with(arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let shown = format!("cargo {}", arguments.join(" "));
    eprintln!("$ {shown}");
    let status =
        cargo().args(arguments).envs(environment.iter().copied()).status().with_context(|| format!("run `{shown}`"))?;
    if status.success() { Ok(()) } else { bail!("`{shown}` ended with {status}") }
}

/// Whether `cargo ARGUMENTS` succeeds; nothing of it is shown.
pub(crate) fn succeeds(arguments: &[&str]) -> bool {
    let quiet = cargo().args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}
