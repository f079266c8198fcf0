//! What was seen while a case ran.

use std::time::Duration;

use contract::Code;
use sandbox::Limits;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One case, run once or several times.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Its runs, in order.
    pub runs: Vec<Run>,
    /// Resident memory in KiB after the first run and after the last: what more runs added.
    pub memory_kib: Option<(u64, u64)>,
    /// Threads of the process before and after.
    pub threads: Option<(u64, u64)>,
    /// The process died or did not answer, and how; what was seen before is gone.
    pub lost: Option<String>,
}

/// One run: the case, and what came after it on the same thread.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// How it ended.
    pub end: End,
    /// Wall time in microseconds.
    pub wall_us: u64,
    /// CPU time in microseconds.
    pub cpu_us: u64,
    /// How far it was over the deadline when it ended, in microseconds: the larger excess over the two limits of CPU time
    /// and of wall time.
    pub overrun_us: u64,
    /// What came after.
    pub after: Vec<After>,
}

/// How far an execution was over its limits, in microseconds.
pub fn overrun_us(cpu: Duration, wall: Duration, limits: &Limits) -> u64 {
    micros(cpu.saturating_sub(limits.cpu)).max(micros(wall.saturating_sub(limits.wall)))
}

/// In microseconds.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum End {
    /// With this.
    Answer(Value),
    /// With a problem: its code and its sentence.
    Problem(Code, String),
    /// With something else, in words: no execution ends so.
    Other(String),
}

/// An execution after the case.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct After {
    /// Whose.
    pub tenant: Tenant,
    /// Which.
    pub script: Script,
    /// How it ended.
    pub end: End,
    /// Wall time in microseconds, cleaning up after the case included.
    pub wall_us: u64,
    /// As in [`Run`].
    pub overrun_us: u64,
}

/// Whose script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tenant {
    /// The one whose script attacked.
    Same,
    /// Another one.
    Other,
}

/// Which script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Script {
    /// The case's probe.
    Probe,
    /// A harmless one, [`NEIGHBOUR`].
    Neighbour,
}

/// What a tenant asks for who has nothing to do with any of this.
pub const NEIGHBOUR: &str = "return function(input) return { served = input.n + 1 } end";

/// Its input.
pub const NEIGHBOUR_INPUT: &str = r#"{"n":41}"#;

/// Its answer.
pub fn neighbour_answer() -> Value {
    serde_json::json!({ "served": 42 })
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match self {
            Self::Answer(value) => format!("answer {value}"),
            Self::Problem(code, detail) => format!("{code}: {detail}"),
            Self::Other(what) => what.clone(),
        };
        let clipped = &text[..text.floor_char_boundary(100)];
        // One line, whatever a script put into it.
        for c in clipped.chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        Ok(())
    }
}
