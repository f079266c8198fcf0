//! Answers and how they are made; errors are RFC 9457 problems.

use bytes::Bytes;
use contract::{Problem, problem};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

/// What every request gets.
pub(crate) type Answer = Response<Full<Bytes>>;

/// Why a request is not answered as it hoped; boxed, because a problem is large and rare.
pub(crate) type Refused = Box<Problem>;

/// Media type of results.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// 200 with a body.
pub(crate) fn ok(media_type: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    answer.headers_mut().insert(header::CONTENT_TYPE, media_type);
    answer
}

/// A problem with its own status.
pub(crate) fn problem(problem: &Problem) -> Answer {
    let body = serde_json::to_vec(problem).expect("a struct of strings and numbers is always JSON");
    let mut answer = ok(HeaderValue::from_static(problem::MEDIA_TYPE), body);
    *answer.status_mut() = StatusCode::from_u16(problem.status).expect("statuses of problems are from 400 to 599");
    answer
}
