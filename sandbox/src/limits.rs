//! How much of everything a script may use.

use std::fmt;
use std::time::Duration;

/// Limits of a VM and of each execution in it. All of them are enforced; [`Limits::default`] suits business rules.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// CPU time of one execution. May be overrun by up to about a millisecond, see `slot.rs`.
    pub cpu: Duration,
    /// Wall time of one execution, the outer limit: what a busy host may take away from a script.
    pub wall: Duration,
    /// Bytes a VM may hold, its own base (about 440 KiB) included.
    pub memory_bytes: usize,
    /// Bytes of source of one file.
    pub source_bytes: usize,
    /// Bytes of source of all modules of a package together, unpacked.
    pub package_bytes: usize,
    /// Bytes of JSON input.
    pub input_bytes: usize,
    /// Bytes of JSON output.
    pub output_bytes: usize,
    /// Values in the output, counted with repetition.
    pub output_nodes: u32,
    /// Nesting of input and output. Above 127 the JSON reader's own limit is the lower one.
    pub depth: u32,
    /// Bytes of log lines kept per execution.
    pub log_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu: Duration::from_millis(50),
            wall: Duration::from_secs(2),
            memory_bytes: 20 << 20,
            source_bytes: 256 << 10,
            package_bytes: 1 << 20,
            input_bytes: 1 << 20,
            output_bytes: 1 << 20,
            output_nodes: 100_000,
            depth: 64,
            log_bytes: 64 << 10,
        }
    }
}

impl Limits {
    /// The most bytes that a script may have as it is stored: a tar file has half a KiB of header and up to as much of
    /// padding for each entry.
    pub fn stored_bytes(&self) -> usize {
        self.source_bytes.max(self.package_bytes + self.package_bytes / 2)
    }
}

/// A number of bytes for people: `20 MiB`, `256 KiB`, `1000 bytes`.
pub(crate) struct Bytes(pub(crate) usize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n > 0 && n % (1 << 20) == 0 => write!(f, "{} MiB", n >> 20),
            n if n > 0 && n % (1 << 10) == 0 => write!(f, "{} KiB", n >> 10),
            n => write!(f, "{n} bytes"),
        }
    }
}

/// A duration for people: `50 ms`, `2 s`.
pub(crate) struct Time(pub(crate) Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            time if time.subsec_nanos() == 0 => write!(f, "{} s", time.as_secs()),
            time if time.subsec_nanos() % 1_000_000 == 0 => write!(f, "{} ms", time.as_millis()),
            time => write!(f, "{} µs", time.as_micros()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_written_for_people() {
        let texts = [Bytes(20 << 20), Bytes(256 << 10), Bytes(0), Bytes(1001)].map(|bytes| bytes.to_string());
        assert_eq!(texts, ["20 MiB", "256 KiB", "0 bytes", "1001 bytes"]);

        let texts = [2_000_000, 50_000, 1_500].map(|micros| Time(Duration::from_micros(micros)).to_string());
        assert_eq!(texts, ["2 s", "50 ms", "1500 µs"]);
    }
}
