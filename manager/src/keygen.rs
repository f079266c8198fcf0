//! `moonswarm-manager keygen`: a new key pair as two files.

use std::io::Write;
use std::path::{Path, PathBuf};

use contract::release::{KeyError, SigningKey};
use fs_err::OpenOptions;
use fs_err::os::unix::fs::OpenOptionsExt;

/// Why there is no new key pair.
#[derive(Debug, thiserror::Error)]
pub enum KeygenError {
    /// A file could not be written; it may exist.
    #[error("make a key pair in `{dir}`")]
    Write {
        /// Where.
        dir: PathBuf,
        /// What the file system says.
        #[source]
        err: std::io::Error,
    },
    /// A key is already there.
    #[error("`{0}` exists and is not replaced; executors may trust its public half")]
    Exists(PathBuf),
    /// The new key can't be read back.
    #[error("read the new key")]
    Key(#[from] KeyError),
}

/// Makes `dir/signing.key` (for managers, mode 0600) and `dir/signing.pub` (for executors).
///
/// # Errors
/// [`KeygenError`]; an existing file is left as it is.
pub fn keygen(dir: &Path) -> Result<(PathBuf, PathBuf), KeygenError> {
    let failed = |err| KeygenError::Write { dir: dir.to_owned(), err };
    let (private, public) = (dir.join("signing.key"), dir.join("signing.pub"));
    if let Some(there) = [&private, &public].into_iter().find(|path| path.exists()) {
        return Err(KeygenError::Exists(there.clone()));
    }
    let text = SigningKey::generate();
    let key = SigningKey::parse(&text)?;
    fs_err::create_dir_all(dir).map_err(failed)?;
    write(&private, &text, 0o600).map_err(failed)?;
    write(&public, &key.public().to_text(), 0o644).map_err(failed)?;
    Ok((private, public))
}

fn write(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let mut file = options.open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::release::PublicKeys;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_pair_fits_and_the_private_half_is_private() {
        let dir = tempfile::tempdir().unwrap();

        let (private, public) = keygen(&dir.path().join("keys")).unwrap();

        let key = SigningKey::parse(&fs_err::read_to_string(&private).unwrap()).unwrap();
        assert_eq!(fs_err::read_to_string(&public).unwrap().trim(), key.public().to_text());
        assert!(PublicKeys::parse(&fs_err::read_to_string(&public).unwrap()).is_ok());
        assert_eq!(fs_err::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_is_there_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (private, _) = keygen(dir.path()).unwrap();
        let before = fs_err::read_to_string(&private).unwrap();

        let err = keygen(dir.path()).unwrap_err();

        assert!(matches!(err, KeygenError::Exists(_)), "{err}");
        assert_eq!(fs_err::read_to_string(&private).unwrap(), before);
    }
}
