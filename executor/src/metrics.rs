//! What is counted, and how, without a lock that requests of different workers meet at: each worker has its own
//! histogram and keeps the counters of its tenants at hand; the registry adds them up when it is read.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use contract::Code;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::outbound;
use crate::pubsub;
use crate::strategy::Board;

/// Tenants that get a label of their own; further ones share [`OTHER`], so that series can't grow without end.
const TENANTS_MAX: usize = 1000;

/// Tenants whose VMs are told one by one, the largest first.
const LARGEST: usize = 20;

/// Label of all tenants above [`TENANTS_MAX`]. No tenant can have this name: names begin with a letter, a digit or `@`.
const OTHER: &str = "_other";

/// Seconds; from a rule of a few lines (10 µs) to the wall limit of an execution (2 s).
const EXECUTION_BUCKETS: [f64; 14] =
    [0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 2.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExecutionLabels {
    tenant: String,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TenantLabel {
    tenant: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkerLabel {
    worker: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LifeCycleLabels {
    event: String,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

/// Every counter of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    executions: Family<ExecutionLabels, Counter>,
    rate_limited: Family<TenantLabel, Counter>,
    seconds: Family<WorkerLabel, Histogram, fn() -> Histogram>,
    refused_requests: BTreeMap<Code, Counter>,
    tenants: Mutex<HashSet<String>>,
    /// Number of the release that answers; 0 = none.
    pub release_number: Gauge,
    /// Releases swapped in.
    pub activations: Counter,
    /// Releases refused.
    pub refused_releases: Counter,
    /// 1 while a manager is followed.
    pub feed_connected: Gauge,
    /// HTTP requests of scripts.
    pub outbound: outbound::Counts,
    /// Messages of the second front door.
    pub pubsub: pubsub::Counts,
    /// VMs of all workers.
    pub vms: Gauge,
    /// Workers that do not come back from a script and were replaced.
    pub stuck_workers: Gauge,
    /// Which VMs there are.
    pub board: Arc<Board>,
    restarts: Family<CauseLabel, Counter>,
    life_cycle: Family<LifeCycleLabels, Counter>,
    /// Requests between head and answer.
    pub in_flight: Gauge,
    /// Open connections of all workers.
    pub connections: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let executions = Family::default();
        let seconds = Family::new_with_constructor((|| Histogram::new(EXECUTION_BUCKETS)) as fn() -> Histogram);
        let refusals = Family::<CodeLabel, Counter>::default();
        // Made here once, so that counting is an atomic addition and every code is there from the start.
        let refused_requests = [
            Code::UnknownTenant,
            Code::UnknownScript,
            Code::NotFound,
            Code::MethodNotAllowed,
            Code::BadRequest,
            Code::TooLarge,
            Code::Unauthenticated,
            Code::NotReady,
            Code::Overloaded,
            Code::Internal,
        ]
        .map(|code| (code, refusals.get_or_create_owned(&CodeLabel { code: code.as_str() })))
        .into();
        let metrics = Self {
            registry: Registry::with_prefix("moonswarm"),
            executions,
            rate_limited: Family::default(),
            seconds,
            refused_requests,
            tenants: Mutex::default(),
            release_number: Gauge::default(),
            activations: Counter::default(),
            refused_releases: Counter::default(),
            feed_connected: Gauge::default(),
            outbound: outbound::Counts::default(),
            pubsub: pubsub::Counts::default(),
            vms: Gauge::default(),
            stuck_workers: Gauge::default(),
            board: Arc::default(),
            restarts: Family::default(),
            life_cycle: Family::default(),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
        };
        metrics.registered(refusals)
    }
}

impl Metrics {
    fn registered(mut self, refusals: Family<CodeLabel, Counter>) -> Self {
        let registry = &mut self.registry;
        registry.register("executions", "Executions by tenant and outcome", self.executions.clone());
        registry.register("rate_limited", "Executions refused for their tenant's rate", self.rate_limited.clone());
        registry.register_with_unit("execution", "Wall time of executions", Unit::Seconds, self.seconds.clone());
        registry.register("refused_requests", "Requests answered without an execution", refusals);
        registry.register("release_number", "Number of the release that answers", self.release_number.clone());
        registry.register("activations", "Releases swapped in", self.activations.clone());
        registry.register("refused_releases", "Releases that could not be prepared", self.refused_releases.clone());
        registry.register("feed_connected", "1 while a manager is followed", self.feed_connected.clone());
        registry.register("vms", "Luau VMs held", self.vms.clone());
        registry.register("worker_restarts", "Workers that were lost and replaced", self.restarts.clone());
        registry.register(
            "life_cycle",
            "Executions for OnStartup, OnReload and OnShutdown, by outcome",
            self.life_cycle.clone(),
        );
        registry.register("stuck_workers", "Workers that do not come back from a script", self.stuck_workers.clone());
        registry.register_collector(Box::new(VmBytes(Arc::clone(&self.board))));
        registry.register_collector(Box::new(LogDropped));
        self.outbound.register(registry);
        self.pubsub.register(registry);
        registry.register("in_flight", "Requests being answered", self.in_flight.clone());
        registry.register("connections", "Open HTTP connections", self.connections.clone());
        self
    }

    /// The text that Prometheus reads.
    pub fn render(&self) -> String {
        telemetry::render(&self.registry)
    }

    /// The histogram of one worker.
    pub fn execution_seconds(&self, worker: usize) -> Histogram {
        self.seconds.get_or_create_owned(&WorkerLabel { worker })
    }

    /// The counter of workers lost for `cause`: `panic`, `stuck`, and of processes `exit`, `protocol`, `start`.
    pub fn restarts(&self, cause: &'static str) -> Counter {
        self.restarts.get_or_create_owned(&CauseLabel { cause })
    }

    /// Counts a worker that was lost and replaced.
    pub fn count_restart(&self, cause: &'static str) {
        self.restarts(cause).inc();
    }

    /// Counts an execution for an event of the life cycle; `None` = it went well.
    pub fn count_life_cycle(&self, event: &str, fault: Option<Code>) {
        let labels = LifeCycleLabels { event: event.to_owned(), code: fault.map_or("ok", Code::as_str) };
        self.life_cycle.get_or_create_owned(&labels).inc();
    }

    /// Counts a request that was answered without an execution.
    pub fn refuse(&self, code: Code) {
        if let Some(counter) = self.refused_requests.get(&code) {
            counter.inc();
        }
    }

    /// The counters of one tenant, to keep at hand.
    pub fn tenant(&self, tenant: &str) -> TenantMeter {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let known = tenants.contains(tenant) || (tenants.len() < TENANTS_MAX && tenants.insert(tenant.to_owned()));
        let label = if known { tenant } else { OTHER };
        TenantMeter {
            label: label.to_owned(),
            executions: self.executions.clone(),
            counters: BTreeMap::new(),
            rate_limited: self.rate_limited.clone(),
            limited: None,
        }
    }
}

/// Bytes held by VMs: of each worker, and of the largest tenants. Read from the board when asked.
#[derive(Debug)]
struct VmBytes(Arc<Board>);

impl Collector for VmBytes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let told = [
            ("worker", "vm_bytes", "Bytes held by the VMs of a worker", self.0.bytes_by_worker()),
            (
                "tenant",
                "vm_tenant_bytes",
                "Bytes held by the VMs of the largest tenants",
                self.0.largest_tenants(LARGEST),
            ),
        ];
        for (label, name, help, values) in told {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (value, bytes) in values {
                let gauge = ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX));
                gauge.encode(family.encode_family(&[(label, value)])?)?;
            }
        }
        Ok(())
    }
}

/// Log lines of this process that were dropped because nobody read them fast enough.
#[derive(Debug)]
struct LogDropped;

impl Collector for LogDropped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let counter = ConstCounter::new(telemetry::log_lines_dropped());
        let help = "Log lines dropped because stderr was read too slowly";
        counter.encode(encoder.encode_descriptor("log_lines_dropped", help, None, MetricType::Counter)?)
    }
}

/// Counts the executions of one tenant on one worker; only the first of each outcome asks the shared table.
#[derive(Debug)]
pub struct TenantMeter {
    label: String,
    executions: Family<ExecutionLabels, Counter>,
    counters: BTreeMap<Option<Code>, Counter>,
    rate_limited: Family<TenantLabel, Counter>,
    limited: Option<Counter>,
}

impl TenantMeter {
    /// Counts one execution: `None` = it gave a result.
    pub fn count(&mut self, fault: Option<Code>) {
        let counter = self.counters.entry(fault).or_insert_with(|| {
            let code = fault.map_or("ok", Code::as_str);
            self.executions.get_or_create_owned(&ExecutionLabels { tenant: self.label.clone(), code })
        });
        counter.inc();
    }

    /// Counts one execution that was refused for its tenant's rate.
    pub fn count_rate_limited(&mut self) {
        let (all, tenant) = (&self.rate_limited, &self.label);
        let label = || TenantLabel { tenant: tenant.clone() };
        self.limited.get_or_insert_with(|| all.get_or_create_owned(&label())).inc();
    }
}

/// Adds one to a gauge for as long as it lives.
#[derive(Debug)]
pub struct Counted(Gauge);

impl Counted {
    /// Adds one now.
    pub fn by(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_counted_by_tenant_and_outcome_over_all_workers() {
        let metrics = Metrics::default();
        let (mut here, mut there) = (metrics.tenant("acme"), metrics.tenant("acme"));
        here.count(None);
        there.count(None);
        there.count(Some(Code::ScriptError));
        metrics.execution_seconds(1).observe(0.000_02);

        let text = metrics.render();

        assert!(text.contains(r#"moonswarm_executions_total{tenant="acme",code="ok"} 2"#), "{text}");
        assert!(text.contains(r#"moonswarm_executions_total{tenant="acme",code="script_error"} 1"#), "{text}");
        assert!(text.contains(r#"moonswarm_execution_seconds_count{worker="1"} 1"#), "{text}");
    }

    #[test]
    fn tenants_beyond_the_bound_share_a_label() {
        let metrics = Metrics::default();
        for index in 0..TENANTS_MAX + 5 {
            metrics.tenant(&format!("tenant{index}")).count(None);
        }
        metrics.tenant("tenant3").count(None);

        let text = metrics.render();

        assert!(text.contains(r#"{tenant="_other",code="ok"} 5"#));
        assert!(text.contains(r#"{tenant="tenant3",code="ok"} 2"#));
    }
}
