//! Executions that go on after their caller was sent away with 202: who comes back finds the answer here.
//!
//! Only such executions are known here; one that answers in time never touches this. Answers are kept for
//! [`KEPT_FOR`], and not more than [`KEPT_BYTES_MAX`] of them: the oldest go first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long an answer waits for who asked for it.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// Bytes of answers kept, all together.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Executions under way without a caller. Above it a caller is kept waiting instead of being sent away.
const RUNNING_MAX: usize = 4096;

/// The answer that the caller would have had.
pub(crate) type Kept = Response<Bytes>;

/// Who may come back for an execution, and what is found then.
#[derive(Debug, Default)]
pub(crate) struct Executions {
    // Held for moments only, and by nobody whose execution answers in time.
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    records: HashMap<Uuid, Record>,
    /// Those that have ended, in the order in which they did.
    ended: VecDeque<(Instant, Uuid)>,
    bytes: usize,
}

#[derive(Debug)]
struct Record {
    cancel: CancellationToken,
    answer: watch::Receiver<Option<Arc<Kept>>>,
}

/// The execution's side: it ends the record, with an answer or by being dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    executions: Arc<Executions>,
    id: Uuid,
    answer: watch::Sender<Option<Arc<Kept>>>,
}

/// What is known of an execution.
#[derive(Debug)]
pub(crate) enum Found {
    /// It goes on.
    Running,
    /// This is its answer.
    Ended(Arc<Kept>),
}

impl Executions {
    /// Execution `id` goes on without its caller; `None` if too many do. `cancel` ends it.
    pub(crate) fn begin(self: &Arc<Self>, id: Uuid, cancel: CancellationToken) -> Option<Ticket> {
        let (sender, answer) = watch::channel(None);
        let mut book = self.book();
        book.forget(Instant::now());
        if book.records.len() - book.ended.len() >= RUNNING_MAX {
            return None;
        }
        book.records.insert(id, Record { cancel, answer });
        Some(Ticket { executions: Arc::clone(self), id, answer: sender })
    }

    /// What is known of `id` after at most `patience`; `None` if nothing is.
    pub(crate) async fn find(&self, id: Uuid, patience: Duration) -> Option<Found> {
        let mut answer = {
            let mut book = self.book();
            book.forget(Instant::now());
            book.records.get(&id)?.answer.clone()
        };
        let ended = timeout(patience, answer.wait_for(Option::is_some)).await;
        let found = match ended {
            Ok(Ok(answer)) => (*answer).clone(),
            // Out of patience, or the execution broke off without an answer.
            Ok(Err(_)) => return None,
            Err(_) => None,
        };
        Some(found.map_or(Found::Running, Found::Ended))
    }

    /// Asks execution `id` to end; false if nothing is known of it. One that has ended stays as it is.
    pub(crate) fn cancel(&self, id: Uuid) -> bool {
        let book = self.book();
        book.records.get(&id).inspect(|record| record.cancel.cancel()).is_some()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// The execution has ended with `answer`.
    pub(crate) fn end(self, answer: Kept) {
        let bytes = answer.body().len();
        let mut book = self.executions.book();
        book.ended.push_back((Instant::now(), self.id));
        book.bytes += bytes;
        self.answer.send_replace(Some(Arc::new(answer)));
        book.forget(Instant::now());
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Broken off: nobody will ever answer, so it is as if it had never been.
        if self.answer.borrow().is_none() {
            self.executions.book().records.remove(&self.id);
        }
    }
}

impl Book {
    /// Drops answers that are too old at `now`, or too many.
    fn forget(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.ended.front() {
            if self.bytes <= KEPT_BYTES_MAX && now.saturating_duration_since(at) < KEPT_FOR {
                return;
            }
            self.ended.pop_front();
            let record = self.records.remove(&id);
            let answer = record.and_then(|record| record.answer.borrow().clone());
            self.bytes -= answer.map_or(0, |answer| answer.body().len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    fn begin(executions: &Arc<Executions>, id: Uuid) -> Option<Ticket> {
        executions.begin(id, CancellationToken::new())
    }

    fn answer(body: impl Into<Bytes>) -> Kept {
        Response::new(body.into())
    }

    async fn body(executions: &Executions, id: Uuid) -> Option<Bytes> {
        match executions.find(id, Duration::ZERO).await? {
            Found::Running => None,
            Found::Ended(answer) => Some(answer.body().clone()),
        }
    }

    #[tokio::test]
    async fn who_waits_gets_the_answer_when_it_is_there() {
        let executions = Arc::new(Executions::default());
        let id = Uuid::now_v7();
        let ticket = begin(&executions, id).unwrap();
        assert!(matches!(executions.find(id, Duration::ZERO).await, Some(Found::Running)));

        let (found, ()) = tokio::join!(executions.find(id, SOON), async { ticket.end(answer("7")) });

        assert!(matches!(found, Some(Found::Ended(answer)) if answer.body() == "7"));
        assert_eq!(body(&executions, id).await.unwrap(), "7");
    }

    #[tokio::test]
    async fn an_execution_that_broke_off_is_not_known_any_more() {
        let executions = Arc::new(Executions::default());
        let id = Uuid::now_v7();
        let ticket = begin(&executions, id).unwrap();

        let (found, ()) = tokio::join!(executions.find(id, SOON), async { drop(ticket) });

        assert!(found.is_none());
        assert!(executions.find(id, Duration::ZERO).await.is_none());
        assert!(executions.find(Uuid::now_v7(), SOON).await.is_none());
    }

    #[tokio::test]
    async fn cancelling_reaches_the_execution_and_leaves_an_answer_as_it_is() {
        let executions = Arc::new(Executions::default());
        let id = Uuid::now_v7();
        let cancel = CancellationToken::new();
        let ticket = executions.begin(id, cancel.clone()).unwrap();

        assert!(executions.cancel(id) && cancel.is_cancelled());
        ticket.end(answer("cancelled"));

        assert!(executions.cancel(id) && !executions.cancel(Uuid::now_v7()));
        assert_eq!(body(&executions, id).await.unwrap(), "cancelled");
    }

    #[tokio::test]
    async fn the_oldest_answers_make_room() {
        let executions = Arc::new(Executions::default());
        let ids: Vec<_> = (0..3).map(|_| Uuid::now_v7()).collect();
        for &id in &ids {
            begin(&executions, id).unwrap().end(answer(vec![b'x'; KEPT_BYTES_MAX / 2]));
        }

        assert!(body(&executions, ids[0]).await.is_none());
        assert!(body(&executions, ids[1]).await.is_some() && body(&executions, ids[2]).await.is_some());

        let mut book = executions.book();
        book.forget(Instant::now() + KEPT_FOR);
        assert_eq!((book.records.len(), book.bytes), (0, 0));
    }

    #[test]
    fn there_is_a_bound_on_those_without_a_caller() {
        let executions = Arc::new(Executions::default());
        let mut running: Vec<_> = (0..RUNNING_MAX).filter_map(|_| begin(&executions, Uuid::now_v7())).collect();
        assert_eq!(running.len(), RUNNING_MAX);
        assert!(begin(&executions, Uuid::now_v7()).is_none());

        running.pop().unwrap().end(answer(""));

        assert!(begin(&executions, Uuid::now_v7()).is_some());
    }
}
