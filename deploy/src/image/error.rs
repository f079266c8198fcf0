//! How making an image fails.

use std::io;
use std::path::PathBuf;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A program can't be read, or does not fit into a tar.
    #[error("make an image of a program")]
    Io(#[source] io::Error),
    /// It would find none of its libraries.
    #[error("`{}` is linked dynamically and can't start in an empty image: build it with `-C target-feature=+crt-static`", .0.display())]
    Dynamic(PathBuf),
    /// cargo did not run.
    #[error("run `cargo build`; is cargo in PATH?")]
    Cargo(#[source] io::Error),
    /// cargo ran, and said why not.
    #[error("`cargo build --profile dist` {0}; what cargo printed above says why")]
    Build(String),
}
