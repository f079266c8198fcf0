//! Resumable uploads: sessions that collect an object's bytes in pieces. Pure; ids are passed in.
//!
//! Protocol: <https://cloud.google.com/storage/docs/performing-resumable-uploads>.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::error::StorageError;
use super::object::{Checksums, Object, ObjectFields, Preconditions};

/// A piece that is not the last is kept in multiples of this.
const QUANTUM: usize = 256 * 1024;

/// Sessions that are kept; the oldest goes first. Far above what tests hold open at once.
const SESSIONS_MAX: usize = 1024;

/// Largest object that the local cloud takes.
pub(super) const OBJECT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The sessions.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    sessions: HashMap<String, Session>,
    order: VecDeque<String>,
}

/// What an upload will become, said at its start.
#[derive(Debug, Clone)]
pub(super) struct UploadPlan {
    pub(super) bucket: String,
    pub(super) name: String,
    pub(super) fields: ObjectFields,
    pub(super) checksums: Checksums,
    pub(super) preconditions: Preconditions,
}

#[derive(Debug)]
enum Session {
    Open { plan: Box<UploadPlan>, received: BytesMut },
    Done(Arc<Object>),
}

/// Where a piece belongs: a parsed `Content-Range`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// First byte; `None` = the request carries no bytes.
    pub(super) first: Option<u64>,
    /// Size of the whole object, once it is known.
    pub(super) total: Option<u64>,
}

/// How far a session is.
#[derive(Debug)]
pub(super) enum Progress {
    /// So many bytes are kept; more must come.
    Open {
        /// Bytes kept.
        received: usize,
    },
    /// All bytes are here and wait to become the object.
    Complete(Box<UploadPlan>, Bytes),
    /// The object exists.
    Done(Arc<Object>),
}

impl Piece {
    /// Reads `bytes A-B/TOTAL`, `bytes A-*/*`, `bytes */TOTAL` or `bytes */*`.
    pub(super) fn parse(header: &str) -> Result<Self, StorageError> {
        let read = || {
            let (range, total) = header.strip_prefix("bytes ")?.split_once('/')?;
            let total = if total == "*" { None } else { Some(total.parse().ok()?) };
            let first = if range == "*" { None } else { Some(range.split_once('-')?.0.parse().ok()?) };
            Some(Self { first, total })
        };
        read().ok_or_else(|| StorageError::invalid(format!("Invalid Content-Range: {header}")))
    }

    /// All bytes in one request.
    pub(super) fn whole(bytes: usize) -> Self {
        Self { first: Some(0), total: Some(bytes as u64) }
    }
}

impl Uploads {
    pub(super) fn start(&mut self, id: String, plan: UploadPlan) {
        if self.order.len() >= SESSIONS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.sessions.remove(&oldest);
        }
        self.order.push_back(id.clone());
        self.sessions.insert(id, Session::Open { plan: Box::new(plan), received: BytesMut::new() });
    }

    /// Takes a piece (or a question for the progress, which is a piece without bytes).
    pub(super) fn receive(&mut self, id: &str, piece: Piece, bytes: &[u8]) -> Result<Progress, StorageError> {
        let session = self.sessions.get_mut(id).ok_or_else(|| StorageError::NoSuchUpload { id: id.to_owned() })?;
        let (plan, received) = match session {
            Session::Done(object) => return Ok(Progress::Done(Arc::clone(object))),
            Session::Open { plan, received } => (plan, received),
        };
        let offset = match piece.first {
            Some(first) => usize::try_from(first).unwrap_or(usize::MAX),
            None => received.len(),
        };
        let known = received.len().checked_sub(offset).ok_or_else(|| {
            let have = received.len();
            StorageError::invalid(format!(
                "Invalid request. According to the Content-Range header, the upload offset is {offset} byte(s), which exceeds already uploaded size of {have} byte(s)."
            ))
        })?;
        // What was kept before an interruption may come again.
        let new = bytes.get(known..).unwrap_or_default();
        if received.len() + new.len() > OBJECT_BYTES_MAX {
            return Err(StorageError::TooLarge { max: OBJECT_BYTES_MAX });
        }
        let after = (received.len() + new.len()) as u64;
        if piece.total.is_some_and(|total| after > total) {
            return Err(StorageError::invalid("The upload has more bytes than its Content-Range says"));
        }
        if piece.total == Some(after) {
            received.extend_from_slice(new);
            return Ok(Progress::Complete(plan.clone(), Bytes::copy_from_slice(received)));
        }
        let together = received.len() + new.len();
        let kept = (together - together % QUANTUM).saturating_sub(received.len());
        received.extend_from_slice(new.get(..kept).unwrap_or_default());
        Ok(Progress::Open { received: received.len() })
    }

    /// Remembers the object, so that a repeated last piece is answered with it.
    pub(super) fn finish(&mut self, id: &str, object: Arc<Object>) {
        if let Some(session) = self.sessions.get_mut(id) {
            *session = Session::Done(object);
        }
    }

    pub(super) fn cancel(&mut self, id: &str) -> Result<(), StorageError> {
        let missing = StorageError::NoSuchUpload { id: id.to_owned() };
        self.sessions.remove(id).ok_or(missing)?;
        self.order.retain(|kept| kept != id);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started() -> Uploads {
        let mut uploads = Uploads::default();
        let plan = UploadPlan {
            bucket: "scripts".into(),
            name: "a".into(),
            fields: ObjectFields::default(),
            checksums: Checksums::default(),
            preconditions: Preconditions::default(),
        };
        uploads.start("1".into(), plan);
        uploads
    }

    fn send(uploads: &mut Uploads, range: &str, bytes: &[u8]) -> String {
        match uploads.receive("1", Piece::parse(range).unwrap(), bytes) {
            Ok(Progress::Open { received }) => format!("open {received}"),
            Ok(Progress::Complete(_, bytes)) => format!("complete {}", bytes.len()),
            Ok(Progress::Done(object)) => format!("done {}", object.generation),
            Err(error) => format!("refused {}", error.http_status()),
        }
    }

    #[test]
    fn pieces_are_kept_in_whole_quanta_until_the_last() {
        let mut uploads = started();
        let bytes = vec![7; QUANTUM + 10];

        assert_eq!(send(&mut uploads, "bytes */*", b""), "open 0");
        assert_eq!(send(&mut uploads, "bytes 0-262153/*", &bytes), format!("open {QUANTUM}"));
        assert_eq!(send(&mut uploads, "bytes */*", b""), format!("open {QUANTUM}"));
        assert_eq!(send(&mut uploads, "bytes 262144-262153/262154", &bytes[QUANTUM..]), "complete 262154");
    }

    #[test]
    fn bytes_that_were_kept_before_may_come_again() {
        let mut uploads = started();
        let bytes = vec![7; QUANTUM + 10];
        send(&mut uploads, "bytes 0-262153/262155", &bytes);

        assert_eq!(send(&mut uploads, "bytes 0-262153/262154", &bytes), "complete 262154");
    }

    #[test]
    fn a_gap_or_too_many_bytes_are_refused() {
        let mut uploads = started();

        assert_eq!(send(&mut uploads, "bytes 5-9/10", b"56789"), "refused 400");
        assert_eq!(send(&mut uploads, "bytes 0-4/3", b"01234"), "refused 400");
        assert_eq!(send(&mut uploads, "bytes */0", b""), "complete 0");
    }

    #[test]
    fn a_cancelled_upload_is_not_found() {
        let mut uploads = started();

        uploads.cancel("1").unwrap();

        assert_eq!(send(&mut uploads, "bytes */*", b""), "refused 404");
        assert!(uploads.cancel("1").is_err());
    }

    #[test]
    fn the_oldest_session_makes_room() {
        let mut uploads = started();
        let plan = match uploads.receive("1", Piece::whole(0), b"") {
            Ok(Progress::Complete(plan, _)) => plan,
            other => panic!("{other:?}"),
        };

        for id in 0..SESSIONS_MAX {
            uploads.start(format!("later {id}"), UploadPlan::clone(&plan));
        }

        assert_eq!(send(&mut uploads, "bytes */*", b""), "refused 404");
        assert_eq!(uploads.sessions.len(), SESSIONS_MAX);
    }
}
