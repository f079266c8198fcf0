//! The disk cache: the active release as a bundle file, for a start without a manager.
//!
//! Written off the hot path by one thread, at most one write at a time; of releases that come faster than the disk
//! takes them the newest wins. A large one, of which each write takes long, is not written at every change. What is
//! read back is trusted no more than what comes from the feed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use contract::bundle::BundleError;

use crate::release::Active;

/// After a write the thread rests for so many times as long as it took: of a release of thousands of scripts that
/// changes many times a second, each write encodes all of it.
const REST: u32 = 4;

/// But no longer than this: what is on disk must not be much older than what runs.
const REST_MAX: Duration = Duration::from_secs(5);

/// The file in the cache directory.
const FILE: &str = "release.luau";

/// The file that [`Writer`] keeps in `dir`.
pub fn file_in(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// Why a release could not be written.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("encode the release")]
    Encode(#[source] BundleError),
    #[error("write the disk cache")]
    Io(#[from] std::io::Error),
}

#[derive(Default)]
struct Desk {
    next: Option<Arc<Active>>,
    closed: bool,
    finished: bool,
}

type Shared = Arc<(Mutex<Desk>, Condvar)>;

/// Writes releases to disk, one at a time.
pub struct Writer {
    shared: Shared,
}

impl Writer {
    /// Starts the thread that writes to `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// The directory can't be made, or the operating system gives no thread.
    pub fn start(dir: &Path) -> std::io::Result<Self> {
        fs_err::create_dir_all(dir)?;
        let shared = Shared::default();
        let (desk, path) = (Arc::clone(&shared), file_in(dir));
        thread::Builder::new().name("cache".into()).spawn(move || work(&desk, &path))?;
        Ok(Self { shared })
    }

    /// Has `release` written soon, instead of any other that still waits. Does not block.
    pub fn offer(&self, release: Arc<Active>) {
        self.change(|desk| desk.next = Some(release));
    }

    /// Takes nothing more, and waits at most `deadline` until what was offered is on disk; tells whether it is.
    pub fn finish(&self, deadline: Duration) -> bool {
        self.change(|desk| desk.closed = true);
        let (desk, woken) = &*self.shared;
        let desk = desk.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = woken.wait_timeout_while(desk, deadline, |desk| !desk.finished);
        waited.unwrap_or_else(PoisonError::into_inner).0.finished
    }

    fn change(&self, change: impl FnOnce(&mut Desk)) {
        let (desk, woken) = &*self.shared;
        change(&mut desk.lock().unwrap_or_else(PoisonError::into_inner));
        woken.notify_all();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.change(|desk| desk.closed = true);
    }
}

fn work((place, woken): &(Mutex<Desk>, Condvar), path: &Path) {
    loop {
        let waiting = place.lock().unwrap_or_else(PoisonError::into_inner);
        let mut desk = woken
            .wait_while(waiting, |desk| desk.next.is_none() && !desk.closed)
            .unwrap_or_else(PoisonError::into_inner);
        let Some(release) = desk.next.take() else {
            desk.finished = true;
            woken.notify_all();
            return;
        };
        drop(desk);
        let begun = Instant::now();
        match write(path, &release) {
            Ok(()) => tracing::debug!(release = release.number(), "release is in the disk cache"),
            Err(err) => tracing::warn!(
                release = release.number(),
                error = telemetry::chain(&err),
                "release is not in the disk cache; a restart without a manager would start with an older one"
            ),
        }
        let rest = (begun.elapsed() * REST).min(REST_MAX);
        let desk = place.lock().unwrap_or_else(PoisonError::into_inner);
        drop(woken.wait_timeout_while(desk, rest, |desk| !desk.closed));
    }
}

/// Replaces the file whole or not at all (rename(2) after fsync(2)), also when the power goes.
fn write(path: &Path, release: &Active) -> Result<(), WriteError> {
    let text = release.to_bundle().encode().map_err(WriteError::Encode)?;
    let unfinished = path.with_extension("unfinished");
    let mut file = fs_err::File::create(&unfinished)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs_err::rename(&unfinished, path)?;
    if let Some(dir) = path.parent() {
        fs_err::File::open(dir)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::{Boot, boot};
    use crate::release::testing::{Signer, write};
    use crate::release::{Known, Source, prepare};

    const DEADLINE: Duration = Duration::from_secs(10);

    fn release(signer: &Signer, number: u64, source: &str) -> Arc<Active> {
        let offer = signer.offer(number, 0, vec![write("acme", "risk", source)]);
        Arc::new(prepare(&signer.trust(), &Known::default(), offer).unwrap())
    }

    #[test]
    fn a_release_comes_back_from_the_disk() {
        let (signer, dir) = (Signer::new(), tempfile::tempdir().unwrap());
        let cache = Writer::start(dir.path()).unwrap();
        cache.offer(release(&signer, 7, "return 1"));
        assert!(cache.finish(DEADLINE));

        let config = dir.path().join("none");
        let Some(Boot { release, source }) = boot(Some(dir.path()), &config, &signer.trust()) else {
            panic!("no release")
        };

        assert_eq!((release.number(), source), (7, Source::Cache));
        assert!(release.find("acme", "risk").is_ok());
    }

    #[test]
    fn the_newest_release_is_the_one_on_disk() {
        let (signer, dir) = (Signer::new(), tempfile::tempdir().unwrap());
        let cache = Writer::start(&dir.path().join("made/here")).unwrap();

        for number in 1..=20 {
            cache.offer(release(&signer, number, "return 1"));
        }
        assert!(cache.finish(DEADLINE));

        let text = fs_err::read_to_string(file_in(&dir.path().join("made/here"))).unwrap();
        assert!(text.lines().next().unwrap().contains(r#"\"number\":20,"#), "{text}");
    }
}
