//! Builds the product's programs without shared libraries, so that they run in an empty image.
//!
//! glibc is linked in (`+crt-static`): the toolchain that is there anyway suffices, no musl target is needed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::error::ImageError;

/// A cold build of both programs takes about ten minutes on two cores.
const BUILD_DEADLINE: Duration = Duration::from_secs(45 * 60);

/// A program of the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// The crate, `executor`.
    pub package: &'static str,
    /// Its program, `moonswarm-executor`.
    pub binary: &'static str,
    /// `--bin`, or `--example` for one that is not delivered.
    kind: &'static str,
    /// The profile it is built with.
    profile: &'static str,
}

/// What most programs are built with.
const DIST: &str = "dist";

impl Program {
    /// `moonswarm-executor`.
    pub const EXECUTOR: Self = Self { package: "executor", binary: "moonswarm-executor", kind: "--bin", profile: DIST };
    /// `moonswarm-manager`.
    pub const MANAGER: Self = Self { package: "manager", binary: "moonswarm-manager", kind: "--bin", profile: DIST };
    /// `moonswarm-init`, the first process of containers.
    pub const INIT: Self = Self { package: "supervisor", binary: "moonswarm-init", kind: "--bin", profile: "init" };
    /// `probe`, which misbehaves in containers under it.
    pub const PROBE: Self = Self { package: "supervisor", binary: "probe", kind: "--example", profile: DIST };
    /// `loadgen`, the load generator of the benchmarks.
    pub const LOADGEN: Self = Self { package: "loadgen", binary: "loadgen", kind: "--bin", profile: DIST };
    /// `cost`, which measures the sandbox without HTTP around it.
    pub const COST: Self = Self { package: "sandbox", binary: "cost", kind: "--example", profile: DIST };
}

/// Builds `programs`, each with its profile, for this machine's architecture and tells where they are, by program name.
/// `cargo` makes commands that run cargo in the workspace. Its progress goes to stderr; when nothing changed this takes a
/// second.
///
/// # Errors
/// cargo can't be run, the build fails (cargo has said why by then), or it takes longer than 45 minutes.
pub async fn build_static(
    cargo: impl Fn() -> std::process::Command,
    programs: &[Program],
) -> Result<BTreeMap<String, PathBuf>, ImageError> {
    let mut found = BTreeMap::new();
    for of_profile in programs.chunk_by(|one, next| one.profile == next.profile) {
        found.extend(build(cargo(), of_profile[0].profile, of_profile).await?);
    }
    Ok(found)
}

async fn build(
    cargo: std::process::Command,
    profile: &str,
    programs: &[Program],
) -> Result<BTreeMap<String, PathBuf>, ImageError> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let flags_for_target = format!("CARGO_TARGET_{}_RUSTFLAGS", target.replace('-', "_").to_uppercase());
    let mut command = Command::from(cargo);
    command
        .args(["build", "--profile", profile, "--target", &target, "--message-format", "json-render-diagnostics"])
        .args(programs.iter().flat_map(|program| ["--package", program.package, program.kind, program.binary]))
        // These two would take precedence over the flags for the target, and the result would not be static.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env(flags_for_target, "-C target-feature=+crt-static")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);

    let found = tokio::time::timeout(BUILD_DEADLINE, run(command))
        .await
        .map_err(|_| ImageError::Build(format!("is not done after {BUILD_DEADLINE:?}")))??;
    for program in programs {
        if !found.contains_key(program.binary) {
            return Err(ImageError::Build(format!("succeeded without naming an executable `{}`", program.binary)));
        }
    }
    Ok(found)
}

async fn run(mut command: Command) -> Result<BTreeMap<String, PathBuf>, ImageError> {
    let mut cargo = command.spawn().map_err(ImageError::Cargo)?;
    let mut messages = BufReader::new(cargo.stdout.take().expect("it was asked for above")).lines();
    let mut found = BTreeMap::new();
    while let Some(line) = messages.next_line().await.map_err(ImageError::Cargo)? {
        found.extend(executable(&line));
    }
    let status = cargo.wait().await.map_err(ImageError::Cargo)?;
    if !status.success() {
        return Err(ImageError::Build(format!("failed ({status})")));
    }
    Ok(found)
}

/// cargo's message about something it made
/// (<https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages>).
#[derive(Deserialize)]
struct Artifact {
    target: ArtifactTarget,
    executable: PathBuf,
}

#[derive(Deserialize)]
struct ArtifactTarget {
    name: String,
}

fn executable(message: &str) -> Option<(String, PathBuf)> {
    let artifact: Artifact = serde_json::from_str(message).ok()?;
    Some((artifact.target.name, artifact.executable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_among_cargo_s_messages() {
        let made = r#"{"reason":"compiler-artifact","target":{"name":"moonswarm-executor","kind":["bin"]},"executable":"/t/moonswarm-executor"}"#;
        let library = r#"{"reason":"compiler-artifact","target":{"name":"contract"},"executable":null}"#;

        assert_eq!(executable(made), Some(("moonswarm-executor".into(), "/t/moonswarm-executor".into())));
        assert_eq!(executable(library), None);
        assert_eq!(executable("   Compiling executor"), None);
    }
}
