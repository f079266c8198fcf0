//! What is told while a deployment runs: a line for people, an object for machines.

use std::fmt;
use std::time::Instant;

use serde::Serialize;

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A phase is done.
    Phase {
        /// Which.
        phase: &'static str,
        /// How long it took.
        seconds: f64,
        /// What came of it.
        detail: String,
    },
    /// A service is on its way.
    Tasks {
        /// Which.
        service: String,
        /// Tasks that run with the wanted spec.
        running: u64,
        /// Tasks that should.
        of: u64,
        /// A word on the others.
        detail: String,
    },
    /// Something to know.
    Note {
        /// For people.
        text: String,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Phase { phase, seconds, detail } => write!(f, "{phase:<10} {seconds:>6.1} s  {detail}"),
            Self::Tasks { service, running, of, detail } if detail.is_empty() => {
                write!(f, "           {service}: {running} of {of} tasks run")
            }
            Self::Tasks { service, running, of, detail } => {
                write!(f, "           {service}: {running} of {of} tasks run; {detail}")
            }
            Self::Note { text } => f.write_str(text),
        }
    }
}

/// A phase that has begun.
pub(crate) struct Phase {
    name: &'static str,
    begun: Instant,
}

impl Phase {
    pub(crate) fn begin(name: &'static str) -> Self {
        Self { name, begun: Instant::now() }
    }

    pub(crate) fn done(self, detail: impl Into<String>) -> Event {
        Event::Phase { phase: self.name, seconds: self.begun.elapsed().as_secs_f64(), detail: detail.into() }
    }
}
