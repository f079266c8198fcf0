//! What a script may be allowed to do.

use std::fmt;

/// A named permission of a script. A script declares those it wants; what it gets is not decided here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capability {
    /// Write log lines.
    Log,
    /// Know the time.
    Time,
    /// Random numbers.
    Random,
    /// JSON text to values and back.
    Json,
    /// Digests of strings.
    Hash,
    /// Run another script of the tenant.
    Run,
    /// Send HTTP requests to the hosts that were declared.
    Http,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Log, Self::Time, Self::Random, Self::Json, Self::Hash, Self::Run, Self::Http];

    /// As scripts name it: `log`, `time`, `random`, `json`, `hash`, `run`, `http`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Time => "time",
            Self::Random => "random",
            Self::Json => "json",
            Self::Hash => "hash",
            Self::Run => "run",
            Self::Http => "http",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|capability| capability.as_str() == name)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
