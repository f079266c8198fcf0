//! The registry's memory and its rules: which executor is sent what, and when.
//!
//! Pure in that it waits for nothing and does no I/O of its own: commands go into mailboxes. [`super::registry`] holds
//! the lock around it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use contract::feed::{Hello, Refused};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::delta::{Delta, SourceMissing};
use super::executor::{Executor, Link, Past, Step};
use super::registry::{Command, ConnectError, Connection, EXECUTORS_MAX, ExecutorRefusal, Votes};
use crate::releases::Release;

/// Releases an executor may be behind and still be sent only what changed.
const PAST_MAX: usize = 20;
/// Commands that may wait for one executor: two per release.
const MAILBOX_MAX: usize = 64;
/// See the module.
#[derive(Debug, Default)]
pub(super) struct State {
    /// `None` until the pointer was read: then nobody is told anything.
    current: Option<Arc<Release>>,
    past: VecDeque<Past>,
    offer: Option<Offer>,
    /// A rolling activation replaces the executors: those on older releases are left alone.
    pub(super) held: bool,
    pub(super) closed: bool,
    serial: u64,
    pub(super) executors: BTreeMap<String, Executor>,
}

#[derive(Debug)]
struct Offer {
    release: Arc<Release>,
    voters: BTreeSet<String>,
    refusal: Option<ExecutorRefusal>,
}

impl State {
    pub(super) fn connect(&mut self, hello: &Hello) -> Result<Connection, ConnectError> {
        if self.closed {
            return Err(ConnectError::Closed);
        }
        if self.executors.len() >= EXECUTORS_MAX && !self.executors.contains_key(&hello.executor) {
            return Err(ConnectError::Full);
        }
        self.serial += 1;
        let (mailbox, commands) = mpsc::channel(MAILBOX_MAX);
        let closed = CancellationToken::new();
        let connection = Connection { serial: self.serial, commands, closed: closed.clone() };
        let executor = Executor {
            id: hello.executor.clone(),
            node: hello.node.clone(),
            program: hello.program.clone(),
            link: Some(Link { serial: self.serial, mailbox, closed }),
            since: Instant::now(),
            active: hello.active,
            active_digest: hello.active_digest.clone(),
            expected: 0,
            step: Step::Idle,
        };
        if let Some(mut before) = self.executors.insert(hello.executor.clone(), executor) {
            before.lose();
        }
        self.settle(&hello.executor);
        Ok(connection)
    }

    pub(super) fn prepared(&mut self, id: &str, release: u64) {
        let Some(executor) = self.executors.get_mut(id) else { return };
        if matches!(executor.step, Step::Sent { release: sent, .. } if sent == release) {
            executor.step = Step::Prepared { release };
            self.settle(id);
        }
    }

    pub(super) fn activated(&mut self, id: &str, release: u64) {
        let digest = self.digest_of(release);
        let Some(executor) = self.executors.get_mut(id) else { return };
        if release >= executor.active {
            executor.active = release;
            executor.active_digest = digest.unwrap_or_default();
        }
        if matches!(executor.step, Step::Told { release: told, .. } if told == release) {
            executor.step = Step::Idle;
        }
        self.settle(id);
    }

    pub(super) fn votes(&self) -> Votes {
        let Some(offer) = &self.offer else { return Votes::Ready };
        if let Some(refusal) = &offer.refusal {
            return Votes::Refused(refusal.clone());
        }
        let number = offer.release.number();
        let silent = |id: &&String| {
            let executor = self.executors.get(*id);
            executor.is_some_and(|known| matches!(known.step, Step::Sent { release, .. } if release == number))
        };
        match offer.voters.iter().filter(silent).count() {
            0 => Votes::Ready,
            waiting => Votes::Waiting(waiting),
        }
    }

    pub(super) fn abandon(&mut self, number: u64) {
        self.offer = self.offer.take().filter(|offer| offer.release.number() != number);
        for executor in self.executors.values_mut() {
            if executor.step.release() == Some(number) {
                executor.step = Step::Idle;
                executor.send(Command::Abandon(number));
            }
        }
        self.settle_all();
    }

    pub(super) fn commit(&mut self, release: &Arc<Release>, held: bool) {
        self.offer = None;
        self.held = held;
        self.past.push_back(Past {
            number: release.number(),
            digest: release.statement.digest.clone(),
            scripts: release.scripts().clone(),
        });
        if self.past.len() > PAST_MAX {
            self.past.pop_front();
        }
        self.current = Some(Arc::clone(release));
        self.settle_all();
    }

    fn digest_of(&self, number: u64) -> Option<String> {
        self.past.iter().rev().find(|past| past.number == number).map(|past| past.digest.clone())
    }

    /// Whether an executor runs something newer than the current release, or another content under its number.
    pub(super) fn is_ahead(&self, id: &str) -> bool {
        let (Some(current), Some(executor)) = (&self.current, self.executors.get(id)) else { return false };
        let digest = &current.statement.digest;
        // Without scripts there is nothing that could be brought forward. The executor may come from a life that the
        // bucket forgot; what it runs goes on until there are scripts again.
        !current.scripts().is_empty()
            && (executor.active > current.number()
                || executor.active == current.number() && executor.active_digest != *digest)
    }

    pub(super) fn settle_all(&mut self) {
        let ids: Vec<String> = self.executors.keys().cloned().collect();
        ids.iter().for_each(|id| self.settle(id));
    }

    /// The next step of one executor towards the current release, if it is its turn.
    fn settle(&mut self, id: &str) {
        let Some(current) = self.current.clone() else { return };
        let (number, digest) = (current.number(), &current.statement.digest);
        let offered = self.offer.as_ref().map(|offer| offer.release.number());
        let Some(executor) = self.executors.get_mut(id) else { return };
        let idle = executor.link.is_none() || executor.follows(number, digest) || executor.active > number;
        if number == 0 || self.held || idle {
            return;
        }
        match &executor.step {
            // INVARIANT: once a newer release was sent, an older one is not activated any more. The executor may have
            // prepared the newer one relative to what it ran then.
            step if offered.is_some() && step.release() == offered => {}
            Step::Prepared { release } if *release == number => {
                if executor.send(Command::Activate(number)) {
                    executor.expected = number;
                    executor.step = Step::Told { release: number, at: Instant::now() };
                }
            }
            step if step.release() == Some(number) => {}
            _ => self.send(id, &current, &mut BTreeMap::new(), false),
        }
    }

    /// Sends a release to one executor: what differs from what it runs if that is known, else the whole.
    fn send(&mut self, id: &str, release: &Arc<Release>, made: &mut BTreeMap<u64, Made>, whole: bool) {
        let Some(executor) = self.executors.get_mut(id) else { return };
        if executor.link.is_none() || executor.active >= release.number() {
            return;
        }
        let base = self.past.iter().rev().find(|past| !whole && executor.is_based_on(past.number, &past.digest));
        let base = base.filter(|past| past.number > 0);
        let made = made
            .entry(base.map_or(0, |past| past.number))
            .or_insert_with(|| Delta::new(release, base.map(|past| (past.number, &past.scripts))).map(Arc::new));
        let number = release.number();
        match made {
            Ok(delta) => {
                let whole = base.is_none();
                if executor.send(Command::Prepare(Arc::clone(delta))) {
                    executor.step = Step::Sent { release: number, at: Instant::now(), whole };
                }
            }
            Err(err) => executor.step = Step::Stuck { release: number, detail: err.to_string() },
        }
    }

    pub(super) fn offer(&mut self, release: &Arc<Release>) {
        let voters = match &self.current {
            Some(current) => self
                .executors
                .values()
                .filter(|executor| executor.link.is_some())
                .filter(|executor| executor.follows(current.number(), &current.statement.digest))
                .map(|executor| executor.id.clone())
                .collect(),
            None => BTreeSet::new(),
        };
        self.offer = Some(Offer { release: Arc::clone(release), voters, refusal: None });
        let ids: Vec<String> = self.executors.keys().cloned().collect();
        let mut made = BTreeMap::new();
        for id in &ids {
            self.send(id, release, &mut made, false);
        }
    }

    pub(super) fn refuse(&mut self, id: &str, refused: Refused) {
        let Some(executor) = self.executors.get_mut(id) else { return };
        let Step::Sent { release, whole, .. } = executor.step else { return };
        if release != refused.release {
            return;
        }
        let offered = self.offer.as_ref().map(|offer| &offer.release).filter(|offered| offered.number() == release);
        let current = self.current.as_ref().filter(|current| current.number() == release);
        if refused.code == "unknown_base" && !whole {
            if let Some(release) = offered.or(current).cloned() {
                self.send(id, &release, &mut BTreeMap::new(), true);
            }
            return;
        }
        let detail = format!("{}: {}", refused.code, refused.detail);
        tracing::warn!(executor = id, node = executor.node, release, detail, "an executor refused a release");
        executor.step = Step::Refused { release, detail };
        let node = executor.node.clone();
        if let Some(offer) = self.offer.as_mut().filter(|offer| offer.release.number() == release)
            && offer.voters.contains(id)
            && offer.refusal.is_none()
        {
            offer.refusal = Some(ExecutorRefusal { executor: id.to_owned(), node, refused });
        }
    }
}

/// A delta that was made for one base, for all executors on it.
type Made = Result<Arc<Delta>, SourceMissing>;
