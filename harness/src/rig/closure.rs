//! Finds programs on the host, and the shared libraries they need.
//!
//! "The host" may be several trees: `/` itself, and a folder into which packages were unpacked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Where distributions put the programs of a node.
const PROGRAM_FOLDERS: [&str; 8] =
    ["usr/sbin", "usr/bin", "usr/local/sbin", "usr/local/bin", "sbin", "bin", "usr/libexec/docker", "usr/lib/docker"];

/// Trees of files, the first one wins.
#[derive(Debug, Clone)]
pub(crate) struct Trees(Vec<PathBuf>);

impl Trees {
    pub(crate) fn host() -> Self {
        Self(vec![PathBuf::from("/")])
    }

    /// These trees, and behind them `tree`.
    pub(super) fn and(mut self, tree: PathBuf) -> Self {
        self.0.push(tree);
        self
    }

    /// The first of `names` that is an installed program.
    pub(super) fn program(&self, names: &[&str]) -> Option<PathBuf> {
        names.iter().find_map(|name| {
            let places = self.0.iter().flat_map(|tree| PROGRAM_FOLDERS.map(|folder| tree.join(folder).join(name)));
            places.into_iter().find(|place| place.is_file())
        })
    }

    /// The files in the first of `folders` that exists, sorted. `folders` have no leading `/`.
    pub(super) fn files(&self, folders: &[String]) -> Vec<PathBuf> {
        let places = self.0.iter().flat_map(|tree| folders.iter().map(|folder| tree.join(folder)));
        let Some(found) = places.into_iter().find_map(|place| fs_err::read_dir(place).ok()) else { return Vec::new() };
        let mut files: Vec<PathBuf> = found.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.sort();
        files
    }

    /// Where a file of these trees belongs in an image: its path without the tree, and with `/bin`, `/sbin`, `/lib…`
    /// moved below `/usr`, where every current distribution has them.
    pub(super) fn place(&self, file: &Path) -> String {
        // `/` is a prefix of every path, so the more special trees are tried first.
        let inside = self.0.iter().rev().find_map(|tree| file.strip_prefix(tree).ok()).unwrap_or(file);
        let inside = inside.display().to_string();
        if inside.starts_with("usr/") { format!("/{inside}") } else { format!("/usr/{inside}") }
    }

    /// The shared libraries of `programs`, with all that those need: place in the image → file.
    ///
    /// # Errors
    /// `ldd` can't be run, or a library is missing.
    pub(crate) fn libraries(&self, programs: &[PathBuf]) -> Result<BTreeMap<String, PathBuf>> {
        let folders = self.0.iter().skip(1).flat_map(|tree| library_folders().map(|folder| tree.join(folder)));
        let search = std::env::join_paths(folders).context("join the folders of libraries")?;
        let output = Command::new("ldd").args(programs).env("LD_LIBRARY_PATH", search).output().context("run `ldd`")?;
        // The exit code says nothing: it is 1 as soon as one of the programs is static.
        let mut found = BTreeMap::new();
        for library in parse_ldd(&String::from_utf8_lossy(&output.stdout))? {
            found.insert(self.place(&library), library);
        }
        Ok(found)
    }
}

/// Folders of shared libraries in a tree: Debian's multiarch folder, Fedora's, the plain one.
pub(super) fn library_folders() -> [String; 3] {
    [format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH), "usr/lib64".into(), "usr/lib".into()]
}

/// The files that `ldd` names. Lines are `NAME => FILE (ADDRESS)`, `FILE (ADDRESS)`, or something about no file at all.
fn parse_ldd(text: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_suffix("=> not found") {
            bail!(
                "the shared library `{}` is not installed: run `ldd` on the Docker programs to see who needs it",
                name.trim()
            );
        }
        let file = line.split_once("=> ").map_or(line, |(_, file)| file);
        if let Some((file, _)) = file.split_once(" (0x")
            && file.starts_with('/')
        {
            files.push(PathBuf::from(file));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_names_libraries_in_three_ways() {
        let text = "/usr/sbin/dockerd:\n\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n/usr/bin/docker-init:\n\tnot a dynamic executable\n";

        let files = parse_ldd(text).unwrap();

        assert_eq!(files, ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from));
    }

    #[test]
    fn a_missing_library_is_named() {
        let error = parse_ldd("\tlibip4tc.so.2 => not found\n").unwrap_err();

        insta::assert_snapshot!(error, @"the shared library `libip4tc.so.2` is not installed: run `ldd` on the Docker programs to see who needs it");
    }

    #[test]
    fn files_of_all_trees_land_below_usr() {
        let trees = Trees::host().and("/cache/debs/tree".into());

        assert_eq!(trees.place(Path::new("/lib/x86_64-linux-gnu/libc.so.6")), "/usr/lib/x86_64-linux-gnu/libc.so.6");
        assert_eq!(trees.place(Path::new("/usr/sbin/dockerd")), "/usr/sbin/dockerd");
        assert_eq!(trees.place(Path::new("/cache/debs/tree/usr/sbin/dockerd")), "/usr/sbin/dockerd");
        assert_eq!(trees.place(Path::new("/cache/debs/tree/lib/libip4tc.so.2")), "/usr/lib/libip4tc.so.2");
    }
}
