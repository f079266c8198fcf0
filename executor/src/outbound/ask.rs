//! What a script asks for, checked. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::Value;

use super::error::{OutboundError, malformed};
use super::location::Location;
use super::{REQUEST_BYTES_MAX, headers};

const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

const AGENT: HeaderValue = HeaderValue::from_static(concat!("moonswarm/", env!("CARGO_PKG_VERSION")));

/// A request that can be sent as it is.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) at: Location,
    pub(super) request: Request<Full<Bytes>>,
    pub(super) timeout: Option<Duration>,
}

/// The JSON of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    url: String,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, Value>,
    body: Option<String>,
    body_base64: Option<String>,
    timeout: Option<f64>,
}

impl Ask {
    pub(super) fn read(payload: &[u8]) -> Result<Self, OutboundError> {
        let payload: Payload = serde_json::from_slice(payload).map_err(|err| {
            let said = err.to_string();
            // Lines and columns of JSON that no person wrote.
            malformed(format!("the request can't be read: {}", said.split(" at line").next().unwrap_or(&said)))
        })?;
        let at = Location::read(&payload.url)?;
        let unsendable = |_| malformed(format!("URL `{}` has characters that can't be sent", at.target));
        let request = Request::builder()
            .method(method(payload.method)?)
            .uri(&at.target)
            .header(HOST, &at.authority)
            .header(USER_AGENT, AGENT)
            .body(Full::new(Bytes::from(body(payload.body, payload.body_base64)?)));
        let mut request = request.map_err(unsendable)?;
        request.headers_mut().extend(headers::read(&payload.headers)?);
        Ok(Self { at, request, timeout: payload.timeout.map(timeout).transpose()? })
    }
}

fn method(name: Option<String>) -> Result<Method, OutboundError> {
    let Some(name) = name else { return Ok(Method::GET) };
    METHODS.into_iter().find(|method| method.as_str().eq_ignore_ascii_case(&name)).ok_or_else(|| {
        let known = METHODS.map(|method| method.to_string()).join(", ");
        malformed(format!("method `{}` is not one of {known}", name.escape_debug()))
    })
}

fn body(text: Option<String>, base64: Option<String>) -> Result<Vec<u8>, OutboundError> {
    let bytes = match (text, base64) {
        (Some(_), Some(_)) => return Err(malformed("give `body` or `body_base64`, not both")),
        (Some(text), None) => text.into_bytes(),
        (None, Some(base64)) => BASE64
            .decode(base64.as_bytes())
            .map_err(|err| malformed(format!("`body_base64` is not base64 (RFC 4648 §4): {err}")))?,
        (None, None) => Vec::new(),
    };
    if bytes.len() > REQUEST_BYTES_MAX {
        return Err(OutboundError::RequestTooLarge { bytes: bytes.len() });
    }
    Ok(bytes)
}

fn timeout(seconds: f64) -> Result<Duration, OutboundError> {
    let timeout = Duration::try_from_secs_f64(seconds).ok().filter(|timeout| !timeout.is_zero());
    timeout.ok_or_else(|| malformed(format!("timeout `{seconds}` is no time above zero, in seconds")))
}

#[cfg(test)]
mod tests {
    use hyper::body::Body;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn read(payload: Value) -> Ask {
        Ask::read(payload.to_string().as_bytes()).expect("the request should be taken")
    }

    #[track_caller]
    fn refused(payload: Value) -> String {
        Ask::read(payload.to_string().as_bytes()).expect_err("the request should be refused").to_string()
    }

    #[test]
    fn a_url_alone_is_a_get() {
        let ask = read(json!({ "url": "https://API.example.com/a?b=c#d" }));

        assert_eq!(ask.request.uri(), "/a?b=c");
        assert_eq!(ask.timeout, None);
        insta::assert_debug_snapshot!((ask.request.method(), ask.request.headers()), @r#"
        (
            GET,
            {
                "host": "api.example.com",
                "user-agent": "moonswarm/0.1.0",
            },
        )
        "#);
    }

    #[test]
    fn everything_can_be_said() {
        let ask = read(json!({
            "url": "http://[2001:db8::1]:8080", "method": "post", "timeout": 0.25,
            "headers": { "X-One": "1" }, "body_base64": "/wA=",
        }));

        assert_eq!((ask.request.method(), ask.timeout), (&Method::POST, Some(Duration::from_millis(250))));
        assert_eq!(ask.request.headers()["host"], "[2001:db8::1]:8080");
        assert_eq!(ask.request.headers()["x-one"], "1");
        assert_eq!(ask.request.body().size_hint().exact(), Some(2));
    }

    #[test]
    fn the_rest_is_checked_as_well() {
        let with = |name: &str, value: Value| {
            let mut payload = json!({ "url": "http://a.example" });
            payload[name] = value;
            refused(payload)
        };
        let refusals = [
            with("method", json!("CONNECT")),
            with("method", json!("GET / HTTP/1.1\r\n")),
            with("timeout", json!(0)),
            with("timeout", json!(-1)),
            with("timeout", json!("1s")),
            with("body", json!(5)),
            with("body", json!("x".repeat(REQUEST_BYTES_MAX + 1))),
            with("body_base64", json!("%")),
            with("redirect", json!(true)),
            refused(json!({ "url": "http://a.example", "body": "a", "body_base64": "aa==" })),
            refused(json!([])),
        ];

        insta::assert_snapshot!(refusals.join("\n"), @r#"
        method `CONNECT` is not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS
        method `GET / HTTP/1.1\r\n` is not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS
        timeout `0` is no time above zero, in seconds
        timeout `-1` is no time above zero, in seconds
        the request can't be read: invalid type: string "1s", expected f64
        the request can't be read: invalid type: integer `5`, expected a string
        the request's body has 262145 bytes, 262144 are allowed
        `body_base64` is not base64 (RFC 4648 §4): invalid length at 0
        the request can't be read: unknown field `redirect`, expected one of `url`, `method`, `headers`, `body`, `body_base64`, `timeout`
        give `body` or `body_base64`, not both
        the request can't be read: invalid length 0, expected struct Payload with 6 elements
        "#);
        read(json!({ "url": "http://a.example", "body": "x".repeat(REQUEST_BYTES_MAX) }));
    }
}
