//! What a run found, as JSON; [`super::tables`] shows it to people.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::comparison::Comparison;
use super::inside::Cost;
use super::lengths::Lengths;
use super::machine::Machine;
use super::neighbour::Neighbour;
use super::oversubscription::Oversubscription;
use super::swaps::Swaps;
use super::tables;
use super::tenants::Crowd;

/// The report of one run. Parts that were not asked for are absent or empty.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// When it began, seconds since the Unix epoch.
    pub began: u64,
    /// The commit that was measured.
    pub revision: String,
    /// What it was measured on.
    pub machine: Machine,
    /// Rounds of each comparison.
    pub rounds: usize,
    /// Length of one measurement, seconds.
    pub seconds: f64,
    /// The whole run without builds, seconds.
    pub total_seconds: f64,
    /// Parts that broke off, each with the reason.
    pub failures: Vec<String>,
    /// The same rule on other servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// The sandbox without HTTP.
    pub inside: Vec<Cost>,
    /// Many tenants that nobody calls.
    pub tenants: Vec<Crowd>,
    /// A tenant beside one that takes all it can.
    pub neighbour: Vec<Neighbour>,
    /// New versions, many times a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swaps: Option<Swaps>,
    /// More work than cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oversubscription: Option<Oversubscription>,
}

impl Report {
    pub(super) fn new(machine: Machine, revision: String, lengths: Lengths) -> Self {
        Self {
            began: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            revision,
            machine,
            rounds: lengths.rounds,
            seconds: lengths.seconds,
            total_seconds: 0.0,
            failures: Vec::new(),
            comparison: None,
            inside: Vec::new(),
            tenants: Vec::new(),
            neighbour: Vec::new(),
            swaps: None,
            oversubscription: None,
        }
    }

    /// The report for people.
    pub fn tables(&self) -> String {
        tables::of(self)
    }
}
