//! The fuzz targets of `fuzz/`, run for some seconds each: enough to see that they build and do not fail at once. Who
//! looks for more runs `cargo +nightly fuzz run TARGET` for as long as there is time.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use containment::targets::TARGETS;

use crate::shell;

/// Of each target.
const SECONDS: &str = "-max_total_time=10";

/// Builds and runs all targets; the reason where that is not possible here.
pub(crate) fn smoke() -> Result<Option<&'static str>> {
    if !succeeds(&["--version"]) {
        return Ok(Some("there is no nightly Rust (`rustup toolchain install nightly`)"));
    }
    if !succeeds(&["fuzz", "--version"]) {
        return Ok(Some("cargo-fuzz is not installed (`cargo install cargo-fuzz --locked`)"));
    }
    for (name, _, seeds) in TARGETS {
        let corpus = shell::root().join("fuzz/corpus").join(name);
        fs_err::create_dir_all(&corpus)?;
        for (number, seed) in seeds.iter().enumerate() {
            fs_err::write(corpus.join(format!("seed-{number}")), seed)?;
        }
        eprintln!("$ cargo +nightly fuzz run {name} -- {SECONDS}");
        let status = nightly(&["fuzz", "run", name, "--", SECONDS]).status().context("run rustup")?;
        if !status.success() {
            bail!("fuzz target `{name}` ended with {status}; its input is in fuzz/artifacts/{name}");
        }
    }
    Ok(None)
}

/// cargo of the nightly toolchain. Through rustup, because a cargo that was started by cargo is that very one.
fn nightly(arguments: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]).args(arguments).current_dir(shell::root());
    command
}

fn succeeds(arguments: &[&str]) -> bool {
    let quiet = nightly(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}
