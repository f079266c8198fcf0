//! What the manager counts. Label values are fixed words of ours, so their number is bounded.

use contract::Code;
use contract::api::Activation;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Labels whose values are fixed words.
type Words = Vec<(&'static str, &'static str)>;

/// Every metric, registered once.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    releases: Family<Words, Counter>,
    notifications: Family<Words, Counter>,
    reconciles: Family<Words, Counter>,
    bucket_errors: Family<Words, Counter>,
    problems: Family<Words, Counter>,
    activation_seconds: Family<Words, Histogram, fn() -> Histogram>,
    /// Executors connected.
    pub executors: Gauge,
    /// Number of the current release.
    pub release: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("moonswarm_manager");
        let metrics = Self {
            releases: Family::default(),
            notifications: Family::default(),
            reconciles: Family::default(),
            bucket_errors: Family::default(),
            problems: Family::default(),
            // 1 ms to 65 s: live activation takes milliseconds, a rolling one seconds.
            activation_seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 17))),
            executors: Gauge::default(),
            release: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("releases", "Releases by how they ended", metrics.releases.clone());
        registry.register(
            "notifications",
            "Bucket notifications by kind and what became of them",
            metrics.notifications.clone(),
        );
        registry.register("reconcile", "Looks at the whole bucket by what they found", metrics.reconciles.clone());
        registry.register(
            "bucket_errors",
            "Calls to the bucket that failed, by operation",
            metrics.bucket_errors.clone(),
        );
        registry.register("problems", "Answers of the API that were errors, by code", metrics.problems.clone());
        registry.register(
            "activation_seconds",
            "From the commit of a release until every executor runs it",
            metrics.activation_seconds.clone(),
        );
        registry.register("executors", "Executors connected", metrics.executors.clone());
        registry.register("release", "Number of the current release", metrics.release.clone());
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// A release ended: `committed`, `refused`, `conflict`, `bucket`, `rolled_back`, `adopted`.
    pub fn release_ended(&self, outcome: &'static str) {
        self.releases.get_or_create(&vec![("outcome", outcome)]).inc();
    }

    /// A notification was dealt with.
    pub fn notified(&self, kind: &'static str, outcome: &'static str) {
        self.notifications.get_or_create(&vec![("kind", kind), ("outcome", outcome)]).inc();
    }

    /// A look at the whole bucket ended: `unchanged`, `repaired`, `guarded`, `failed`.
    pub fn reconciled(&self, outcome: &'static str) {
        self.reconciles.get_or_create(&vec![("outcome", outcome)]).inc();
    }

    /// A release is live everywhere, so long after its commit.
    pub fn activated(&self, activation: Activation, seconds: f64) {
        let mode = match activation {
            Activation::Live => "live",
            Activation::Rolling => "rolling",
        };
        self.activation_seconds.get_or_create(&vec![("mode", mode)]).observe(seconds);
    }

    /// A call to the bucket failed.
    pub fn bucket_failed(&self, operation: &'static str) {
        self.bucket_errors.get_or_create(&vec![("operation", operation)]).inc();
    }

    /// The API answered with an error.
    pub fn problem(&self, code: Code) {
        self.problems.get_or_create(&vec![("code", code.as_str())]).inc();
    }

    /// All of it as text.
    pub fn render(&self) -> String {
        telemetry::render(&self.registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_appear_with_their_labels() {
        let metrics = Metrics::default();

        metrics.notified("finalize", "superseded");
        metrics.release_ended("committed");

        let text = metrics.render();
        assert!(
            text.contains(r#"moonswarm_manager_notifications_total{kind="finalize",outcome="superseded"} 1"#),
            "{text}"
        );
        assert!(text.contains(r#"moonswarm_manager_releases_total{outcome="committed"} 1"#), "{text}");
    }
}
