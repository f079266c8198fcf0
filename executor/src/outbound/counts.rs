//! What became of the requests of scripts, counted.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::error::OutboundError;
use crate::metrics::Counted;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: &'static str,
}

/// Counters of the way out. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    requests: Family<Labels, Counter>,
    under_way: Gauge,
}

impl Counts {
    /// Makes them visible.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("outbound_requests", "HTTP requests of scripts by outcome", self.requests.clone());
        registry.register("outbound_under_way", "HTTP requests of scripts that wait or run", self.under_way.clone());
    }

    pub(super) fn begin(&self) -> Begun<'_> {
        Begun { counts: self, outcome: "cancelled", _under_way: Counted::by(&self.under_way) }
    }
}

/// A request; one that is dropped before its end was cancelled.
pub(super) struct Begun<'a> {
    counts: &'a Counts,
    outcome: &'static str,
    _under_way: Counted,
}

impl Begun<'_> {
    pub(super) fn end(mut self, err: Option<&OutboundError>) {
        self.outcome = err.map_or("answered", OutboundError::outcome);
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.counts.requests.get_or_create(&Labels { outcome: self.outcome }).inc();
    }
}
