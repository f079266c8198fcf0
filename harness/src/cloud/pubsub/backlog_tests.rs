//! What a subscription promises: at least once, leases, order of keys, bounds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backlog::{Backlog, Limits, MESSAGES_MAX};
use super::config::Policy;
use crate::cloud::generated::pubsub::PubsubMessage;

const SECOND: Duration = Duration::from_secs(1);

fn policy() -> Policy {
    Policy { ack_deadline: 10 * SECOND, retention: 600 * SECOND, ordering: false, max_attempts: None, backoff: None }
}

/// A backlog with its clock.
struct Bench {
    backlog: Backlog,
    policy: Policy,
    leases: u64,
    now: Instant,
}

impl Bench {
    fn new(policy: Policy, messages: &[(&str, &str)]) -> Self {
        let mut bench = Self { backlog: Backlog::default(), policy, leases: 0, now: Instant::now() };
        for (sequence, (data, key)) in (1..).zip(messages) {
            let message =
                PubsubMessage { data: data.as_bytes().to_vec(), ordering_key: (*key).into(), ..Default::default() };
            bench.backlog.add(sequence, Arc::new(message), bench.now);
        }
        bench
    }

    /// Takes what there is, as `data lease attempt`.
    fn take(&mut self, puller: u64, messages: usize) -> Vec<String> {
        self.backlog.settle(&self.policy, self.now);
        let limits = Limits { messages, bytes: usize::MAX, batch: 100, lease: self.policy.ack_deadline };
        let taken = self.backlog.take(puller, limits, &self.policy, &mut self.leases, self.now);
        let told = taken.iter().map(|delivery| {
            let data = String::from_utf8_lossy(&delivery.message.data).into_owned();
            format!("{data} lease {} attempt {}", delivery.lease, delivery.attempt)
        });
        told.collect()
    }

    fn nack(&mut self, lease: u64) -> bool {
        self.backlog.modify(lease, Duration::ZERO, &self.policy, self.now).is_some()
    }
}

#[test]
fn an_acknowledged_message_never_comes_again() {
    let mut bench = Bench::new(policy(), &[("a", "")]);
    assert_eq!(bench.take(1, 10), ["a lease 1 attempt 1"]);

    bench.backlog.acknowledge(1);
    bench.backlog.acknowledge(1);
    bench.now += 100 * SECOND;

    assert_eq!(bench.take(1, 10), Vec::<String>::new());
    assert_eq!(bench.backlog.stats().acked, 1);
}

#[test]
fn a_message_comes_again_after_nack_or_the_end_of_its_lease() {
    let mut bench = Bench::new(policy(), &[("a", "")]);
    bench.take(1, 10);

    bench.nack(1);
    assert_eq!(bench.take(1, 10), ["a lease 2 attempt 2"]);
    bench.now += 9 * SECOND;
    assert_eq!(bench.take(2, 10), Vec::<String>::new());
    assert_eq!(bench.backlog.next_event(), Some(bench.now + SECOND));
    bench.now += SECOND;

    assert_eq!(bench.take(2, 10), ["a lease 3 attempt 3"]);
    assert_eq!((bench.backlog.stats().nacked, bench.backlog.stats().expired), (1, 1));
}

#[test]
fn an_acknowledgement_after_the_lease_says_nothing() {
    let mut bench = Bench::new(policy(), &[("a", "")]);
    bench.take(1, 10);
    bench.now += 10 * SECOND;
    bench.backlog.settle(&bench.policy, bench.now);

    bench.backlog.acknowledge(1);

    assert_eq!(bench.backlog.stats().acked, 0);
    assert_eq!(bench.take(1, 10), ["a lease 2 attempt 2"]);
}

#[test]
fn an_extended_lease_holds() {
    let mut bench = Bench::new(policy(), &[("a", "")]);
    bench.take(1, 10);

    bench.now += 9 * SECOND;
    bench.backlog.modify(1, 10 * SECOND, &bench.policy, bench.now);
    bench.now += 9 * SECOND;

    assert_eq!(bench.take(2, 10), Vec::<String>::new());
}

#[test]
fn a_puller_holds_no_more_than_it_may() {
    let mut bench = Bench::new(policy(), &[("a", ""), ("b", ""), ("c", "")]);

    assert_eq!(bench.take(1, 2).len(), 2);
    assert_eq!(bench.take(1, 2).len(), 0);
    bench.backlog.acknowledge(1);
    assert_eq!(bench.take(1, 2), ["c lease 3 attempt 1"]);
}

#[test]
fn messages_of_one_key_come_one_by_one_in_order() {
    let ordered = Policy { ordering: true, ..policy() };
    let mut bench = Bench::new(ordered, &[("a1", "a"), ("a2", "a"), ("b1", "b")]);

    assert_eq!(bench.take(1, 10), ["a1 lease 1 attempt 1", "b1 lease 2 attempt 1"]);
    bench.nack(1);
    assert_eq!(bench.take(1, 10), ["a1 lease 3 attempt 2"]);
    bench.backlog.acknowledge(3);

    assert_eq!(bench.take(1, 10), ["a2 lease 4 attempt 1"]);
}

#[test]
fn a_backoff_doubles_and_keeps_the_order_of_its_key() {
    let patient = Policy { ordering: true, backoff: Some((SECOND, 3 * SECOND)), ..policy() };
    let mut bench = Bench::new(patient, &[("a1", "a"), ("a2", "a")]);

    for (lease, wait) in [(1, 1), (2, 2), (3, 3), (4, 3)] {
        assert_eq!(bench.take(1, 10), [format!("a1 lease {lease} attempt {lease}")]);
        bench.nack(lease);
        bench.now += wait * SECOND - Duration::from_millis(1);
        assert_eq!(bench.take(1, 10), Vec::<String>::new(), "after nack {lease}");
        bench.now += Duration::from_millis(1);
    }
}

#[test]
fn a_message_that_fails_too_often_is_a_dead_letter() {
    let strict = Policy { max_attempts: Some(2), ..policy() };
    let mut bench = Bench::new(strict, &[("a", "")]);

    bench.take(1, 10);
    assert!(!bench.nack(1));
    bench.take(1, 10);
    assert!(bench.nack(2));

    assert_eq!(bench.take(1, 10), Vec::<String>::new());
    assert_eq!(bench.backlog.stats().dead_lettered, 1);
}

#[test]
fn old_messages_and_too_many_messages_fall_out_and_are_counted() {
    let mut bench = Bench::new(policy(), &[("a", "")]);
    bench.now += 601 * SECOND;
    assert_eq!(bench.take(1, 10), Vec::<String>::new());
    assert_eq!(bench.backlog.stats().dropped, 1);

    let message = Arc::new(PubsubMessage::default());
    for sequence in 0..=MESSAGES_MAX as u64 {
        bench.backlog.add(sequence, Arc::clone(&message), bench.now);
    }

    assert_eq!((bench.backlog.stats().ready, bench.backlog.stats().dropped), (MESSAGES_MAX, 2));
}
