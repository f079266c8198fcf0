//! How a program is watched: logs and metrics set-up, one call each, and the question of a health check; the same for
//! every program.
//!
//! Levels: ERROR needs a person; WARN is unexpected but work went on; INFO is a change of state.

pub mod health;

use std::io::IsTerminal;
use std::str::FromStr;

use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;

mod stderr;

pub use stderr::{Log, log_lines_dropped};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, for collectors. Fields stand at the top level beside `timestamp`, `level`, `message`.
    Json,
    /// For people.
    Text,
}

impl LogFormat {
    /// Text on a terminal, JSON elsewhere.
    pub fn detect() -> Self {
        if std::io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            other => Err(format!("`{other}` is no log format; use `json` or `text`")),
        }
    }
}

/// Sends the process's log to stderr. No thread ever waits for that: up to 1 MiB is kept for a slow reader, and what is
/// more is dropped and counted by [`log_lines_dropped`]. Keep what is returned until the end of `main`.
///
/// `filter` is a `tracing` filter, for example `info` or `info,manager::feed=debug`.
///
/// # Errors
/// The filter can't be read, or the log was set up before.
pub fn init(filter: &str, format: LogFormat) -> Result<Log, Box<dyn std::error::Error + Send + Sync>> {
    let filter = EnvFilter::try_new(filter)?;
    let (buffer, log) = stderr::start()?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(buffer);
    match format {
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()?
        }
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init()?,
    }
    Ok(log)
}

/// An error with its causes, in one line: `read a: permission denied`. To be used where it is handled, not where it is
/// passed on.
pub fn chain(err: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(err.source(), |err| err.source());
    causes.fold(err.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Media type of [`render`]'s text (OpenMetrics 1.0).
pub const METRICS_MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The registry as the text that Prometheus reads.
pub fn render(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("writing to a string can't fail");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_with_its_causes() {
        let err = Told(std::io::Error::other("permission denied"));

        assert_eq!(chain(&err), "read a: permission denied");
    }

    #[derive(Debug)]
    struct Told(std::io::Error);

    impl std::fmt::Display for Told {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("read a")
        }
    }

    impl std::error::Error for Told {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
}
