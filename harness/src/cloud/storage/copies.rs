//! Objects made from objects: rewrite (and copy), compose, move. Part of the pure state machine of [`super::state`].

use std::sync::Arc;
use std::time::SystemTime;

use bytes::BytesMut;

use super::error::StorageError;
use super::object::{Checksums, Object, ObjectFields, ObjectReference, Preconditions};
use super::state::{NewObject, State};

/// Google's bound on what one compose takes.
const SOURCES_MAX: usize = 32;

/// What is copied, and on which conditions.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) reference: ObjectReference,
    pub(super) preconditions: Preconditions,
}

/// Where a copy goes, and on which conditions.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    pub(super) bucket: String,
    pub(super) name: String,
    /// `None` keeps those of the source.
    pub(super) fields: Option<ObjectFields>,
    pub(super) preconditions: Preconditions,
}

impl State {
    pub(super) fn rewrite(
        &mut self,
        source: &Source,
        destination: Destination,
        now: SystemTime,
    ) -> Result<Arc<Object>, StorageError> {
        let from = self.find_to_write(&source.reference, source.preconditions)?;
        let new = NewObject {
            bucket: destination.bucket,
            name: destination.name,
            fields: destination.fields.unwrap_or_else(|| from.fields.clone()),
            data: from.data.clone(),
            checksums: Checksums::default(),
            component_count: from.component_count,
        };
        self.put(new, destination.preconditions, now)
    }

    /// Joins the bytes of objects of one bucket, in order.
    pub(super) fn compose(
        &mut self,
        sources: &[Source],
        destination: Destination,
        now: SystemTime,
    ) -> Result<Arc<Object>, StorageError> {
        if sources.is_empty() || sources.len() > SOURCES_MAX {
            let count = sources.len();
            let message = format!("The number of source components provided ({count}) must be 1 to {SOURCES_MAX}.");
            return Err(StorageError::invalid(message));
        }
        let mut data = BytesMut::new();
        let mut components = 0;
        for source in sources {
            let object = self.find_to_write(&source.reference, source.preconditions)?;
            data.extend_from_slice(&object.data);
            components += object.component_count.unwrap_or(1);
        }
        let new = NewObject {
            bucket: destination.bucket,
            name: destination.name,
            fields: destination.fields.unwrap_or_default(),
            data: data.freeze(),
            checksums: Checksums::default(),
            component_count: Some(components),
        };
        self.put(new, destination.preconditions, now)
    }

    /// Renames an object within its bucket, in one step: nobody sees both names or none.
    pub(super) fn rename(
        &mut self,
        source: &Source,
        destination: Destination,
        now: SystemTime,
    ) -> Result<Arc<Object>, StorageError> {
        if source.reference.name == destination.name {
            return Err(StorageError::invalid("Source and destination object names must be different."));
        }
        let moved = self.rewrite(source, destination, now)?;
        self.delete(&source.reference, Preconditions::default(), now)?;
        Ok(moved)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW, names, put, state_with_bucket};
    use super::*;

    fn source(name: &str) -> Source {
        let reference = ObjectReference { bucket: "scripts".into(), name: name.into(), generation: None };
        Source { reference, preconditions: Preconditions::default() }
    }

    fn to(name: &str, generation_match: Option<i64>) -> Destination {
        let preconditions = Preconditions { generation_match, ..Preconditions::default() };
        Destination { bucket: "scripts".into(), name: name.into(), fields: None, preconditions }
    }

    #[test]
    fn rewrite_needs_both_conditions() {
        let mut state = state_with_bucket(true);
        let staged = put(&mut state, "staging/a", "1");
        put(&mut state, "live/a", "0");

        let conflict = state.rewrite(&source("staging/a"), to("live/a", Some(0)), NOW).unwrap_err();
        let mut old = source("staging/a");
        old.preconditions.generation_match = Some(staged.generation - 1);
        let stale = state.rewrite(&old, to("live/b", None), NOW).unwrap_err();
        let missing = state.rewrite(&source("staging/b"), to("live/b", None), NOW).unwrap_err();

        assert_eq!(conflict, StorageError::PreconditionFailed);
        assert_eq!(stale, StorageError::PreconditionFailed);
        assert!(matches!(missing, StorageError::NoSuchObject { .. }));
        assert_eq!(names(&state), ["live/a", "staging/a"]);
    }

    #[test]
    fn compose_joins_bytes_and_counts_components() {
        let mut state = state_with_bucket(true);
        put(&mut state, "a", "one ");
        put(&mut state, "b", "two ");

        let both = state.compose(&[source("a"), source("b")], to("c", Some(0)), NOW).unwrap();
        let three = state.compose(&[source("c"), source("a")], to("d", None), NOW).unwrap();

        assert_eq!(both.data, "one two ");
        assert_eq!((both.md5, both.component_count), (None, Some(2)));
        assert_eq!((three.data.as_ref(), three.component_count), (&b"one two one "[..], Some(3)));
        assert!(state.compose(&[], to("e", None), NOW).is_err());
    }

    #[test]
    fn a_move_that_is_refused_leaves_the_source() {
        let mut state = state_with_bucket(true);
        put(&mut state, "a", "1");
        put(&mut state, "b", "2");

        let refused = state.rename(&source("a"), to("b", Some(0)), NOW).unwrap_err();
        assert_eq!(refused, StorageError::PreconditionFailed);
        assert_eq!(names(&state), ["a", "b"]);

        state.rename(&source("a"), to("c", Some(0)), NOW).unwrap();
        assert_eq!(names(&state), ["b", "c"]);
    }
}
