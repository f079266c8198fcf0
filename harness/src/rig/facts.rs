//! What this machine's engine and kernel can do, for the report: a fault that can't be made here is reported as skipped.

use std::collections::BTreeMap;
use std::io::Read;

use bollard::models::{SystemInfo, SystemInfoCgroupVersionEnum};
use serde::Serialize;

/// What a kernel must have for a fault or a transport, and the name of its build option.
const FEATURES: [(&str, &str); 7] = [
    ("netem", "CONFIG_NET_SCH_NETEM"),
    ("ipvs", "CONFIG_IP_VS"),
    ("esp", "CONFIG_INET_ESP"),
    ("vxlan", "CONFIG_VXLAN"),
    ("overlayfs", "CONFIG_OVERLAY_FS"),
    ("nf_tables", "CONFIG_NF_TABLES"),
    ("landlock", "CONFIG_SECURITY_LANDLOCK"),
];

/// Facts about the engine and the kernel under it.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// Version of the outer engine, `20.10.24`.
    pub engine: String,
    /// Version of the kernel, which all nodes share.
    pub kernel: String,
    /// `v1` or `v2`.
    pub cgroup: String,
    /// Storage driver of the outer engine, `overlay2`.
    pub storage_driver: String,
    /// Processors that all nodes share.
    pub processors: i64,
    /// Bytes of memory that all nodes share.
    pub memory_bytes: i64,
    /// Per feature of the kernel (`netem`, `ipvs`, `vxlan`, …) whether it is there.
    pub kernel_features: BTreeMap<String, Presence>,
}

/// Whether the kernel has a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// Built in.
    Present,
    /// A module, which the host may or may not load.
    Module,
    /// Not built.
    Absent,
    /// The kernel's options can't be read here.
    Unknown,
}

impl Facts {
    pub(super) fn gather(info: &SystemInfo) -> Self {
        let options = kernel_options(info.kernel_version.as_deref().unwrap_or_default());
        let unknown = || "unknown".to_owned();
        Self {
            engine: info.server_version.clone().unwrap_or_else(unknown),
            kernel: info.kernel_version.clone().unwrap_or_else(unknown),
            cgroup: match info.cgroup_version {
                Some(SystemInfoCgroupVersionEnum::_2) => "v2".to_owned(),
                // Engines that don't say are older than cgroup v2.
                _ => "v1".to_owned(),
            },
            storage_driver: info.driver.clone().unwrap_or_else(unknown),
            processors: info.ncpu.unwrap_or_default(),
            memory_bytes: info.mem_total.unwrap_or_default(),
            kernel_features: FEATURES
                .iter()
                .map(|(name, option)| ((*name).to_owned(), presence(options.as_deref(), option)))
                .collect(),
        }
    }

    /// The features that are certainly not there.
    pub fn absent(&self) -> Vec<&str> {
        let absent = self.kernel_features.iter().filter(|(_, presence)| **presence == Presence::Absent);
        absent.map(|(name, _)| name.as_str()).collect()
    }
}

/// The options the kernel was built with, where a kernel or a distribution leaves them.
fn kernel_options(release: &str) -> Option<String> {
    if let Ok(packed) = fs_err::File::open("/proc/config.gz") {
        let mut text = String::new();
        if flate2::read::GzDecoder::new(packed).read_to_string(&mut text).is_ok() {
            return Some(text);
        }
    }
    fs_err::read_to_string(format!("/boot/config-{release}")).ok()
}

fn presence(options: Option<&str>, option: &str) -> Presence {
    let Some(options) = options else { return Presence::Unknown };
    let value = options.lines().find_map(|line| line.strip_prefix(option)?.strip_prefix('='));
    match value {
        Some("y") => Presence::Present,
        Some("m") => Presence::Module,
        _ => Presence::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_read_by_its_whole_name() {
        let options = Some("CONFIG_VXLAN=y\nCONFIG_IP_VS_RR=y\n# CONFIG_IP_VS is not set\nCONFIG_INET_ESP=m\n");

        assert_eq!(presence(options, "CONFIG_VXLAN"), Presence::Present);
        assert_eq!(presence(options, "CONFIG_INET_ESP"), Presence::Module);
        assert_eq!(presence(options, "CONFIG_IP_VS"), Presence::Absent);
        assert_eq!(presence(options, "CONFIG_NET_SCH_NETEM"), Presence::Absent);
        assert_eq!(presence(None, "CONFIG_VXLAN"), Presence::Unknown);
    }
}
