//! Quotas: how much of each a project may have, counted from what is there.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::catalog;
use super::error::ComputeError;
use super::path::{Path, Scope};
use super::state::State;

/// What a new project gets, roughly.
const DEFAULTS: [(&str, f64); 8] = [
    ("CPUS", 72.0),
    ("DISKS_TOTAL_GB", 4096.0),
    ("FIREWALLS", 100.0),
    ("INSTANCES", 72.0),
    ("NETWORKS", 15.0),
    ("ROUTERS", 20.0),
    ("STATIC_ADDRESSES", 24.0),
    ("SUBNETWORKS", 100.0),
];

/// Metrics that are counted per project; the others per region.
const GLOBAL: [&str; 4] = ["FIREWALLS", "NETWORKS", "ROUTERS", "SUBNETWORKS"];

/// The limits by metric.
#[derive(Debug, Clone)]
pub(super) struct Quotas(BTreeMap<String, f64>);

impl Default for Quotas {
    fn default() -> Self {
        Self(DEFAULTS.iter().map(|(metric, limit)| ((*metric).to_owned(), *limit)).collect())
    }
}

impl Quotas {
    pub(super) fn set(&mut self, metric: &str, limit: f64) {
        self.0.insert(metric.to_owned(), limit);
    }
}

impl State {
    /// Whether a project may have so much more of a metric, where `path` is.
    pub(super) fn check_quota(&self, path: &Path, metric: &str, more: f64) -> Result<(), ComputeError> {
        let Some(&limit) = self.quotas.0.get(metric) else { return Ok(()) };
        let region = path.scope.region().filter(|_| !GLOBAL.contains(&metric));
        if self.usage(&path.project, region, metric) + more <= limit {
            return Ok(());
        }
        let place = region.map_or_else(|| "globally".to_owned(), |region| format!("in region {region}"));
        Err(ComputeError::Quota { metric: metric.to_owned(), limit: format!("{limit:.1}"), place })
    }

    fn usage(&self, project: &str, region: Option<&str>, metric: &str) -> f64 {
        let mine = self.resources.values().filter(|resource| {
            resource.path.project == project && region.is_none_or(|region| resource.path.scope.region() == Some(region))
        });
        let amounts = mine.map(|resource| match (metric, resource.path.collection.as_str()) {
            ("CPUS", "instances") => {
                let machine_type = resource.text("machineType").rsplit('/').next().unwrap_or_default();
                f64::from(catalog::processors(machine_type).unwrap_or(0))
            }
            ("DISKS_TOTAL_GB", "disks") => resource.text("sizeGb").parse().unwrap_or(0.0),
            ("STATIC_ADDRESSES", "addresses")
            | ("INSTANCES", "instances")
            | ("FIREWALLS", "firewalls")
            | ("NETWORKS", "networks")
            | ("ROUTERS", "routers")
            | ("SUBNETWORKS", "subnetworks") => 1.0,
            _ => 0.0,
        });
        amounts.sum()
    }

    /// `quotas` of a project or a region.
    pub(super) fn told_quotas(&self, project: &str, scope: &Scope) -> Value {
        let region = scope.region();
        let told = self.quotas.0.iter().filter(|(metric, _)| GLOBAL.contains(&metric.as_str()) == region.is_none());
        let told = told.map(
            |(metric, limit)| json!({ "metric": metric, "limit": limit, "usage": self.usage(project, region, metric) }),
        );
        told.collect()
    }
}
