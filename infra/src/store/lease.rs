//! One run at a time: a lease that is renewed while the run lives.
//!
//! A lease is a courtesy, not what keeps the state right: every write of the state depends on the one before. So it can
//! be taken from a holder that is gone, and even from one that is not: whose it was fails at its next write.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Store, StoreError};

const OBJECT: &str = "lease.json";
/// A lease that was not renewed for so long is free.
const TTL: Duration = Duration::from_secs(60);
const RENEWED_EVERY: Duration = Duration::from_secs(10);

/// Who has the lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// A person and a machine.
    pub holder: String,
    /// What for.
    pub message: String,
    /// By the holder's clock.
    pub renewed: Timestamp,
}

/// A lease that was not given.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody has it.
    #[error("locked by {} ({}), last heard of at {}. Wait, or take it over with `--steal`: the other run stops at its next write", .0.holder, .0.message, .0.renewed)]
    Held(Held),
    /// It can't be told.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The lease, until it is released. A holder that is dropped leaves it to run out.
#[derive(Debug)]
pub struct Lease {
    /// Somebody else has it now: no step may be begun any more.
    pub lost: CancellationToken,
    generation: watch::Receiver<i64>,
    renewal: JoinHandle<()>,
}

impl Lease {
    /// Takes the lease, if nobody has it, or who has it was silent for a minute, or `steal`.
    ///
    /// # Errors
    /// [`LeaseError`]
    pub async fn take<S: Store>(
        store: &Arc<S>,
        holder: &str,
        message: &str,
        steal: bool,
        now: Timestamp,
    ) -> Result<Self, LeaseError> {
        let mut generation = 0;
        if let Some(found) = store.get(OBJECT).await? {
            generation = found.generation;
            if let Ok(held) = serde_json::from_slice::<Held>(&found.bytes) {
                let silent = now.duration_since(held.renewed).as_secs();
                if !steal && silent < TTL.as_secs().cast_signed() {
                    return Err(LeaseError::Held(held));
                }
            }
        }
        let held = Held { holder: holder.to_owned(), message: message.to_owned(), renewed: now };
        let generation = store.put(OBJECT, bytes(&held), generation).await?;
        let lost = CancellationToken::new();
        let (sender, receiver) = watch::channel(generation);
        let renewal = tokio::spawn(renew(Arc::clone(store), held, sender, lost.clone()));
        Ok(Self { lost, generation: receiver, renewal })
    }

    /// Gives it back.
    pub async fn release<S: Store>(self, store: &S) {
        self.renewal.abort();
        let _ = (&mut { self.renewal }).await;
        let generation = *self.generation.borrow();
        // If that fails it runs out by itself, or is somebody else's already.
        let _ = store.delete(OBJECT, generation).await;
    }
}

async fn renew<S: Store>(store: Arc<S>, mut held: Held, generation: watch::Sender<i64>, lost: CancellationToken) {
    let mut last = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(RENEWED_EVERY).await;
        held.renewed = Timestamp::now();
        let current = *generation.borrow();
        match tokio::time::timeout(RENEWED_EVERY, store.put(OBJECT, bytes(&held), current)).await {
            Ok(Ok(renewed)) => {
                last = tokio::time::Instant::now();
                generation.send_replace(renewed);
            }
            Ok(Err(StoreError::Conflict(_))) => return lost.cancel(),
            _ if last.elapsed() > TTL / 2 => return lost.cancel(),
            _ => {}
        }
    }
}

fn bytes(held: &Held) -> Vec<u8> {
    serde_json::to_vec(held).unwrap_or_default()
}
