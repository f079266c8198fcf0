//! What is left of an execution's share: requests and time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::TIMEOUT_MAX;
use super::error::OutboundError;
use super::grant::HttpGrant;

/// What one execution used so far. Made when it begins; shared by all of its requests, of which several may be under
/// way at once.
#[derive(Debug)]
pub struct HttpBudget {
    tenant: String,
    deadline: Instant,
    requests: AtomicU32,
}

impl HttpBudget {
    /// For an execution of `tenant` that ends at `deadline` at the latest.
    pub fn new(tenant: impl Into<String>, deadline: Instant) -> Self {
        Self { tenant: tenant.into(), deadline, requests: AtomicU32::new(0) }
    }

    pub(super) fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Takes one request. One that is refused later is used up, too: probing costs what asking costs.
    pub(super) fn take(&self, grant: &HttpGrant) -> Result<(), OutboundError> {
        let requests_max = grant.requests_max;
        let more = |made: u32| (made < requests_max).then_some(made + 1);
        let taken = self.requests.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.map(|_| ()).map_err(|_| OutboundError::TooMany { requests_max })
    }
}

/// When a request ends at the latest, and who says so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) until: Instant,
    length: Duration,
    whose: &'static str,
}

impl Limit {
    /// The shortest of what the script, its grant, this program and the execution's end allow.
    pub(super) fn of(asked: Option<Duration>, grant: &HttpGrant, budget: &HttpBudget) -> Self {
        let now = Instant::now();
        let granted = grant.timeout.min(TIMEOUT_MAX);
        let left = budget.deadline.saturating_duration_since(now);
        let (length, whose) = match asked {
            _ if left < granted.min(asked.unwrap_or(granted)) => (left, "which was left of the execution"),
            Some(asked) if asked < granted => (asked, "the request's timeout"),
            _ => (granted, "the longest that a request of this script may take"),
        };
        Self { until: now + length, length, whose }
    }

    pub(super) fn exceeded(self, host: String) -> OutboundError {
        OutboundError::Timeout { host, length: self.length, whose: self.whose }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn whose(asked_ms: Option<u64>, granted_ms: u64, left_ms: u64) -> (&'static str, bool) {
        let grant = HttpGrant { timeout: Duration::from_millis(granted_ms), ..HttpGrant::default() };
        let budget = HttpBudget::new("acme", Instant::now() + Duration::from_millis(left_ms));
        let limit = Limit::of(asked_ms.map(Duration::from_millis), &grant, &budget);
        (limit.whose, limit.length <= TIMEOUT_MAX)
    }

    #[test]
    fn the_shortest_limit_holds_and_says_whose_it_is() {
        assert_eq!(whose(None, 5_000, 60_000).0, "the longest that a request of this script may take");
        assert_eq!(whose(Some(9_000), 5_000, 60_000).0, "the longest that a request of this script may take");
        assert_eq!(whose(Some(1_000), 5_000, 60_000).0, "the request's timeout");
        assert_eq!(whose(Some(1_000), 5_000, 500).0, "which was left of the execution");
        assert_eq!(whose(None, 5_000, 0).0, "which was left of the execution");
        assert!(whose(Some(3_600_000), 3_600_000, 3_600_000).1, "nothing goes beyond the program's own limit");
    }

    #[test]
    fn an_execution_has_as_many_requests_as_its_grant_says() {
        let grant = HttpGrant { requests_max: 2, ..HttpGrant::default() };
        let budget = HttpBudget::new("acme", Instant::now());

        assert!(budget.take(&grant).is_ok() && budget.take(&grant).is_ok());
        let err = budget.take(&grant).unwrap_err();
        assert_eq!(err.to_string(), "an execution of this script may make 2 requests, this is one more");
    }
}
