//! From path and method to the function that answers; who may ask is decided here.

use contract::{Code, Problem};
use http::request::Parts;
use http::{HeaderValue, Method, Request, header};
use hyper::body::Incoming;

use super::answer::{self, Answer};
use super::{run, status};
use crate::metrics::Counted;
use crate::worker::Worker;

enum Route<'a> {
    Livez,
    Readyz,
    Metrics,
    Release,
    Vms,
    /// With `{tenant}/{script}` as it stands in the path.
    Run(&'a str),
}

impl<'a> Route<'a> {
    fn of(path: &'a str) -> Option<Self> {
        Some(match path {
            "/livez" => Self::Livez,
            "/readyz" => Self::Readyz,
            "/metrics" => Self::Metrics,
            "/v1/release" => Self::Release,
            "/v1/vms" => Self::Vms,
            _ => Self::Run(path.strip_prefix("/v1/run/")?),
        })
    }

    /// Probes carry no token.
    fn is_open(&self) -> bool {
        matches!(self, Self::Livez | Self::Readyz)
    }

    fn allowed(&self) -> &'static str {
        match self {
            Self::Run(_) => "POST",
            _ => "GET, HEAD",
        }
    }

    fn allows(&self, method: &Method) -> bool {
        self.allowed().split(", ").any(|allowed| allowed == method.as_str())
    }
}

/// Answers any request.
pub(crate) async fn answer(worker: &Worker, request: Request<Incoming>) -> Answer {
    let _in_flight = Counted::by(&worker.serving.metrics().in_flight);
    let (parts, body) = request.into_parts();
    let mut answer = dispatch(worker, &parts, body).await;
    if worker.serving.is_draining() {
        // Tells a keep-alive caller to come back on a new connection, which is to another executor.
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

async fn dispatch(worker: &Worker, parts: &Parts, body: Incoming) -> Answer {
    let route = Route::of(parts.uri.path());
    if !route.as_ref().is_some_and(Route::is_open) && !is_known(worker, parts) {
        return unauthenticated(worker);
    }
    let Some(route) = route else {
        let detail = format!("there is nothing at {}", parts.uri.path());
        return refuse(
            worker,
            &Problem::new(Code::NotFound, detail).with_hint("a run is POST /v1/run/{tenant}/{script}"),
        );
    };
    if !route.allows(&parts.method) {
        return not_allowed(worker, &route, parts);
    }
    let serving = &worker.serving;
    let answered = match route {
        Route::Run(names) => return run::run(worker, names, &parts.headers, body).await,
        Route::Livez => Ok(status::livez()),
        Route::Readyz => status::readyz(serving),
        Route::Metrics => Ok(status::metrics(serving)),
        Route::Release => status::release(serving),
        Route::Vms => Ok(status::vms(serving)),
    };
    // A probe that finds us not ready is no refused request.
    answered.unwrap_or_else(|problem| answer::problem(&problem))
}

fn is_known(worker: &Worker, parts: &Parts) -> bool {
    let shown = parts.headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    worker.token.as_ref().is_none_or(|token| token.is_shown_in(shown))
}

fn refuse(worker: &Worker, problem: &Problem) -> Answer {
    worker.serving.metrics().refuse(problem.code);
    answer::problem(problem)
}

fn unauthenticated(worker: &Worker) -> Answer {
    let problem = Problem::new(Code::Unauthenticated, "no token, or not the token of this executor")
        .with_hint("send `authorization: Bearer TOKEN` with the token of --token-file");
    let mut answer = refuse(worker, &problem);
    // RFC 9110 §11.6.1 wants the scheme named.
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

fn not_allowed(worker: &Worker, route: &Route<'_>, parts: &Parts) -> Answer {
    let detail = format!("{} does not go with {}; use {}", parts.method, parts.uri.path(), route.allowed());
    let mut answer = refuse(worker, &Problem::new(Code::MethodNotAllowed, detail));
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(route.allowed()));
    answer
}
