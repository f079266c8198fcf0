//! The image in which the cases run.

use std::path::PathBuf;

use anyhow::Result;
use deploy::image::archive::{ImageArchive, Layer, Start};

use crate::rig::Trees;

/// Makes the image `localhost/init-cases:CONTENT` of programs by their place in it, and of the libraries they need.
///
/// # Errors
/// A program can't be read, or one of its libraries is missing.
pub(super) fn init_image(programs: &[(String, PathBuf)]) -> Result<ImageArchive> {
    let mut layer = Layer::new();
    for (folder, mode) in [("/bin", 0o755), ("/dev", 0o755), ("/proc", 0o755), ("/sys", 0o755), ("/tmp", 0o1777)] {
        layer.folder(folder, mode)?;
    }
    let trees = Trees::host();
    let files: Vec<PathBuf> = programs.iter().map(|(_, file)| file.clone()).collect();
    for (link, target) in [("/lib", "usr/lib"), ("/lib64", "usr/lib64")] {
        layer.link(link, target)?;
    }
    for (place, file) in programs.iter().cloned().chain(trees.libraries(&files)?) {
        layer.file(&place, 0o755, &fs_err::read(file)?)?;
    }
    let start = Start { labels: vec![("moonswarm.image".to_owned(), "init-cases".to_owned())], ..Start::default() };
    Ok(ImageArchive::new("localhost/init-cases", None, layer.finish()?, &start)?)
}
