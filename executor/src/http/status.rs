//! What operators and orchestrators ask: alive, ready, which release, counters.

use std::time::UNIX_EPOCH;

use contract::{Code, Problem};
use http::HeaderValue;
use serde::Serialize;

use super::answer::{Answer, JSON, Refused, ok};
use super::run::not_ready;
use crate::release::Serving;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Answer to `GET /v1/release`.
#[derive(Serialize)]
struct ReleaseStatus<'a> {
    /// Its number.
    number: u64,
    /// Digest of its scripts.
    digest: &'a str,
    /// Why it was made.
    reason: &'a str,
    /// `cache`, `config` or `feed`.
    source: &'static str,
    /// Since when it answers here, milliseconds since the Unix epoch.
    since_ms: u64,
    /// How many scripts it has.
    scripts: usize,
    /// How many tenants have one.
    tenants: usize,
    /// Whether a manager is followed.
    feed_connected: bool,
}

/// The process runs and this thread answers.
pub(crate) fn livez() -> Answer {
    ok(TEXT, "ok\n")
}

/// A release is loaded, and callers may come.
///
/// # Errors
/// `not_ready`.
pub(crate) fn readyz(serving: &Serving) -> Result<Answer, Refused> {
    if serving.is_draining() {
        return Err(Problem::new(Code::NotReady, "this executor drains: it ends what runs and takes nothing more")
            .with_hint("call another executor")
            .into());
    }
    let active = serving.active();
    let active = active.as_deref().ok_or_else(not_ready)?;
    Ok(ok(TEXT, format!("ready: release {}\n", active.number())))
}

/// The release that answers.
///
/// # Errors
/// `not_ready`.
pub(crate) fn release(serving: &Serving) -> Result<Answer, Refused> {
    let active = serving.active();
    let active = active.as_deref().ok_or_else(not_ready)?;
    let served = active.served().ok_or_else(not_ready)?;
    let since = served.since.duration_since(UNIX_EPOCH).unwrap_or_default();
    let status = ReleaseStatus {
        number: active.number(),
        digest: &active.statement().digest,
        reason: &active.statement().reason,
        source: served.source.as_str(),
        since_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        scripts: contract::release::count(active.scripts()),
        tenants: active.tenant_count(),
        feed_connected: serving.metrics().feed_connected.get() == 1,
    };
    Ok(ok(JSON, serde_json::to_vec(&status).expect("a struct of strings and numbers is always JSON")))
}

/// The VMs, by worker: whose each is, what it holds and may hold, and how long it has been unused. About a second old.
pub(crate) fn vms(serving: &Serving) -> Answer {
    let workers = serde_json::json!({ "workers": serving.metrics().board.read() });
    ok(JSON, workers.to_string())
}

/// The counters.
pub(crate) fn metrics(serving: &Serving) -> Answer {
    ok(HeaderValue::from_static(telemetry::METRICS_MEDIA_TYPE), serving.metrics().render())
}
