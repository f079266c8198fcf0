//! What a script logs: kept for the caller under a budget, never printed here.

use serde::{Deserialize, Serialize};

/// Bytes of one message; longer ones are clipped.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Charged for each line on top of its text, so that empty lines are not free.
const LINE_OVERHEAD_BYTES: usize = 32;

/// Levels of a script's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// debug
    Debug,
    /// info
    Info,
    /// warn
    Warn,
    /// error
    Error,
}

impl Level {
    /// `debug`, `info`, `warn`, `error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// The level of that name; any other name is `info`, as the founding scripts expect.
    pub(crate) fn named(name: &[u8]) -> Self {
        match name {
            b"debug" => Self::Debug,
            b"warn" => Self::Warn,
            b"error" => Self::Error,
            _ => Self::Info,
        }
    }
}

/// One line of a script's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// How loud.
    pub level: Level,
    /// The text.
    pub message: String,
}

/// The log of one execution.
#[derive(Debug, Default)]
pub(crate) struct Log {
    lines: Vec<LogLine>,
    dropped: u32,
    bytes_left: usize,
}

impl Log {
    /// An empty log with a budget.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { bytes_left: bytes, ..Self::default() }
    }

    /// Adds a line, or counts it as dropped when the budget is used up. Bytes that are not UTF-8 are replaced.
    pub(crate) fn add(&mut self, level: Level, message: &[u8]) {
        let clipped = &message[..message.len().min(MESSAGE_BYTES_MAX)];
        let cost = clipped.len() + LINE_OVERHEAD_BYTES;
        if cost > self.bytes_left {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.bytes_left -= cost;
        let mut message_kept = String::from_utf8_lossy(clipped).into_owned();
        if clipped.len() < message.len() {
            message_kept.push('…');
        }
        self.lines.push(LogLine { level, message: message_kept });
    }

    /// Lines, oldest first, and how many were dropped.
    pub(crate) fn into_lines(self) -> (Vec<LogLine>, u32) {
        (self.lines, self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_above_the_budget_are_dropped_and_counted() {
        let mut log = Log::new(100);

        log.add(Level::Info, b"first");
        log.add(Level::Info, &[b'x'; 80]);
        log.add(Level::Info, b"third");

        let (lines, dropped) = log.into_lines();
        assert_eq!(lines.iter().map(|line| line.message.as_str()).collect::<Vec<_>>(), ["first", "third"]);
        assert_eq!(dropped, 1);
    }

    #[test]
    fn a_long_message_is_clipped() {
        let mut log = Log::new(64 << 10);

        log.add(Level::Warn, &[b'x'; 10_000]);

        assert_eq!(log.into_lines().0[0].message.len(), MESSAGE_BYTES_MAX + "…".len());
    }
}
