//! The messages of one subscription: waiting, leased, acknowledged. A pure state machine; time is passed in.
//!
//! A message is leased to one puller until it is acknowledged, given back (nack), or its lease is over; then it comes
//! again, oldest first. Bounds: [`MESSAGES_MAX`] messages and the subscription's retention; what falls out is counted.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::Policy;
use crate::cloud::generated::pubsub::PubsubMessage;

/// Messages that one subscription keeps; the oldest waiting one makes room.
pub(super) const MESSAGES_MAX: usize = 100_000;

/// Who pulls: one stream or one call.
pub(super) type Puller = u64;

/// Bytes in one batch, about: clients read answers of a few megabytes at most.
const BATCH_BYTES_MAX: usize = 2 * 1024 * 1024;

/// What a puller may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Messages that it may hold, those before included.
    pub(super) messages: usize,
    /// Bytes that it may hold, those before included.
    pub(super) bytes: usize,
    /// Messages at once.
    pub(super) batch: usize,
    pub(super) lease: Duration,
}

/// A message on its way to a puller.
#[derive(Debug)]
pub(super) struct Delivery {
    /// Names the lease; grows over the whole cloud.
    pub(super) lease: u64,
    pub(super) message: Arc<PubsubMessage>,
    /// 1 the first time.
    pub(super) attempt: i32,
}

/// A message that was delivered too often.
#[derive(Debug)]
pub(super) struct DeadLetter {
    pub(super) message: Arc<PubsubMessage>,
    pub(super) attempts: i32,
}

/// Counts of a subscription, as [`super::PubSub::stats`] tells them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionStats {
    /// Messages that wait for a puller (those that wait for their backoff too).
    pub ready: usize,
    /// Messages that are leased.
    pub outstanding: usize,
    /// Messages acknowledged since the start.
    pub acked: u64,
    /// Deliveries since the start.
    pub delivered: u64,
    /// Messages given back by a puller.
    pub nacked: u64,
    /// Leases that ran out.
    pub expired: u64,
    /// Messages sent on to the dead letter topic.
    pub dead_lettered: u64,
    /// Messages that fell out of retention or bounds.
    pub dropped: u64,
}

#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// By sequence number: oldest first.
    ready: BTreeMap<u64, Waiting>,
    /// By the time they are ready again.
    delayed: BTreeMap<(Instant, u64), Waiting>,
    leased: HashMap<u64, Lease>,
    /// Ends of leases, earliest first.
    ends: BTreeSet<(Instant, u64)>,
    /// Messages and bytes that a puller holds.
    held: HashMap<Puller, (usize, usize)>,
    /// Ordering keys with a message that is leased or delayed.
    busy: HashSet<String>,
    counts: SubscriptionStats,
}

#[derive(Debug)]
struct Waiting {
    message: Arc<PubsubMessage>,
    published: Instant,
    attempts: i32,
}

#[derive(Debug)]
struct Lease {
    sequence: u64,
    waiting: Waiting,
    end: Instant,
    puller: Puller,
}

impl Backlog {
    pub(super) fn add(&mut self, sequence: u64, message: Arc<PubsubMessage>, now: Instant) {
        if self.ready.len() + self.delayed.len() + self.leased.len() >= MESSAGES_MAX && self.ready.pop_first().is_some()
        {
            self.counts.dropped += 1;
        }
        self.ready.insert(sequence, Waiting { message, published: now, attempts: 0 });
    }

    /// Leases ready messages to a puller, within what it may hold. `next_lease` numbers leases.
    pub(super) fn take(
        &mut self,
        puller: Puller,
        limits: Limits,
        policy: &Policy,
        next_lease: &mut u64,
        now: Instant,
    ) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        let (mut messages, mut bytes) = self.held.get(&puller).copied().unwrap_or_default();
        let most_bytes = limits.bytes.min(bytes.saturating_add(BATCH_BYTES_MAX));
        let mut chosen = Vec::new();
        for (sequence, waiting) in &self.ready {
            // A message above the bound on bytes is delivered alone rather than never.
            let full = messages >= limits.messages || (messages > 0 && bytes >= most_bytes);
            if full || chosen.len() >= limits.batch {
                break;
            }
            let key = &waiting.message.ordering_key;
            if policy.ordering && !key.is_empty() && !self.busy.insert(key.clone()) {
                continue;
            }
            messages += 1;
            bytes += size(&waiting.message);
            chosen.push(*sequence);
        }
        for sequence in chosen {
            let Some(mut waiting) = self.ready.remove(&sequence) else { continue };
            waiting.attempts += 1;
            *next_lease += 1;
            let end = now + limits.lease;
            let delivery =
                Delivery { lease: *next_lease, message: Arc::clone(&waiting.message), attempt: waiting.attempts };
            self.ends.insert((end, *next_lease));
            self.leased.insert(*next_lease, Lease { sequence, waiting, end, puller });
            deliveries.push(delivery);
        }
        if !deliveries.is_empty() {
            self.held.insert(puller, (messages, bytes));
            self.counts.delivered += deliveries.len() as u64;
        }
        deliveries
    }

    /// Acknowledges; a lease that is over already says nothing, and its message comes again.
    pub(super) fn acknowledge(&mut self, lease: u64) {
        if let Some(lease) = self.end_lease(lease) {
            self.busy.remove(&lease.waiting.message.ordering_key);
            self.counts.acked += 1;
        }
    }

    /// Lets a lease end so much later than now; zero gives the message back.
    pub(super) fn modify(
        &mut self,
        lease: u64,
        extension: Duration,
        policy: &Policy,
        now: Instant,
    ) -> Option<DeadLetter> {
        if extension.is_zero() {
            let ended = self.end_lease(lease)?;
            self.counts.nacked += 1;
            return self.give_back(ended, policy, now);
        }
        let held = self.leased.get_mut(&lease)?;
        self.ends.remove(&(held.end, lease));
        held.end = now + extension;
        self.ends.insert((held.end, lease));
        None
    }

    /// Ends what time has ended: leases, backoffs, retention.
    pub(super) fn settle(&mut self, policy: &Policy, now: Instant) -> Vec<DeadLetter> {
        let mut dead = Vec::new();
        while let Some(&(end, lease)) = self.ends.first()
            && end <= now
        {
            let Some(ended) = self.end_lease(lease) else { break };
            self.counts.expired += 1;
            dead.extend(self.give_back(ended, policy, now));
        }
        while let Some(entry) = self.delayed.first_entry()
            && entry.key().0 <= now
        {
            let ((_, sequence), waiting) = entry.remove_entry();
            self.busy.remove(&waiting.message.ordering_key);
            self.ready.insert(sequence, waiting);
        }
        while let Some(entry) = self.ready.first_entry()
            && now.duration_since(entry.get().published) > policy.retention
        {
            entry.remove();
            self.counts.dropped += 1;
        }
        dead
    }

    /// When [`Backlog::settle`] has something to do next.
    pub(super) fn next_event(&self) -> Option<Instant> {
        let lease = self.ends.first().map(|(end, _)| *end);
        let delayed = self.delayed.first_key_value().map(|((at, _), _)| *at);
        lease.into_iter().chain(delayed).min()
    }

    /// Forgets what a puller holds, once it is gone; its leases run on.
    pub(super) fn forget(&mut self, puller: Puller) {
        self.held.remove(&puller);
    }

    pub(super) fn stats(&self) -> SubscriptionStats {
        SubscriptionStats {
            ready: self.ready.len() + self.delayed.len(),
            outstanding: self.leased.len(),
            ..self.counts
        }
    }

    fn end_lease(&mut self, number: u64) -> Option<Lease> {
        let lease = self.leased.remove(&number)?;
        self.ends.remove(&(lease.end, number));
        if let Some((messages, bytes)) = self.held.get_mut(&lease.puller) {
            *messages = messages.saturating_sub(1);
            *bytes = bytes.saturating_sub(size(&lease.waiting.message));
        }
        Some(lease)
    }

    fn give_back(&mut self, lease: Lease, policy: &Policy, now: Instant) -> Option<DeadLetter> {
        let Lease { sequence, waiting, .. } = lease;
        if policy.max_attempts.is_some_and(|max| waiting.attempts >= max) {
            self.busy.remove(&waiting.message.ordering_key);
            self.counts.dead_lettered += 1;
            return Some(DeadLetter { message: waiting.message, attempts: waiting.attempts });
        }
        match policy.backoff {
            Some((least, most)) => {
                let doublings = u32::try_from(waiting.attempts - 1).unwrap_or(0).min(16);
                let wait = least.saturating_mul(1 << doublings).min(most);
                // The key stays busy: later messages of it must not overtake this one.
                self.delayed.insert((now + wait, sequence), waiting);
            }
            None => {
                self.busy.remove(&waiting.message.ordering_key);
                self.ready.insert(sequence, waiting);
            }
        }
        None
    }
}

fn size(message: &PubsubMessage) -> usize {
    let attributes: usize = message.attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
    message.data.len() + attributes
}
