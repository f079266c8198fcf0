//! What scripts say that run because of another's execution: those it runs, middleware, and the life cycle.

use contract::Code;
use contract::ids::EventName;
use sandbox::LogLine;
use serde::{Deserialize, Serialize};

use super::job::{Job, Outcome};
use crate::metrics::Metrics;

/// What one execution said, under its own script's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Said {
    tenant: String,
    script: String,
    version: String,
    execution_id: String,
    lines: Vec<LogLine>,
    dropped: u32,
    /// Where nobody else is told of its fault.
    fault: Option<(Code, String)>,
    /// The event of the life cycle that it was for.
    life_cycle: Option<EventName>,
}

impl Said {
    /// What `job` said, of which this came.
    pub(crate) fn by<T>(job: &Job, outcome: &mut Outcome<T>) -> Self {
        let script = &job.script;
        Self {
            tenant: script.tenant.to_string(),
            script: script.name.to_string(),
            version: script.version.to_string(),
            execution_id: job.id.to_string(),
            lines: std::mem::take(&mut outcome.log),
            dropped: std::mem::take(&mut outcome.log_dropped),
            fault: None,
            life_cycle: job.life_cycle().cloned(),
        }
    }

    /// The same, and why it failed.
    pub(crate) fn and_failed<T>(self, outcome: &Outcome<T>) -> Self {
        let fault = outcome.result.as_ref().err().map(|fault| (fault.code, fault.detail.clone()));
        Self { fault, ..self }
    }

    /// Whether there is anything to tell.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0 && self.fault.is_none() && self.life_cycle.is_none()
    }

    /// Bytes of its lines.
    pub(crate) fn bytes(&self) -> usize {
        self.lines.iter().map(|line| line.message.len()).sum()
    }

    /// Forgets its lines but for their number.
    pub(crate) fn shut_up(&mut self) {
        let lines = u32::try_from(self.lines.len()).unwrap_or(u32::MAX);
        self.dropped = self.dropped.saturating_add(lines);
        self.lines.clear();
    }

    /// Writes it to the log, and counts it if it is of the life cycle.
    pub(crate) fn tell(&self, metrics: &Metrics) {
        macro_rules! line {
            ($level:ident, $($rest:tt)*) => {
                tracing::$level!(
                    source = "lua_script",
                    tenant = self.tenant,
                    script = self.script,
                    version = self.version,
                    execution_id = self.execution_id,
                    $($rest)*
                )
            };
        }
        for entry in &self.lines {
            match entry.level {
                sandbox::Level::Debug => line!(debug, "{}", entry.message),
                sandbox::Level::Info => line!(info, "{}", entry.message),
                sandbox::Level::Warn => line!(warn, "{}", entry.message),
                sandbox::Level::Error => line!(error, "{}", entry.message),
            }
        }
        if self.dropped > 0 {
            line!(warn, dropped = self.dropped, "log lines of the script were dropped: it logs more than it may");
        }
        // A fault is the tenant's affair unless it is ours, or nobody else is told of it.
        match (&self.fault, &self.life_cycle) {
            (None, _) => {}
            (Some((Code::Internal, detail)), _) => line!(error, code = "internal", "{detail}"),
            (Some((code, detail)), None) => line!(info, code = code.as_str(), "execution failed: {detail}"),
            (Some((code, detail)), Some(event)) => line!(warn, code = code.as_str(), "{event} failed: {detail}"),
        }
        if let Some(event) = &self.life_cycle {
            metrics.count_life_cycle(event.as_str(), self.fault.as_ref().map(|(code, _)| *code));
        }
    }
}
