//! The release to begin with: the newest of disk cache and Docker config that verifies and compiles.
//!
//! Neither has to be there, and neither is a reason not to start: the feed brings what is missing.

use std::io::ErrorKind;
use std::path::Path;

use contract::bundle::{Bundle, BundleError};
use contract::release::VerifyError;

use crate::cache;
use crate::release::{Active, Known, Offer, Refusal, Source, Trust, prepare};

/// A release from this machine.
#[derive(Debug)]
pub struct Boot {
    /// The release.
    pub release: Active,
    /// Where it was found.
    pub source: Source,
}

/// Why a file does not give a release.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("read the file")]
    Read(#[source] std::io::Error),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error(transparent)]
    Refusal(#[from] Refusal),
}

/// Reads the cache in `cache_dir` and the bundle at `config`; the newest that can run is taken. Files that can't be used
/// are logged and passed over.
///
/// Compiles scripts: call it on a thread with a large stack.
pub fn boot(cache_dir: Option<&Path>, config: &Path, trust: &Trust) -> Option<Boot> {
    let cache = cache_dir.map(|dir| (Source::Cache, cache::file_in(dir)));
    let mut offers = Vec::new();
    for (source, path) in cache.into_iter().chain([(Source::Config, config.to_owned())]) {
        match read(&path, trust) {
            Ok(Some(offer)) => offers.push((source, path, offer)),
            Ok(None) => {}
            Err(err) => pass_over(source, &path, &err),
        }
    }
    offers.sort_by_key(|(_, _, offer)| std::cmp::Reverse(offer.verified.statement().number));
    offers.into_iter().find_map(|(source, path, offer)| match prepare(trust, &Known::default(), offer) {
        Ok(release) => Some(Boot { release, source }),
        Err(err) => {
            pass_over(source, &path, &err.into());
            None
        }
    })
}

fn read(path: &Path, trust: &Trust) -> Result<Option<Offer>, FileError> {
    let text = match fs_err::read(path) {
        Ok(text) => text,
        Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(err) => return Err(FileError::Read(err)),
    };
    Ok(Some(Offer::of_bundle(Bundle::decode(&text)?, trust)?))
}

fn pass_over(source: Source, path: &Path, err: &FileError) {
    tracing::warn!(
        source = source.as_str(),
        path = %path.display(),
        error = telemetry::chain(err),
        "release file can't be used and is passed over"
    );
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::release::testing::{Signer, write};

    struct Machine {
        signer: Signer,
        dir: tempfile::TempDir,
    }

    impl Machine {
        fn new() -> Self {
            Self { signer: Signer::new(), dir: tempfile::tempdir().unwrap() }
        }

        fn config(&self) -> PathBuf {
            self.dir.path().join("logic.lua")
        }

        fn bundle(&self, number: u64, source: &str) -> Vec<u8> {
            let changes = [write("acme", "risk", source)];
            let release = self.signer.sign(number, 0, &changes);
            let content = changes[0].content.as_ref().unwrap();
            let sources = [(content.entry.version.clone(), content.source.to_vec())].into_iter().collect();
            Bundle { release, sources }.encode().unwrap()
        }

        fn boot(&self) -> Option<(u64, Source)> {
            let boot = boot(Some(self.dir.path()), &self.config(), &self.signer.trust())?;
            Some((boot.release.number(), boot.source))
        }
    }

    #[test]
    fn nothing_on_disk_is_fine() {
        assert_eq!(Machine::new().boot(), None);
    }

    #[test]
    fn the_newer_of_cache_and_config_is_taken() {
        let machine = Machine::new();
        fs_err::write(machine.config(), machine.bundle(3, "return 3")).unwrap();
        assert_eq!(machine.boot(), Some((3, Source::Config)));

        fs_err::write(cache::file_in(machine.dir.path()), machine.bundle(4, "return 4")).unwrap();
        assert_eq!(machine.boot(), Some((4, Source::Cache)));

        fs_err::write(machine.config(), machine.bundle(5, "return 5")).unwrap();
        assert_eq!(machine.boot(), Some((5, Source::Config)));
    }

    #[test]
    fn a_file_that_is_none_or_foreign_or_broken_is_passed_over() {
        let machine = Machine::new();
        fs_err::write(cache::file_in(machine.dir.path()), machine.bundle(1, "return 1")).unwrap();

        let foreign = Machine::new().bundle(9, "return 9");
        let broken = machine.bundle(9, "return }");
        for text in [b"return 9".to_vec(), foreign, broken, machine.bundle(9, "return 9")[..300].to_vec()] {
            fs_err::write(machine.config(), text).unwrap();
            assert_eq!(machine.boot(), Some((1, Source::Cache)));
        }
    }
}
