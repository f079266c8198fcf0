//! Docker's programs from Debian packages, for hosts that have none: fetched by `apt-get`, unpacked into a folder, not installed.
//!
//! Only what the host lacks is fetched. No root is needed, and nothing on the host changes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// The packages that hold a node's programs, on Debian and on Ubuntu.
const PACKAGES: [&str; 4] = ["docker.io", "iptables", "fuse-overlayfs", "mount"];
/// About 70 MB are fetched.
const STEP_DEADLINE: Duration = Duration::from_secs(300);
/// Written last; without it the folder is half filled and is made again.
const COMPLETE: &str = ".complete";

/// Fills `cache/debs` and gives the folder with the unpacked files.
///
/// # Errors
/// The host has no `apt-get` or `dpkg-deb`, or a package can't be fetched.
pub(super) async fn fetch(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join("debs");
    let tree = folder.join("tree");
    if tree.join(COMPLETE).exists() {
        return Ok(tree);
    }
    if folder.exists() {
        fs_err::remove_dir_all(&folder)?;
    }
    fs_err::create_dir_all(&tree)?;

    let mut simulate = Command::new("apt-get");
    simulate.args(["install", "--simulate", "--no-install-recommends", "-o", "Debug::NoLocking=true"]).args(PACKAGES);
    let missing = packages_to_install(&run(simulate).await?);
    if missing.is_empty() {
        bail!("apt has installed {PACKAGES:?}, but not all of their programs are where they should be");
    }
    let mut download = Command::new("apt-get");
    download.current_dir(&folder).arg("download").args(&missing);
    run(download).await?;
    unpack_all(&folder, &tree).await?;
    Ok(tree)
}

/// Fetches one package that has no others beside the C library, and gives the folder with its files, `cache/deb-NAME`.
///
/// # Errors
/// The host has no `apt-get` or `dpkg-deb`, or the package can't be fetched.
pub async fn unpack(package: &str, cache: &Path) -> Result<PathBuf> {
    let folder = cache.join(format!("deb-{package}"));
    let tree = folder.join("tree");
    if tree.join(COMPLETE).exists() {
        return Ok(tree);
    }
    if folder.exists() {
        fs_err::remove_dir_all(&folder)?;
    }
    fs_err::create_dir_all(&tree)?;
    let mut download = Command::new("apt-get");
    download.current_dir(&folder).args(["download", package]);
    run(download).await?;
    unpack_all(&folder, &tree).await?;
    Ok(tree)
}

/// Unpacks every package in `folder` into `tree`.
async fn unpack_all(folder: &Path, tree: &Path) -> Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let package = entry?.path();
        if package.extension().is_some_and(|extension| extension == "deb") {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("-x").arg(&package).arg(tree);
            run(unpack).await?;
        }
    }
    fs_err::write(tree.join(COMPLETE), "")?;
    Ok(())
}

async fn run(mut command: Command) -> Result<String> {
    let words = format!("{:?}", command.as_std());
    let running = command.env("LC_ALL", "C").kill_on_drop(true).output();
    let output = tokio::time::timeout(STEP_DEADLINE, running)
        .await
        .with_context(|| format!("{words} is not done after {STEP_DEADLINE:?}"))?
        .with_context(|| {
            format!(
                "run {words}: this host lacks programs, and has no apt to fetch them with; install the Docker engine"
            )
        })?;
    if !output.status.success() {
        bail!("{words} failed ({}):\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The packages in what `apt-get --simulate` prints: `Inst NAME (VERSION …)`.
fn packages_to_install(text: &str) -> Vec<String> {
    let name = |line: &str| Some(line.strip_prefix("Inst ")?.split_whitespace().next()?.to_owned());
    text.lines().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_from_a_simulated_installation() {
        let text = "NOTE: This is only a simulation!\nInst runc (1.1.5+ds1-1 Debian:12 [amd64])\n\
                    Inst docker.io [20.10.23] (20.10.24 Debian:12 [amd64]) []\nConf runc (1.1.5+ds1-1)\n";

        assert_eq!(packages_to_install(text), ["runc", "docker.io"]);
    }
}
