//! The product's programs as a developer builds them: made by cargo, found by what cargo says it made.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Where the built programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `moonswarm-manager`.
    pub manager: PathBuf,
    /// `moonswarm-executor`.
    pub executor: PathBuf,
    /// `moonswarm`, the authors' program.
    pub moonswarm: PathBuf,
}

impl Programs {
    /// Builds the three programs with the developer's profile; takes a second when nothing changed.
    ///
    /// The programs are named by `--bin` and not by `--package`, so that cargo unifies features over the whole workspace
    /// and shares every dependency with the tests.
    ///
    /// # Errors
    /// cargo can't be run, or the build fails; cargo's own words are on stderr by then.
    pub fn build() -> Result<Self> {
        let bins = ["moonswarm-manager", "moonswarm-executor", "moonswarm"];
        let mut command = cargo();
        command.args(["build", "--message-format=json-render-diagnostics"]);
        for bin in bins {
            command.args(["--bin", bin]);
        }
        let output = command.stderr(Stdio::inherit()).stdin(Stdio::null()).output().context("run `cargo build`")?;
        if !output.status.success() {
            bail!("`cargo build` of {} failed ({})", bins.join(", "), output.status);
        }

        let find = |name: &str| {
            executables(&output.stdout)
                .find(|path| path.file_stem().is_some_and(|stem| stem == name))
                .with_context(|| format!("`cargo build` succeeded without naming an executable `{name}`"))
        };
        Ok(Self { manager: find(bins[0])?, executor: find(bins[1])?, moonswarm: find(bins[2])? })
    }
}

/// cargo in the workspace's root, as a shell would start it.
///
/// `cargo run` and `cargo test` tell their children which package runs (`CARGO_PKG_NAME` and more). Handed on to another
/// cargo, these make the build scripts that watch them run again (ring's does), and half of the tree compiles anew.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    let told = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(told)) {
        command.env_remove(name);
    }
    command
}

/// The workspace's root folder.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

/// The executables in cargo's JSON messages
/// (<https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages>).
fn executables(messages: &[u8]) -> impl Iterator<Item = PathBuf> {
    messages
        .split(|&byte| byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
}
