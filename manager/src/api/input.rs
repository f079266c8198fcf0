//! What requests say, checked: names, headers, query, body. Each fault is told in the caller's words.

use std::str::FromStr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Query;
use axum::http::header::{CONTENT_LENGTH, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, Uri};
use bytes::Bytes;
use contract::api::{Activation, ChangeQuery, HEADER_AUTHOR};
use contract::ids::NameError;
use contract::{Code, Problem};

use super::BODY_DEADLINE;
use super::error::{ApiError, bad_request};
use crate::change::Condition;

const WAIT_MAX: Duration = Duration::from_secs(600);
const AUTHOR_BYTES_MAX: usize = 128;

/// A name in the path.
pub(super) fn name<T: FromStr<Err = NameError>>(text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|err: NameError| bad_request(err.to_string()))
}

/// How a change is to be activated, and waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Activate {
    pub(super) wait: Option<Duration>,
    pub(super) activation: Activation,
}

/// The query of a call that changes something.
pub(super) fn activate(uri: &Uri) -> Result<Activate, ApiError> {
    let query: ChangeQuery = query(uri)?;
    let wait = match query.wait {
        None => None,
        Some(text) => {
            let wait = humantime::parse_duration(&text).map_err(|_| {
                bad_request(format!("`wait={}` is no duration; use for example `wait=10s`", text.escape_debug()))
            })?;
            if wait > WAIT_MAX {
                return Err(bad_request(format!("`wait={text}` is longer than 10 minutes")));
            }
            Some(wait)
        }
    };
    Ok(Activate { wait, activation: query.activation.unwrap_or_default() })
}

/// The query as `T`.
pub(super) fn query<T: for<'de> serde::Deserialize<'de>>(uri: &Uri) -> Result<T, ApiError> {
    let Query(query) = Query::try_from_uri(uri).map_err(|err| bad_request(err.body_text()))?;
    Ok(query)
}

/// For what state of the script the change is meant.
pub(super) fn condition(headers: &HeaderMap) -> Result<Condition, ApiError> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?").trim());
    match (text(IF_MATCH), text(IF_NONE_MATCH)) {
        (None, None) => Ok(Condition::Observed),
        (Some(_), Some(_)) => Err(bad_request("`If-Match` and `If-None-Match` can't be used together")),
        (None, Some("*")) => Ok(Condition::Absent),
        (None, Some(other)) => {
            Err(bad_request(format!("`If-None-Match: {}` is not supported, only `*`", other.escape_debug())))
        }
        (Some("*"), None) => Ok(Condition::Present),
        (Some(tag), None) => {
            let bare = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag);
            let generation = bare.parse().ok().filter(|generation| *generation > 0);
            generation.map(Condition::Generation).ok_or_else(|| {
                bad_request(format!(
                    "`If-Match: {}` is no generation; use the number that the script has",
                    tag.escape_debug()
                ))
            })
        }
    }
}

/// Who asks, as far as told.
pub(super) fn author(headers: &HeaderMap) -> Result<String, ApiError> {
    let Some(value) = headers.get(HEADER_AUTHOR) else { return Ok("api".to_owned()) };
    let text = std::str::from_utf8(value.as_bytes()).unwrap_or("").trim();
    if text.is_empty() || text.len() > AUTHOR_BYTES_MAX || text.chars().any(char::is_control) {
        let detail =
            format!("`{HEADER_AUTHOR}` must be 1 to {AUTHOR_BYTES_MAX} bytes of UTF-8 text without control characters");
        return Err(bad_request(detail));
    }
    Ok(text.to_owned())
}

/// The body, if it has at most `bytes_max` bytes; `what` names it.
pub(super) async fn body(headers: &HeaderMap, body: Body, bytes_max: usize, what: &str) -> Result<Bytes, ApiError> {
    let too_large = |bytes: Option<u64>| {
        let has =
            bytes.map_or_else(|| format!("has more than {bytes_max} bytes"), |bytes| format!("has {bytes} bytes"));
        ApiError::from(Problem::new(Code::TooLarge, format!("{what} {has}, the most allowed is {bytes_max}")))
    };
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > bytes_max as u64) {
        return Err(too_large(announced));
    }
    match tokio::time::timeout(BODY_DEADLINE, axum::body::to_bytes(body, bytes_max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(err)) if is_limit(&err) => Err(too_large(None)),
        Ok(Err(_)) => Err(bad_request(format!("{what} broke off"))),
        Err(_) => Err(bad_request(format!("{what} did not arrive within {} s", BODY_DEADLINE.as_secs()))),
    }
}

fn is_limit(err: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(err);
    while let Some(err) = cause {
        if err.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = err.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn preconditions_are_read_with_and_without_quotes() {
        assert_eq!(condition(&headers(&[])).unwrap(), Condition::Observed);
        assert_eq!(condition(&headers(&[("if-match", "\"17\"")])).unwrap(), Condition::Generation(17));
        assert_eq!(condition(&headers(&[("if-match", "17")])).unwrap(), Condition::Generation(17));
        assert_eq!(condition(&headers(&[("if-match", "*")])).unwrap(), Condition::Present);
        assert_eq!(condition(&headers(&[("if-none-match", "*")])).unwrap(), Condition::Absent);
    }

    #[test]
    fn preconditions_that_are_none_are_refused() {
        for odd in [
            &[("if-match", "x")][..],
            &[("if-match", "0")],
            &[("if-none-match", "17")],
            &[("if-match", "1"), ("if-none-match", "*")],
        ] {
            assert!(condition(&headers(odd)).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn a_wait_is_a_duration_of_at_most_ten_minutes() {
        assert_eq!(activate(&"/x?wait=500ms".parse().unwrap()).unwrap().wait, Some(Duration::from_millis(500)));
        assert_eq!(activate(&"/x".parse().unwrap()).unwrap().wait, None);
        for odd in ["/x?wait=soon", "/x?wait=11m", "/x?activation=magic"] {
            assert!(activate(&odd.parse().unwrap()).is_err(), "{odd}");
        }
    }

    #[test]
    fn an_author_is_a_short_line() {
        assert_eq!(author(&headers(&[])).unwrap(), "api");
        assert_eq!(author(&headers(&[("x-moonswarm-author", " ada ")])).unwrap(), "ada");
        assert!(author(&headers(&[("x-moonswarm-author", "")])).is_err());
    }
}
