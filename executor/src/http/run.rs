//! `POST /v1/run/{tenant}/{script}`: JSON in, the script's result as JSON out.

use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;

use contract::api::{HEADER_EXECUTION, HEADER_RELEASE, HEADER_VERSION};
use contract::{Code, Problem};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use hyper::body::Incoming;
use sandbox::Fault;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::answer::{self, Answer, JSON, Refused};
use super::names::Names;
use super::{body, later};
use crate::release::{Script, Terms};
use crate::strategy::{Drill, Entry, Job, Outcome};
use crate::worker::Worker;

/// Asks for a [`Drill`].
const HEADER_DRILL: &str = "x-moonswarm-drill";

/// Seconds after which a tenant that had too much under way may come back: a queue of executions at their CPU limits takes
/// about as many to end.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Answers a run whose path ends in `names`.
pub(crate) async fn run(worker: &Rc<Worker>, names: &str, parts: &Parts, body: Incoming) -> Answer {
    let id = worker.execution_id();
    let input = body::read(body, &parts.headers, worker.input_bytes_max()).await;

    // The one look at the release: lookup, execution and headers are of the same one, whatever is activated meanwhile.
    let active = worker.serving.active();
    let marks = Marks { release: active.as_deref().map(|active| active.number_header().clone()), id };
    let found = match active.as_deref() {
        Some(active) => input.and_then(|input| {
            let (drill, wait) = (drill(worker, &parts.headers)?, later::wait_of(&parts.uri)?);
            let names = Names::decode(names)?;
            let script = Arc::clone(names.find(active)?);
            let siblings = active.tenant(&names.tenant).cloned().unwrap_or_default();
            let wait = wait.min(siblings.terms.wait);
            let cancel = CancellationToken::new();
            let layers = active.layers(&script);
            let ticket = None;
            Ok((Job { script, entry: Entry::Handle, id, input, siblings, layers, ticket, cancel, drill }, wait))
        }),
        None => Err(not_ready()),
    };
    drop(active);
    match found {
        Ok((job, wait)) => {
            let (cancel, execution) = (job.cancel.clone(), execute(Rc::clone(worker), job, marks));
            later::answer(worker, id, cancel, wait, execution).await
        }
        Err(mut refusal) => {
            worker.serving.metrics().refuse(refusal.code);
            refusal.request_id = id.hyphenated().to_string();
            let mut answer = answer::problem(&refusal);
            marks.put(answer.headers_mut(), None);
            answer
        }
    }
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

async fn execute(worker: Rc<Worker>, job: Job, marks: Marks) -> Answer {
    let (script, siblings) = (Arc::clone(&job.script), Arc::clone(&job.siblings));
    let Outcome { result, retry_after, .. } = worker.execute(job).await;
    let mut answer = match result {
        Ok(result) => answer::ok(JSON, result),
        Err(fault) => {
            let mut answer = answer::problem(&problem(fault, marks.id, &siblings.terms, &script));
            if answer.status() == StatusCode::TOO_MANY_REQUESTS {
                let after = retry_after.map_or(RETRY_AFTER, |after| HeaderValue::from(after.as_secs()));
                answer.headers_mut().insert(header::RETRY_AFTER, after);
            }
            answer
        }
    };
    marks.put(answer.headers_mut(), Some(script.version_header.clone()));
    answer
}

fn problem(fault: Fault, id: Uuid, terms: &Terms, script: &Script) -> Problem {
    let mut problem = Problem::new(fault.code, fault.detail).with_diagnostics(fault.diagnostics);
    problem.hint = hint(fault.code, terms, script);
    problem.request_id = id.hyphenated().to_string();
    problem
}

/// What to do next. Limits are told with who set them.
fn hint(code: Code, terms: &Terms, script: &Script) -> Option<String> {
    let mut hint = String::new();
    let effective = || terms.of_script(script);
    match code {
        Code::DeadlineExceeded => write!(
            hint,
            "an execution may take {} of CPU time and {} in all; do less work per call, or split the input",
            effective().cpu,
            effective().wall
        ),
        Code::MemoryExceeded => {
            write!(hint, "a tenant's VM may hold {}; build less at once, or split the input", effective().memory)
        }
        Code::OutputExceeded => write!(
            hint,
            "a result may have {}, {} values and {} levels; return less",
            effective().output,
            terms.limits.output_nodes,
            terms.limits.depth
        ),
        Code::ResultInvalid => write!(hint, "return tables, strings, finite numbers, booleans or nil"),
        Code::TooLarge => {
            write!(hint, "an input may have {}; send less, or split it over several calls", effective().input)
        }
        Code::BadJson => write!(hint, "send JSON (RFC 8259), or no body at all for `null`"),
        Code::MiddlewareFailed => {
            write!(hint, "calls are refused as long as it fails; mend it, or take it back with `moonswarm rollback`")
        }
        Code::Overloaded => write!(hint, "send less at once, and again after the time in `retry-after`"),
        Code::Internal => write!(hint, "the executor's log tells more under this request id"),
        _ => return None,
    }
    .expect("writing to a string can't fail");
    Some(hint)
}

/// What every answer to a run says about itself.
struct Marks {
    release: Option<HeaderValue>,
    id: Uuid,
}

impl Marks {
    fn put(&self, headers: &mut HeaderMap, version: Option<HeaderValue>) {
        const RELEASE: HeaderName = HeaderName::from_static(HEADER_RELEASE);
        const VERSION: HeaderName = HeaderName::from_static(HEADER_VERSION);
        const EXECUTION: HeaderName = HeaderName::from_static(HEADER_EXECUTION);
        let mut buffer = [0; Hyphenated::LENGTH];
        let id = self.id.hyphenated().encode_lower(&mut buffer);
        headers.insert(EXECUTION, HeaderValue::from_str(id).expect("a UUID is a header value"));
        if let Some(release) = &self.release {
            headers.insert(RELEASE, release.clone());
        }
        if let Some(version) = version {
            headers.insert(VERSION, version);
        }
    }
}
