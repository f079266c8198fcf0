//! `POST /v1/run/{tenant}/{script}`: JSON in, the script's result as JSON out.

use std::fmt::Write;
use std::sync::Arc;

use contract::api::{HEADER_EXECUTION, HEADER_RELEASE, HEADER_VERSION};
use contract::{Code, Problem};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use hyper::body::Incoming;
use sandbox::{Fault, Limits};
use uuid::fmt::Hyphenated;

use super::answer::{self, Answer, JSON, Refused};
use super::body;
use super::names::Names;
use crate::release::{Active, Script};
use crate::strategy::{Drill, Job};
use crate::worker::Worker;

/// Asks for a [`Drill`].
const HEADER_DRILL: &str = "x-moonswarm-drill";

/// Seconds after which a tenant that had too much under way may come back: a queue of executions at their CPU limits takes
/// about as many to end.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Answers a run whose path ends in `names`.
pub(crate) async fn run(worker: &Worker, names: &str, headers: &HeaderMap, body: Incoming) -> Answer {
    let execution = worker.execution_id();
    let mut buffer = [0; Hyphenated::LENGTH];
    let id = &*execution.hyphenated().encode_lower(&mut buffer);
    let input = body::read(body, headers, worker.limits.input_bytes).await;

    // The one look at the release: lookup, execution and headers are of the same one, whatever is activated meanwhile.
    let active = worker.serving.active();
    let found = match active.as_deref() {
        Some(active) => input.and_then(|input| {
            let drill = drill(worker, headers)?;
            let script = Arc::clone(Names::decode(names)?.find(active)?);
            Ok(Job { script, id: execution, input, drill })
        }),
        None => Err(not_ready()),
    };
    let (mut answer, script) = match found {
        Ok(job) => {
            let script = Arc::clone(&job.script);
            (execute(worker, job, id).await, Some(script))
        }
        Err(mut refusal) => {
            worker.serving.metrics().refuse(refusal.code);
            id.clone_into(&mut refusal.request_id);
            (answer::problem(&refusal), None)
        }
    };
    mark(answer.headers_mut(), active.as_deref(), script.as_deref(), id);
    answer
}

/// The problem of an executor without a release.
pub(crate) fn not_ready() -> Refused {
    Problem::new(
        Code::NotReady,
        "no release is loaded: none was found on this machine and none came from a manager yet",
    )
    .with_hint("GET /readyz tells when it is; the log of this executor tells why not")
    .into()
}

/// The fault that the caller asks for, if it asks for one and may.
fn drill(worker: &Worker, headers: &HeaderMap) -> Result<Option<Drill>, Refused> {
    let Some(asked) = headers.get(HEADER_DRILL).filter(|_| worker.drills) else { return Ok(None) };
    let drill = asked.to_str().ok().and_then(|asked| asked.parse().ok());
    let drill = drill.ok_or_else(|| Problem::new(Code::BadRequest, format!("`{HEADER_DRILL}` names no drill")))?;
    if drill == Drill::PanicWorker {
        worker.panic_for_a_drill();
    }
    Ok(Some(drill))
}

async fn execute(worker: &Worker, job: Job, id: &str) -> Answer {
    match worker.execute(job).await.result {
        Ok(result) => answer::ok(JSON, result),
        Err(fault) => {
            let mut answer = answer::problem(&problem(fault, id, &worker.limits));
            if answer.status() == StatusCode::TOO_MANY_REQUESTS {
                answer.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
            }
            answer
        }
    }
}

fn problem(fault: Fault, id: &str, limits: &Limits) -> Problem {
    let mut problem = Problem::new(fault.code, fault.detail).with_diagnostics(fault.diagnostics);
    problem.hint = hint(fault.code, limits);
    id.clone_into(&mut problem.request_id);
    problem
}

fn hint(code: Code, limits: &Limits) -> Option<String> {
    let mut hint = String::new();
    match code {
        Code::DeadlineExceeded => write!(
            hint,
            "an execution may take {} of CPU time and {} in all; do less work per call, or split the input",
            humantime::format_duration(limits.cpu),
            humantime::format_duration(limits.wall)
        ),
        Code::MemoryExceeded => {
            write!(hint, "a tenant's VM may hold {} bytes; build less at once, or split the input", limits.memory_bytes)
        }
        Code::OutputExceeded => write!(
            hint,
            "a result may have {} bytes, {} values and {} levels; return less",
            limits.output_bytes, limits.output_nodes, limits.depth
        ),
        Code::ResultInvalid => write!(hint, "return tables, strings, finite numbers, booleans or nil"),
        Code::BadJson => write!(hint, "send JSON (RFC 8259), or no body at all for `null`"),
        Code::Overloaded => write!(hint, "send less at once, and again after the time in `retry-after`"),
        Code::Internal => write!(hint, "the executor's log tells more under this request id"),
        _ => return None,
    }
    .expect("writing to a string can't fail");
    Some(hint)
}

fn mark(headers: &mut HeaderMap, active: Option<&Active>, script: Option<&Script>, id: &str) {
    const RELEASE: HeaderName = HeaderName::from_static(HEADER_RELEASE);
    const VERSION: HeaderName = HeaderName::from_static(HEADER_VERSION);
    const EXECUTION: HeaderName = HeaderName::from_static(HEADER_EXECUTION);
    if let Some(active) = active {
        headers.insert(RELEASE, active.number_header().clone());
    }
    if let Some(script) = script {
        headers.insert(VERSION, script.version_header.clone());
    }
    headers.insert(EXECUTION, HeaderValue::from_str(id).expect("a UUID is a header value"));
}
