//! Reading what the author names: a file, or standard input as `-`, up to a bound.

use std::io::{self, Read};
use std::path::Path;

use crate::exit::Exit;
use crate::failure::Failure;

/// Most that is ever read of a script or an input. Far above every default limit, so that the sandbox and the
/// programs tell the true size against the true limit; low enough for a device file named by mistake.
pub(crate) const BYTES_MAX: u64 = 64 << 20;

/// All bytes of the file that the author named as `what`: `script` or `input`. `-` is standard input.
///
/// # Errors
/// It can't be read.
pub(crate) fn named(what: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    read(path, BYTES_MAX).map_err(|err| {
        Failure::new(Exit::Other, "file", format!("cannot read the {what}: {err}"))
            .hint("paths start at the current directory; `-` means standard input")
    })
}

/// A file that can't be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// `fs_err` names the path and what was tried.
    #[error("{0}")]
    File(io::Error),
    /// Standard input broke.
    #[error("failed to read standard input: {0}")]
    Stdin(io::Error),
    /// Above the bound.
    #[error("{name} has more than {max} bytes")]
    TooLong {
        /// Path, or `standard input`.
        name: String,
        /// The bound.
        max: u64,
    },
}

/// True if `path` means standard input.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// All bytes of `path`, at most `max`.
///
/// # Errors
/// It can't be read, or has more than `max` bytes.
pub(crate) fn read(path: &Path, max: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    if is_stdin(path) {
        io::stdin().lock().take(max + 1).read_to_end(&mut bytes).map_err(FileError::Stdin)?;
    } else {
        let file = fs_err::File::open(path).map_err(FileError::File)?;
        file.take(max + 1).read_to_end(&mut bytes).map_err(FileError::File)?;
    }
    if bytes.len() as u64 > max {
        let name = if is_stdin(path) { "standard input".to_owned() } else { format!("`{}`", path.display()) };
        return Err(FileError::TooLong { name, max });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_up_to_the_bound_is_read_and_one_above_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), b"12345").unwrap();

        assert_eq!(read(file.path(), 5).unwrap(), b"12345");
        assert!(read(file.path(), 4).unwrap_err().to_string().ends_with("has more than 4 bytes"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let message = read(Path::new("no/such.luau"), 5).unwrap_err().to_string();

        assert!(message.contains("`no/such.luau`") && message.contains("No such file"), "{message}");
    }
}
