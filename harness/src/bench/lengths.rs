//! How long a run measures, and what that adds up to. Pure.

use std::time::Duration;

/// How long and how often things are measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Lengths {
    /// Rounds; within each, all that is compared is measured once.
    pub rounds: usize,
    /// One measurement, seconds.
    pub seconds: f64,
    /// Numbers of tenants.
    pub tenants: Vec<usize>,
    /// Requests on an oversubscribed machine.
    pub requests: u64,
    /// Batches of each figure inside the process.
    pub batches: usize,
}

/// One part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The same rule on other servers.
    Peers,
    /// The sandbox without HTTP.
    Inside,
    /// Many tenants that nobody calls.
    Tenants,
    /// A tenant beside one that takes all it can.
    Neighbour,
    /// New versions, many times a second.
    Swaps,
    /// More work than cores.
    Oversubscription,
}

impl Part {
    /// All, in the order in which they run.
    pub const ALL: [Self; 6] =
        [Self::Peers, Self::Inside, Self::Tenants, Self::Neighbour, Self::Swaps, Self::Oversubscription];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Peers => "peers",
            Self::Inside => "inside",
            Self::Tenants => "tenants",
            Self::Neighbour => "neighbour",
            Self::Swaps => "swaps",
            Self::Oversubscription => "oversubscription",
        }
    }

    /// About how long it takes on two cores, builds not counted.
    pub fn estimate(self, lengths: &Lengths) -> Duration {
        let Lengths { rounds, seconds, tenants, requests, batches } = lengths;
        let measured = *rounds as f64 * seconds;
        let seconds = match self {
            // Five servers: two numbers of connections, and an open loop.
            Self::Peers => 15.0 + measured * 5.0 * 3.0,
            Self::Inside => 3.0 + *batches as f64 * 0.8,
            Self::Tenants => tenants.iter().map(|count| 5.0 + *count as f64 / 500.0).sum(),
            Self::Neighbour => 5.0 + (measured + *rounds as f64) * 4.0,
            Self::Swaps => 5.0 + measured * 2.0,
            // The rule at some 10,000 requests/s.
            Self::Oversubscription => 5.0 + *requests as f64 / 10_000.0,
        };
        Duration::from_secs_f64(seconds)
    }
}

impl Lengths {
    /// For development: the figures are rough.
    pub fn quick() -> Self {
        Self { rounds: 2, seconds: 1.0, tenants: vec![1000], requests: 50_000, batches: 5 }
    }

    /// For figures that are shown to others.
    pub fn full() -> Self {
        Self { rounds: 5, seconds: 4.0, tenants: vec![1000, 10_000], requests: 1_000_000, batches: 20 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_run_takes_at_most_two_minutes() {
        let lengths = Lengths::quick();

        let whole: Duration = Part::ALL.iter().map(|part| part.estimate(&lengths)).sum();

        assert!(whole <= Duration::from_secs(120), "{whole:?}");
    }
}
