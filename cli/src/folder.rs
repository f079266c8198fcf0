//! A folder of modules as one tar file. The same modules give the same bytes, whoever packs them and when: the version
//! of a script is the hash of its bytes.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::files;

/// Files and folders looked at. Far above what a script has, far below a home directory.
const ENTRIES_MAX: usize = 10_000;

/// The modules in and under `folder`. Other files, type declarations and what hides behind a dot stay where they are.
///
/// # Errors
/// Something can't be read, a module is a link, or the folder is no folder of a script by its size.
pub(crate) fn pack(folder: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |err: io::Error| {
        Failure::new(Exit::Other, "file", format!("cannot read the script: {err}"))
            .hint("name the folder that holds the script's `init.luau`")
    };
    let mut tar = tar::Builder::new(Vec::new());
    let mut bytes_left = files::BYTES_MAX;
    for (name, path) in modules(folder)? {
        let content = files::read(&path, bytes_left).map_err(|err| unreadable(io::Error::other(err)))?;
        bytes_left -= content.len() as u64;
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, &name, &content[..]).map_err(unreadable)?;
    }
    tar.into_inner().map_err(unreadable)
}

/// Modules by their path within the folder, written with `/`.
fn modules(folder: &Path) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let failed = |what: String| Failure::new(Exit::Other, "file", format!("cannot read the script: {what}"));
    let mut modules = BTreeMap::new();
    let (mut folders, mut entries) = (vec![(String::new(), folder.to_owned())], 0);
    while let Some((prefix, folder)) = folders.pop() {
        for entry in fs_err::read_dir(&folder).map_err(|err| failed(err.to_string()))? {
            let entry = entry.map_err(|err| failed(err.to_string()))?;
            entries += 1;
            if entries > ENTRIES_MAX {
                return Err(failed(format!("`{}` holds more than {ENTRIES_MAX} files", folder.display()))
                    .hint("name the folder that holds the script's `init.luau`"));
            }
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(|err| failed(err.to_string()))?;
            let is_module = (name.ends_with(".luau") || name.ends_with(".lua")) && !name.ends_with(".d.luau");
            if name.starts_with('.') {
                continue;
            } else if kind.is_dir() {
                folders.push((format!("{prefix}{name}/"), path));
            } else if is_module && kind.is_file() {
                modules.insert(format!("{prefix}{name}"), path);
            } else if is_module {
                return Err(failed(format!("`{}` is a link or another special file", path.display()))
                    .hint("a script is made of plain files: copy it there"));
            }
        }
    }
    Ok(modules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn the_same_modules_are_the_same_bytes() {
        let one = folder(&[("init.luau", "return 1"), ("a/b.luau", "return 2"), ("a/c.lua", "return 3")]);
        let two = folder(&[
            ("a/c.lua", "return 3"),
            ("README.md", "words"),
            ("a/b.luau", "return 2"),
            (".git/x.luau", "="),
            ("moonswarm.d.luau", "declare x: number"),
            ("init.luau", "return 1"),
        ]);

        assert_eq!(pack(one.path()).unwrap(), pack(two.path()).unwrap());
        assert_eq!(
            contract::Version::of(&pack(one.path()).unwrap()).short(),
            "c880236cfc45",
            "the version of packages that were pushed before"
        );
    }

    #[test]
    fn a_module_that_is_a_link_is_refused() {
        let folder = folder(&[("init.luau", "return 1")]);
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("secret.luau")).unwrap();

        let failure = pack(folder.path()).unwrap_err().text();

        assert!(failure.contains("secret.luau` is a link"), "{failure}");
    }
}
