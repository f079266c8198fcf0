//! `POST /v1/events/{tenant}/{event}`: JSON in, what became of it in every script that wants the event as JSON out.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use contract::api::HEADER_RELEASE;
use contract::ids::EventName;
use contract::{Code, Problem, ScriptName, Version};
use futures_util::future::join_all;
use http::request::Parts;
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::answer::{self, Answer, JSON, Refused};
use super::names::Names;
use super::{body, later, run};
use crate::release::{sent, wanting};
use crate::strategy::{Entry, Job, Outcome};
use crate::worker::Worker;

/// Answer to an event.
#[derive(Serialize)]
struct Answered {
    event: EventName,
    release: u64,
    execution_id: String,
    /// By script; empty if none wants the event.
    outcomes: BTreeMap<ScriptName, Told>,
}

/// What became of the event in one script.
#[derive(Serialize)]
struct Told {
    version: Version,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

/// Answers an event whose path ends in `names`.
pub(crate) async fn event(worker: &Rc<Worker>, names: &str, parts: &Parts, body: Incoming) -> Answer {
    let id = worker.execution_id();
    let input = body::read(body, &parts.headers, worker.input_bytes_max()).await;
    let begun = input.and_then(|input| Ok((begin(worker, id, names, input)?, later::wait_of(&parts.uri)?)));
    match begun {
        Ok((Begun { event, release, jobs, cancel, wait_max }, wait)) => {
            let wait = wait.min(wait_max);
            let running = fan_out(Rc::clone(worker), id, event, release, jobs);
            later::answer(worker, id, cancel, wait, running).await
        }
        Err(mut refusal) => {
            worker.serving.metrics().refuse(refusal.code);
            refusal.request_id = id.hyphenated().to_string();
            answer::problem(&refusal)
        }
    }
}

struct Begun {
    event: EventName,
    release: u64,
    jobs: Vec<Job>,
    cancel: CancellationToken,
    wait_max: Duration,
}

fn begin(worker: &Worker, id: Uuid, names: &str, input: Bytes) -> Result<Begun, Refused> {
    let active = worker.serving.active();
    let active = active.as_deref().ok_or_else(run::not_ready)?;
    let Names { tenant, script: event } = Names::decode(names)?;
    let event = sent(&event)?;
    let Some(siblings) = active.tenant(&tenant) else {
        return Err(active.unknown_tenant(&tenant).into());
    };
    let cancel = CancellationToken::new();
    let jobs = wanting(siblings, &event).into_iter().map(|script| Job {
        script: script.clone(),
        entry: Entry::Event(event.clone()),
        id,
        input: input.clone(),
        siblings: siblings.clone(),
        layers: active.layers(script),
        ticket: None,
        cancel: cancel.clone(),
        drill: None,
    });
    let wait_max = siblings.terms.wait;
    Ok(Begun { jobs: jobs.collect(), release: active.number(), event, cancel, wait_max })
}

async fn fan_out(worker: Rc<Worker>, id: Uuid, event: EventName, release: u64, jobs: Vec<Job>) -> Answer {
    let outcomes = join_all(jobs.into_iter().map(|job| {
        let (name, version, worker) = (job.script.name.clone(), job.script.version.clone(), &worker);
        async move { (name, told(version, worker.execute(job).await)) }
    }));
    let outcomes = outcomes.await.into_iter().collect();
    let answered = Answered { event, release, execution_id: id.hyphenated().to_string(), outcomes };
    let body = serde_json::to_vec(&answered).expect("a struct of strings, numbers and JSON is always JSON");
    let mut answer = answer::ok(JSON, body);
    answer.headers_mut().insert(HEADER_RELEASE, release.into());
    answer
}

fn told(version: Version, outcome: Outcome) -> Told {
    match outcome.result.map(|json| serde_json::from_slice(&json)) {
        Ok(Ok(result)) => Told { version, result: Some(result), problem: None },
        Ok(Err(err)) => {
            let problem = Problem::new(Code::Internal, format!("the result was no JSON: {err}"));
            Told { version, result: None, problem: Some(problem) }
        }
        Err(fault) => {
            let problem = Problem::new(fault.code, fault.detail).with_diagnostics(fault.diagnostics);
            Told { version, result: None, problem: Some(problem) }
        }
    }
}
