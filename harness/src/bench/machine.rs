//! What a run was made on: figures without this are worth nothing.

use std::path::Path;
use std::process::Command;

use serde::Serialize;

/// The machine, and what it was busy with.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Cores.
    pub cores: usize,
    /// What the processor calls itself.
    pub processor: String,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Kernel release.
    pub kernel: String,
    /// Load average over one minute before the run.
    pub load_before: f64,
    /// The same after it; the run's own load is in it.
    pub load_after: f64,
}

impl Machine {
    pub(super) fn look() -> Self {
        let info = text("/proc/cpuinfo");
        let processor = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let memory = text("/proc/meminfo");
        let kib =
            memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
        Self {
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
            processor: processor.map_or("unknown", |(_, name)| name).to_owned(),
            memory_bytes: kib.unwrap_or(0_u64) * 1024,
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_before: load(),
            load_after: 0.0,
        }
    }

    pub(super) fn look_again(&mut self) {
        self.load_after = load();
    }
}

fn load() -> f64 {
    text("/proc/loadavg").split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

fn text(path: &str) -> String {
    fs_err::read_to_string(path).unwrap_or_default()
}

/// The first line that `program` prints when asked for its version.
pub(super) fn version(program: &Path, flag: &str) -> String {
    let Ok(output) = Command::new(program).arg(flag).output() else { return "unknown".to_owned() };
    // nginx writes it to stderr.
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").trim().to_owned()
}
