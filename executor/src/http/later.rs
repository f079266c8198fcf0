//! Executions that take longer than their caller waits: the caller gets 202 and an address, and comes back.

use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use contract::{Code, Problem};
use futures_util::poll;
use http::{HeaderValue, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::answer::{self, Answer, JSON, Refused};
use crate::executions::{Found, Kept};
use crate::worker::Worker;

/// How long a caller waits at most, and if it does not say how long.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Body of an answer to who came too early.
#[derive(Serialize)]
struct State<'a> {
    execution_id: &'a str,
    state: &'static str,
}

/// `?wait=` of a request: how long to wait for the answer.
///
/// # Errors
/// `bad_request`.
pub(crate) fn wait_of(uri: &Uri) -> Result<Duration, Refused> {
    let query = uri.query().unwrap_or_default();
    let Some(text) = query.split('&').find_map(|pair| pair.strip_prefix("wait=")) else { return Ok(WAIT_MAX) };
    let wait = if text == "0" { Ok(Duration::ZERO) } else { humantime::parse_duration(text) };
    match wait {
        Ok(wait) if wait <= WAIT_MAX => Ok(wait),
        _ => {
            let detail = format!("`wait` is `{}`", text.escape_debug());
            Err(Problem::new(Code::BadRequest, detail).with_hint("give a time of at most 60s, such as wait=5s").into())
        }
    }
}

/// The answer of `execution`, or where to ask for it after `wait`. An execution that has begun goes on to its end also
/// if its caller hangs up.
pub(crate) async fn answer(
    worker: &Rc<Worker>,
    id: Uuid,
    cancel: CancellationToken,
    wait: Duration,
    execution: impl Future<Output = Answer> + 'static,
) -> Answer {
    let mut execution = Box::pin(execution);
    // Most end without ever waiting; nothing is spawned for them.
    if let Poll::Ready(answer) = poll!(&mut execution) {
        return answer;
    }
    let mut running = worker.spawn(execution);
    match timeout(wait, &mut running).await {
        Ok(ended) => ended.unwrap_or_else(|_| broke_off(id)),
        Err(_) => send_away(worker, id, cancel, running).await,
    }
}

async fn send_away(worker: &Rc<Worker>, id: Uuid, cancel: CancellationToken, running: JoinHandle<Answer>) -> Answer {
    let Some(ticket) = worker.executions.begin(id, cancel) else {
        // Too many are away; this one is kept waiting.
        return running.await.unwrap_or_else(|_| broke_off(id));
    };
    worker.spawn(async move {
        ticket.end(whole(running.await.unwrap_or_else(|_| broke_off(id))).await);
    });
    goes_on(id)
}

/// Answers `GET /v1/executions/{id}`: what the caller would have got, or that it goes on.
///
/// # Errors
/// `bad_request`, `unknown_execution`.
pub(crate) async fn fetch(worker: &Worker, id: &str, uri: &Uri) -> Result<Answer, Refused> {
    let (id, wait) = (id_of(id)?, if uri.query().is_some() { wait_of(uri)? } else { Duration::ZERO });
    match worker.executions.find(id, wait).await {
        None => Err(unknown(id)),
        Some(Found::Running) => Ok(goes_on(id)),
        Some(Found::Ended(kept)) => {
            let mut answer = Answer::new(Full::new(kept.body().clone()));
            *answer.status_mut() = kept.status();
            *answer.headers_mut() = kept.headers().clone();
            Ok(answer)
        }
    }
}

/// Answers `DELETE /v1/executions/{id}`: it ends when it waits next.
///
/// # Errors
/// `bad_request`, `unknown_execution`.
pub(crate) fn cancel(worker: &Worker, id: &str) -> Result<Answer, Refused> {
    let id = id_of(id)?;
    if !worker.executions.cancel(id) {
        return Err(unknown(id));
    }
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::NO_CONTENT;
    Ok(answer)
}

fn id_of(text: &str) -> Result<Uuid, Refused> {
    Uuid::parse_str(text).map_err(|_| {
        let detail = format!("`{}` is no id of an execution", text.escape_debug());
        Problem::new(Code::BadRequest, detail).with_hint("it is the one in `x-moonswarm-execution-id`").into()
    })
}

fn unknown(id: Uuid) -> Refused {
    Problem::new(Code::UnknownExecution, format!("this executor knows no execution `{id}`"))
        .with_hint("ask the executor that answered 202; answers are kept for ten minutes")
        .into()
}

fn goes_on(id: Uuid) -> Answer {
    let id = id.hyphenated().to_string();
    let body = serde_json::to_vec(&State { execution_id: &id, state: "running" });
    let mut answer = answer::ok(JSON, body.expect("a struct of strings is always JSON"));
    *answer.status_mut() = StatusCode::ACCEPTED;
    let location = HeaderValue::try_from(format!("/v1/executions/{id}")).expect("a UUID is a header value");
    answer.headers_mut().insert(header::LOCATION, location);
    answer
}

/// Its task panicked, which was logged there.
fn broke_off(id: Uuid) -> Answer {
    let mut problem = Problem::new(Code::Internal, "the execution broke off; the executor's log tells more");
    problem.request_id = id.hyphenated().to_string();
    answer::problem(&problem)
}

async fn whole(answer: Answer) -> Kept {
    let (parts, body) = answer.into_parts();
    let Ok(body) = body.collect().await;
    Kept::from_parts(parts, body.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_a_time_of_at_most_a_minute() {
        let wait = |uri: &'static str| wait_of(&Uri::from_static(uri)).map_err(|problem| problem.detail);

        assert_eq!(wait("/x"), Ok(WAIT_MAX));
        assert_eq!(wait("/x?wait=0"), Ok(Duration::ZERO));
        assert_eq!(wait("/x?a=b&wait=250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(wait("/x?wait=61s"), Err("`wait` is `61s`".to_owned()));
        assert_eq!(wait("/x?wait=soon"), Err("`wait` is `soon`".to_owned()));
    }
}
