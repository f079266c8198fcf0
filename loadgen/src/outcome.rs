//! What a run of the generator found, as its program prints it.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Different answers that are told apart; what comes on top counts as [`Outcome::other_answers`].
const ANSWERS_MAX: usize = 10_000;

/// What a run found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Answers.
    pub requests: u64,
    /// Answers with status 200 and, if one was wanted, the wanted text.
    pub good: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests whose connection broke.
    pub broken: u64,
    /// Requests without an answer when the run was over.
    pub unanswered: u64,
    /// The most requests that were due and not sent, for want of a free connection. Only an open loop has any.
    pub waiting_max: usize,
    /// Of the answers.
    pub latency: Latency,
    /// Answers by the value of the header that was to be noted, and their body.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Noted>,
    /// Answers not in `answers`, because there were too many different ones.
    #[serde(default)]
    pub other_answers: u64,
}

/// So many equal answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Noted {
    /// Value of the header; empty if it was absent.
    pub header: String,
    /// The body.
    pub body: String,
    /// How many.
    pub count: u64,
}

/// Latency in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half took at most this.
    pub p50: f64,
    /// 99 of 100 took at most this.
    pub p99: f64,
    /// 999 of 1000 took at most this.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

/// Counts answers.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) outcome: Outcome,
    nanos: Histogram<u64>,
    noted: BTreeMap<(Vec<u8>, Vec<u8>), u64>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let nanos = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("constant bounds that the crate allows");
        Self { outcome: Outcome::default(), nanos, noted: BTreeMap::new() }
    }

    pub(crate) fn answer(&mut self, nanos: u64, status: u16, good: bool) {
        self.nanos.saturating_record(nanos);
        self.outcome.requests += 1;
        self.outcome.good += u64::from(good);
        *self.outcome.statuses.entry(status).or_default() += 1;
    }

    pub(crate) fn note(&mut self, header: &[u8], body: &[u8]) {
        let key = (header.to_owned(), body.to_owned());
        if self.noted.len() >= ANSWERS_MAX && !self.noted.contains_key(&key) {
            self.outcome.other_answers += 1;
        } else {
            *self.noted.entry(key).or_default() += 1;
        }
    }

    pub(crate) fn finish(mut self, seconds: f64) -> Outcome {
        let micros = |quantile: f64| self.nanos.value_at_quantile(quantile) as f64 / 1000.0;
        self.outcome.latency =
            Latency { p50: micros(0.5), p99: micros(0.99), p999: micros(0.999), max: self.nanos.max() as f64 / 1000.0 };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let noted = self.noted.into_iter();
        self.outcome.answers =
            noted.map(|((header, body), count)| Noted { header: text(header), body: text(body), count }).collect();
        self.outcome.seconds = seconds;
        self.outcome
    }
}
