//! Messages that were dealt with lately, so that one which comes twice is dealt with once. Knows no clock.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// How a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It is done with, and acknowledged.
    Done,
    /// It is given back, and will come again.
    Returned,
}

/// Where a message stands.
#[derive(Debug)]
pub(super) enum Known {
    /// It is new, and it is begun now. The sender tells the others how it ended.
    New(watch::Sender<Option<End>>),
    /// It is being dealt with; this tells how it ends. The sender is dropped without a word if that broke down.
    Running(watch::Receiver<Option<End>>),
    /// It is done with.
    Done,
}

/// Ids of messages: all that are running, and those that were done with lately.
#[derive(Debug)]
pub(super) struct Recent {
    ids_max: usize,
    keep: Duration,
    /// `None` = done with.
    entries: HashMap<String, Option<watch::Receiver<Option<End>>>>,
    /// What is done with, the oldest first.
    done: VecDeque<(Instant, String)>,
}

impl Recent {
    /// Remembers `ids_max` messages that are done with, for `keep`.
    pub(super) fn new(ids_max: usize, keep: Duration) -> Self {
        Self { ids_max, keep, entries: HashMap::new(), done: VecDeque::new() }
    }

    /// Looks a message up, and begins it if it is new. One that was begun must be ended.
    pub(super) fn begin(&mut self, id: &str, now: Instant) -> Known {
        self.forget(now);
        match self.entries.get(id) {
            Some(None) => Known::Done,
            Some(Some(running)) => Known::Running(running.clone()),
            None => {
                let (sender, receiver) = watch::channel(None);
                self.entries.insert(id.to_owned(), Some(receiver));
                Known::New(sender)
            }
        }
    }

    /// Ends a message that was begun; only what is done with is remembered.
    pub(super) fn end(&mut self, id: &str, end: End, now: Instant) {
        match end {
            End::Returned => drop(self.entries.remove(id)),
            End::Done => {
                self.entries.insert(id.to_owned(), None);
                self.done.push_back((now, id.to_owned()));
                self.forget(now);
            }
        }
    }

    fn forget(&mut self, now: Instant) {
        while let Some((since, _)) = self.done.front() {
            if self.done.len() <= self.ids_max && now.saturating_duration_since(*since) < self.keep {
                return;
            }
            if let Some((_, id)) = self.done.pop_front() {
                self.entries.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Duration = Duration::from_secs(600);

    fn run(recent: &mut Recent, id: &str, end: End, now: Instant) {
        assert!(matches!(recent.begin(id, now), Known::New(_)), "{id} is not new");
        recent.end(id, end, now);
    }

    #[test]
    fn a_message_that_is_done_is_known_until_its_time_is_over() {
        let (mut recent, now) = (Recent::new(10, KEEP), Instant::now());
        run(&mut recent, "a", End::Done, now);

        assert!(matches!(recent.begin("a", now + KEEP - Duration::from_millis(1)), Known::Done));
        assert!(matches!(recent.begin("a", now + KEEP), Known::New(_)));
    }

    #[test]
    fn a_message_that_was_given_back_is_new_again() {
        let (mut recent, now) = (Recent::new(10, KEEP), Instant::now());
        run(&mut recent, "a", End::Returned, now);

        run(&mut recent, "a", End::Done, now);
    }

    #[test]
    fn a_message_that_runs_is_not_begun_again_and_never_forgotten() {
        let (mut recent, now) = (Recent::new(2, KEEP), Instant::now());
        let Known::New(first) = recent.begin("a", now) else { panic!("it is new") };
        for id in ["b", "c", "d"] {
            run(&mut recent, id, End::Done, now);
        }

        let Known::Running(copy) = recent.begin("a", now + 2 * KEEP) else { panic!("it runs") };
        first.send(Some(End::Done)).unwrap();
        assert_eq!(*copy.borrow(), Some(End::Done));
    }

    #[test]
    fn the_oldest_are_forgotten_above_the_bound() {
        let (mut recent, now) = (Recent::new(2, KEEP), Instant::now());
        for id in ["a", "b", "c"] {
            run(&mut recent, id, End::Done, now);
        }

        assert!(matches!(recent.begin("c", now), Known::Done));
        assert!(matches!(recent.begin("b", now), Known::Done));
        assert!(matches!(recent.begin("a", now), Known::New(_)));
        assert_eq!(recent.entries.len(), 3);
    }
}
