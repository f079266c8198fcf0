//! Where the engine keeps what it knows: objects that are only ever written on condition of what was read.

mod journal;
mod lease;
#[cfg(test)]
pub(crate) mod memory;
mod state;

pub use journal::{Entry, Journal, Phase};
pub use lease::{Held, Lease, LeaseError};
pub use state::{State, StateError, Versioned};

/// The contents of an object and the number of the write that they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Changes with every write.
    pub generation: i64,
    /// The contents.
    pub bytes: Vec<u8>,
}

/// A bucket, as far as the engine needs one.
pub trait Store: Send + Sync + 'static {
    /// The object as it is now.
    fn get(&self, object: &str) -> impl Future<Output = Result<Option<Object>, StoreError>> + Send;

    /// Writes it if its generation is still this one (0: if it is not there), and tells the new generation.
    fn put(
        &self,
        object: &str,
        bytes: Vec<u8>,
        generation: i64,
    ) -> impl Future<Output = Result<i64, StoreError>> + Send;

    /// The objects whose names begin like this, with their generations, sorted by name.
    fn list(&self, prefix: &str) -> impl Future<Output = Result<Vec<(String, i64)>, StoreError>> + Send;

    /// Deletes it if its generation is still this one. What is gone already is no error.
    fn delete(&self, object: &str, generation: i64) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A write or read of the store that failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Somebody else wrote in between.
    #[error("`{0}` was written by somebody else in the meantime: nothing of it was overwritten, run the command again")]
    Conflict(String),
    /// Anything else.
    #[error("{operation} `{object}`: {reason}")]
    Failed {
        /// `read`, `write`.
        operation: &'static str,
        /// Which object.
        object: String,
        /// In the store's words.
        reason: String,
    },
}
