//! A versioned bucket in memory, with faults.

use std::sync::Mutex;

use bytes::Bytes;
use manager::bucket::{Bucket, BucketError, Content, Metadata, ObservedObject};

#[derive(Default)]
pub(crate) struct MemoryBucket {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    versions: Vec<Stored>,
    generation: i64,
    /// No call succeeds.
    down: bool,
    /// Contents of this object are gone.
    lost: Option<String>,
    /// Only writes of this object fail.
    write_fails: Option<String>,
    reads: u32,
    writes: u32,
}

struct Stored {
    object: ObservedObject,
    bytes: Bytes,
    live: bool,
}

impl MemoryBucket {
    /// What `gsutil cp` does. The new generation.
    pub(crate) fn upload(&self, object: &str, source: &str) -> i64 {
        self.put(object, Bytes::copy_from_slice(source.as_bytes()), Metadata::new())
    }

    /// What `gsutil rm` does.
    pub(crate) fn delete_live(&self, object: &str) {
        self.with(|state| {
            state
                .versions
                .iter_mut()
                .filter(|stored| stored.object.name == object)
                .for_each(|stored| stored.live = false)
        });
    }

    /// Deletes every live object whose name begins with `prefix`.
    pub(crate) fn delete_all(&self, prefix: &str) {
        self.with(|state| {
            state
                .versions
                .iter_mut()
                .filter(|stored| stored.object.name.starts_with(prefix))
                .for_each(|stored| stored.live = false);
        });
    }

    /// The object is still listed, but no content of it can be read any more.
    pub(crate) fn lose(&self, object: &str) {
        self.with(|state| state.lost = Some(object.to_owned()));
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.with(|state| state.down = down);
    }

    pub(crate) fn fail_writes_of(&self, object: Option<&str>) {
        self.with(|state| state.write_fails = object.map(str::to_owned));
    }

    /// The live content and its generation.
    pub(crate) fn live(&self, object: &str) -> Option<(i64, Bytes)> {
        self.with(|state| state.live(object).map(|stored| (stored.object.generation, stored.bytes.clone())))
    }

    pub(crate) fn reads(&self) -> u32 {
        self.with(|state| state.reads)
    }

    pub(crate) fn writes(&self) -> u32 {
        self.with(|state| state.writes)
    }

    pub(crate) fn put(&self, object: &str, bytes: Bytes, metadata: Metadata) -> i64 {
        self.with(|state| state.put(object, bytes, metadata).generation)
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap())
    }

    fn check(&self, operation: &'static str, object: &str) -> Result<(), BucketError> {
        if self.with(|state| state.down) {
            let (bucket, object, reason) = ("scripts".to_owned(), object.to_owned(), "connection refused".to_owned());
            return Err(BucketError::Unavailable { bucket, operation, object, reason });
        }
        Ok(())
    }
}

impl State {
    fn live(&self, object: &str) -> Option<&Stored> {
        self.versions.iter().find(|stored| stored.live && stored.object.name == object)
    }

    fn put(&mut self, object: &str, bytes: Bytes, metadata: Metadata) -> ObservedObject {
        self.versions.iter_mut().filter(|stored| stored.object.name == object).for_each(|stored| stored.live = false);
        self.generation += 1;
        let object = ObservedObject {
            name: object.to_owned(),
            generation: self.generation,
            size: bytes.len() as u64,
            written_at_ms: 1_767_225_600_000 + self.generation,
            metadata,
        };
        self.versions.push(Stored { object: object.clone(), bytes, live: true });
        object
    }
}

fn conflict(object: &str) -> BucketError {
    BucketError::Conflict { bucket: "scripts".to_owned(), object: object.to_owned() }
}

fn not_found(object: &str) -> BucketError {
    BucketError::NotFound { bucket: "scripts".to_owned(), object: object.to_owned() }
}

#[tonic::async_trait]
impl Bucket for MemoryBucket {
    fn name(&self) -> &str {
        "scripts"
    }

    async fn read(&self, object: &str, generation: Option<i64>, bytes_max: usize) -> Result<Content, BucketError> {
        self.check("read", object)?;
        self.with(|state| {
            state.reads += 1;
            if state.lost.as_deref() == Some(object) {
                return Err(not_found(object));
            }
            let wanted = |stored: &&Stored| {
                stored.object.name == object
                    && generation.map_or(stored.live, |wanted| wanted == stored.object.generation)
            };
            let stored = state.versions.iter().find(wanted).ok_or_else(|| not_found(object))?;
            if stored.bytes.len() > bytes_max {
                return Err(BucketError::TooLarge {
                    bucket: "scripts".to_owned(),
                    object: object.to_owned(),
                    bytes_max,
                });
            }
            Ok(Content { generation: stored.object.generation, bytes: stored.bytes.clone() })
        })
    }

    async fn head(&self, object: &str) -> Result<Option<ObservedObject>, BucketError> {
        self.check("look at", object)?;
        Ok(self.with(|state| state.live(object).map(|stored| stored.object.clone())))
    }

    async fn write(
        &self,
        object: &str,
        bytes: Bytes,
        generation_match: i64,
        metadata: Metadata,
    ) -> Result<ObservedObject, BucketError> {
        self.check("write", object)?;
        self.with(|state| {
            if state.write_fails.as_deref() == Some(object) {
                let (bucket, reason) = ("scripts".to_owned(), "503".to_owned());
                return Err(BucketError::Unavailable { bucket, operation: "write", object: object.to_owned(), reason });
            }
            let live = state.live(object).map_or(0, |stored| stored.object.generation);
            if live != generation_match {
                return Err(conflict(object));
            }
            state.writes += 1;
            Ok(state.put(object, bytes, metadata))
        })
    }

    async fn delete(&self, object: &str, generation_match: i64) -> Result<(), BucketError> {
        self.check("delete", object)?;
        self.with(|state| {
            let stored = state.versions.iter_mut().find(|stored| stored.live && stored.object.name == object);
            let stored = stored.ok_or_else(|| not_found(object))?;
            if stored.object.generation != generation_match {
                return Err(conflict(object));
            }
            stored.live = false;
            Ok(())
        })
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObservedObject>, BucketError> {
        self.check("list", prefix)?;
        Ok(self.with(|state| {
            let found = state.versions.iter().filter(|stored| stored.live && stored.object.name.starts_with(prefix));
            found.map(|stored| stored.object.clone()).collect()
        }))
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<ObservedObject>, BucketError> {
        self.check("list", prefix)?;
        Ok(self.with(|state| {
            let found = state.versions.iter().filter(|stored| stored.object.name.starts_with(prefix));
            found.map(|stored| stored.object.clone()).collect()
        }))
    }
}
