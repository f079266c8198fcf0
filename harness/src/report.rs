//! What an end-to-end run found: JSON for machines, a table for people.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::load::Tally;

/// The report of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Id of the run; its logs are in `target/e2e/RUN/`.
    pub run: String,
    /// What it ran on.
    pub machine: Machine,
    /// From nothing (images cached) to six ready executors, seconds.
    pub cluster_up_seconds: f64,
    /// The whole run, seconds.
    pub total_seconds: f64,
    /// Factor by which the measured parts were shortened (`--scale`); 1 = full length.
    pub scale: f64,
    /// In the order in which they ran.
    pub scenarios: Vec<ScenarioReport>,
    /// How fast a change is everywhere.
    pub hot_swap: HotSwap,
    /// What callers saw during swaps; absent if that scenario did not run.
    pub load: Option<LoadReport>,
    /// Faults that this machine can't make, each with the reason.
    pub skipped_faults: Vec<String>,
}

/// What a run ran on.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Cores.
    pub cpus: usize,
    /// Version of the outer Docker engine.
    pub engine: String,
    /// Kernel release.
    pub kernel: String,
    /// Load average over one minute when the run began.
    pub load_average: f64,
}

/// How one scenario went.
#[derive(Debug, Clone, Serialize)]
pub struct ScenarioReport {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub status: ScenarioStatus,
    /// How long it took, milliseconds.
    pub duration_ms: u64,
    /// Why it failed or was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// How a scenario ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ScenarioStatus {
    /// All it promises was seen.
    Passed,
    /// Something else was seen.
    Failed,
    /// Not run; never to be read as passed.
    Skipped,
}

/// Latency of activation: from sending the push to its answer with `wait`, all executors acknowledged.
#[derive(Debug, Clone, Default, Serialize)]
pub struct HotSwap {
    /// In memory, no other load.
    pub live: Option<Latency>,
    /// In memory, while callers take all the processor they can get.
    pub live_under_load: Option<Latency>,
    /// Docker config and service update.
    pub rolling: Option<Latency>,
    /// Rolling p50 over live p50: how many times faster live is.
    pub ratio_p50: Option<f64>,
}

/// A latency, in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Latency {
    /// Samples.
    pub n: u64,
    /// Half of them took at most this.
    pub p50: f64,
    /// 99 of 100 took at most this.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// What callers saw.
#[derive(Debug, Clone, Serialize)]
pub struct LoadReport {
    /// Requests and faults.
    #[serde(flatten)]
    pub tally: Tally,
    /// How often the script was swapped meanwhile.
    pub swaps: usize,
    /// Over the whole load.
    pub requests_per_second: f64,
    /// Of the callers' requests.
    pub latency: Latency,
}

impl Latency {
    /// Of samples in microseconds; `None` without samples.
    pub fn of(micros: &Histogram<u64>) -> Option<Self> {
        if micros.is_empty() {
            return None;
        }
        let ms = |micros: u64| f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1000.0;
        Some(Self {
            n: micros.len(),
            p50: ms(micros.value_at_quantile(0.5)),
            p99: ms(micros.value_at_quantile(0.99)),
            max: ms(micros.max()),
        })
    }
}

impl HotSwap {
    /// Fills in what follows from the rest.
    pub fn finish(&mut self) {
        self.ratio_p50 = self.live.as_ref().zip(self.rolling.as_ref()).map(|(live, rolling)| rolling.p50 / live.p50);
    }
}

impl Report {
    /// No scenario failed.
    pub fn passed(&self) -> bool {
        self.scenarios.iter().all(|scenario| scenario.status != ScenarioStatus::Failed)
    }

    /// The report for people.
    pub fn table(&self) -> String {
        let mut lines = Vec::new();
        for ScenarioReport { name, status, duration_ms, detail } in &self.scenarios {
            let word = match status {
                ScenarioStatus::Passed => "passed",
                ScenarioStatus::Failed => "FAILED",
                ScenarioStatus::Skipped => "SKIPPED",
            };
            lines.push(format!("{word:<8} {name:<52} {:>7.1} s", *duration_ms as f64 / 1000.0));
            lines.extend(detail.iter().flat_map(|detail| detail.lines()).map(|line| format!("         {line}")));
        }
        lines.push(String::new());
        lines.push(format!("cluster up in {:.1} s, whole run {:.0} s", self.cluster_up_seconds, self.total_seconds));
        let HotSwap { live, live_under_load, rolling, ratio_p50 } = &self.hot_swap;
        for (name, latency) in [("live", live), ("live under load", live_under_load), ("rolling", rolling)] {
            let Some(Latency { n, p50, p99, max }) = latency else { continue };
            lines.push(format!("{name:<16} n {n:<5} p50 {p50:>8.1} ms   p99 {p99:>8.1} ms   max {max:>8.1} ms"));
        }
        lines.extend(ratio_p50.map(|ratio| format!("live is {ratio:.0}x faster than rolling (p50)")));
        if let Some(LoadReport { tally, swaps, requests_per_second, .. }) = &self.load {
            lines.push(format!(
                "{} requests over {swaps} swaps: {} dropped, {} mixed, {} old after wait ({requests_per_second:.0}/s)",
                tally.requests, tally.dropped, tally.mixed, tally.old_after_wait
            ));
        }
        lines.extend(self.skipped_faults.iter().map(|fault| format!("skipped fault: {fault}")));
        if (self.scale - 1.0).abs() > f64::EPSILON {
            lines.push(format!("measured parts were scaled by {}: figures are for development only", self.scale));
        }
        lines.join("\n")
    }
}
