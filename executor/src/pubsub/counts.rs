//! What became of messages, counted.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: &'static str,
}

/// Counters of the front door. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    ended: Family<Labels, Counter>,
    pub(super) delivered: Counter,
    pub(super) waited: Counter,
    pub(super) held: Gauge,
    pub(super) broken: Counter,
}

impl Counts {
    /// Makes them visible.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("pubsub_delivered", "Messages that came from Pub/Sub", self.delivered.clone());
        registry.register(
            "pubsub_ended",
            "Messages by what became of them: acked, duplicate (acked without an execution), dropped (acked, nothing can come of it), nacked",
            self.ended.clone(),
        );
        registry.register(
            "pubsub_waited",
            "Times that a message was kept because there was no room",
            self.waited.clone(),
        );
        registry.register("pubsub_held", "Messages held now", self.held.clone());
        registry.register("pubsub_broken", "Times that the stream of messages broke", self.broken.clone());
    }

    pub(super) fn end(&self, outcome: &'static str) {
        self.ended.get_or_create(&Labels { outcome }).inc();
    }
}
