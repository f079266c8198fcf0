//! What a script asks for, checked. Pure.
//!
//! The URL is read as browsers read it (<https://url.spec.whatwg.org>), and what is sent is made from what was read,
//! never from the text: so no form of an address, `127.1` or `0x7f000001` or with a user's name before it, can mean one
//! host here and another one later.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::Value;
use url::{Host, ParseError, Position, Url};

use super::REQUEST_BYTES_MAX;
use super::error::OutboundError;

/// Longest URL, in bytes; common servers take no more.
const URL_BYTES_MAX: usize = 8 << 10;

/// Most headers of a request, and the most bytes of their names and values. Counted before they are kept: a map of
/// headers panics above 32,768.
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 16 << 10;

/// Headers that say where a message ends, whom it is for or what the connection does next: ours to write.
const RESERVED: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

const AGENT: HeaderValue = HeaderValue::from_static(concat!("moonswarm/", env!("CARGO_PKG_VERSION")));

/// A request that can be sent as it is.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) tls: bool,
    pub(super) host: Host<String>,
    pub(super) port: u16,
    /// Host and, where it is not the usual one, port: for the `host` header and for sentences.
    pub(super) authority: String,
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
        let url = url(&payload.url)?;
        let tls = url.scheme() == "https";
        let (Some(host), Some(port)) = (url.host().map(|host| host.to_owned()), url.port_or_known_default()) else {
            return Err(malformed(format!("URL `{url}` has no host")));
        };
        let authority = url[Position::BeforeHost..Position::AfterPort].to_owned();
        let body = body(payload.body, payload.body_base64)?;
        let mut headers = headers(&payload.headers)?;
        let host_value =
            HeaderValue::from_str(&authority).map_err(|_| malformed(format!("URL `{url}` has no host")))?;
        headers.insert(HOST, host_value);
        headers.insert(USER_AGENT, AGENT);
        let request = Request::builder()
            .method(method(payload.method)?)
            .uri(&url[Position::BeforePath..Position::AfterQuery])
            .body(Full::new(Bytes::from(body)));
        let mut request =
            request.map_err(|_| malformed(format!("URL `{url}` has characters that must be percent-encoded")))?;
        *request.headers_mut() = headers;
        Ok(Self { tls, host, port, authority, request, timeout: payload.timeout.map(timeout).transpose()? })
    }

    /// The port that goes with the scheme.
    pub(super) fn usual_port(&self) -> u16 {
        if self.tls { 443 } else { 80 }
    }
}

fn malformed(sentence: impl Into<String>) -> OutboundError {
    OutboundError::Malformed(sentence.into())
}

fn url(text: &str) -> Result<Url, OutboundError> {
    if text.len() > URL_BYTES_MAX {
        return Err(malformed(format!("the URL has {} bytes, {URL_BYTES_MAX} are allowed", text.len())));
    }
    let shown = text.escape_debug();
    // A reader of URLs drops some of these and turns others round; a URL that has them is not what its author meant.
    if text.contains(|c: char| c.is_control() || matches!(c, ' ' | '\\')) {
        return Err(malformed(format!("URL `{shown}` has spaces, backslashes or control characters")));
    }
    let url = Url::parse(text).map_err(|err| match err {
        ParseError::RelativeUrlWithoutBase => {
            malformed(format!("URL `{shown}` begins with neither `http://` nor `https://`"))
        }
        err => malformed(format!("URL `{shown}` can't be read: {err}")),
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(malformed(format!(
            "URL `{shown}` begins with `{}:`; only http and https are spoken",
            url.scheme()
        )));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Not shown: it may be a secret.
        return Err(malformed("the URL has a user name or password in it; use the header `authorization`"));
    }
    if url.port() == Some(0) {
        return Err(malformed(format!("URL `{shown}` has port 0, which nobody answers on")));
    }
    if url.domain().is_some_and(|name| name.ends_with('.')) {
        return Err(malformed(format!("the host of URL `{shown}` ends in a dot; write it without")));
    }
    Ok(url)
}

fn method(name: Option<String>) -> Result<Method, OutboundError> {
    let Some(name) = name else { return Ok(Method::GET) };
    METHODS.into_iter().find(|method| method.as_str().eq_ignore_ascii_case(&name)).ok_or_else(|| {
        let known = METHODS.map(|method| method.to_string()).join(", ");
        malformed(format!("method `{}` is not one of {known}", name.escape_debug()))
    })
}

fn headers(given: &BTreeMap<String, Value>) -> Result<HeaderMap, OutboundError> {
    let (mut headers, mut bytes) = (HeaderMap::new(), 0);
    for (name, value) in given {
        let shown = name.escape_debug();
        let texts: Option<Vec<&str>> = match value {
            Value::String(text) => Some(vec![text]),
            Value::Array(texts) => texts.iter().map(Value::as_str).collect(),
            _ => None,
        };
        let texts = texts.ok_or_else(|| malformed(format!("header `{shown}` must be a text or a list of texts")))?;
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| malformed(format!("`{shown}` is no name of a header (RFC 9110 §5.1)")))?;
        if RESERVED.contains(&name.as_str()) {
            return Err(malformed(format!("header `{name}` can't be set: it is written for you")));
        }
        for text in texts {
            if headers.len() >= HEADERS_MAX {
                return Err(malformed(format!("the request has more than {HEADERS_MAX} headers")));
            }
            let value = HeaderValue::from_str(text).map_err(|_| {
                malformed(format!("header `{name}` has line breaks or characters beyond ASCII in its value"))
            })?;
            bytes += name.as_str().len() + value.len();
            headers.append(&name, value);
        }
    }
    if bytes > HEADER_BYTES_MAX {
        return Err(malformed(format!("the request has {bytes} bytes of headers, {HEADER_BYTES_MAX} are allowed")));
    }
    Ok(headers)
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
        let ask = read(json!({ "url": "https://API.example.com/a b?q=ü#part".replace(' ', "%20") }));

        assert!(ask.tls && ask.port == 443 && ask.timeout.is_none());
        assert_eq!(ask.authority, "api.example.com");
        assert_eq!(ask.request.uri(), "/a%20b?q=%C3%BC");
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
            "headers": { "X-One": "1", "x-many": ["a", "b"] }, "body_base64": "/wA=",
        }));

        assert_eq!((ask.port, ask.authority.as_str()), (8080, "[2001:db8::1]:8080"));
        assert_eq!(ask.timeout, Some(Duration::from_millis(250)));
        assert_eq!(ask.request.uri(), "/");
        assert_eq!(ask.request.headers().get_all("x-many").iter().count(), 2);
        assert_eq!(ask.request.headers()["host"], "[2001:db8::1]:8080");
    }

    #[test]
    fn an_address_in_disguise_is_read_as_the_address_it_is() {
        for disguised in
            ["127.1", "0x7f000001", "2130706433", "0177.0.0.1", "127.0.0.1.", "%31%32%37.0.0.1", "①②⑦.0.0.1"]
        {
            let ask = read(json!({ "url": format!("http://{disguised}/") }));
            assert_eq!(ask.host, Host::<String>::Ipv4([127, 0, 0, 1].into()), "{disguised}");
            assert_eq!(ask.authority, "127.0.0.1", "{disguised}");
        }
        let mapped = read(json!({ "url": "http://[::ffff:127.0.0.1]/" }));
        assert_eq!(mapped.host, Host::<String>::Ipv6("::ffff:7f00:1".parse().unwrap()));
    }

    #[test]
    fn what_stands_before_an_at_sign_is_never_the_host() {
        assert_eq!(
            refused(json!({ "url": "http://allowed@evil/" })),
            "the URL has a user name or password in it; use the header `authorization`"
        );
        assert_eq!(read(json!({ "url": "http://@evil/" })).authority, "evil");
        assert_eq!(read(json!({ "url": "http://allowed/@evil" })).authority, "allowed");
        assert_eq!(read(json!({ "url": "http://allowed?@evil" })).authority, "allowed");
        assert_eq!(read(json!({ "url": "http://allowed#@evil" })).authority, "allowed");
    }

    #[test]
    fn urls_that_are_not_what_they_seem_are_refused() {
        let refusals = [
            "",
            "api.example.com",
            "ftp://a.example/",
            "file:///etc/passwd",
            "http://",
            "http://a.example:0/",
            "http://a.example:99999/",
            "http://a.example./",
            "http://a.example\\@evil/",
            "http://a\r\n.example/",
            "http://a.example/ HTTP/1.1",
            "http://xn--/",
            "http://[::1",
            "http://1.2.3.4.5/",
            "http://a b/",
        ]
        .map(|url| refused(json!({ "url": url })));

        insta::assert_snapshot!(refusals.join("\n"), @r"
        URL `` begins with neither `http://` nor `https://`
        URL `api.example.com` begins with neither `http://` nor `https://`
        URL `ftp://a.example/` begins with `ftp:`; only http and https are spoken
        URL `file:///etc/passwd` begins with `file:`; only http and https are spoken
        URL `http://` can't be read: empty host
        URL `http://a.example:0/` has port 0, which nobody answers on
        URL `http://a.example:99999/` can't be read: invalid port number
        the host of URL `http://a.example./` ends in a dot; write it without
        URL `http://a.example\\@evil/` has spaces, backslashes or control characters
        URL `http://a\r\n.example/` has spaces, backslashes or control characters
        URL `http://a.example/ HTTP/1.1` has spaces, backslashes or control characters
        URL `http://xn--/` can't be read: invalid international domain name
        URL `http://[::1` can't be read: invalid IPv6 address
        URL `http://1.2.3.4.5/` can't be read: invalid IPv4 address
        URL `http://a b/` has spaces, backslashes or control characters
        ");
        assert!(
            refused(json!({ "url": format!("http://a.example/{}", "x".repeat(9000)) })).contains("8192 are allowed")
        );
    }

    /// Texts that are nearly URLs, from a generator that makes the same ones each time (xorshift, Marsaglia 2003).
    fn mutated() -> impl Iterator<Item = String> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below as u64).unwrap()
        };
        let pieces = [
            "http://", "https:", "//", "/", "\\", "@", ":", "#", "?", "%", "%0d%0a", "\r\n", "\t", " ", ".", "..", "[",
            "]", "::1", "::ffff:", "127.1", "0x7f", "allowed", "evil", "\u{ff0e}", "\u{2044}", "ß", "\u{0}", "80", "&",
            "x",
        ];
        (0..50_000).map(move |_| {
            let count = 1 + random(8);
            let tail: String = (0..count).map(|_| pieces[random(pieces.len())]).collect();
            if random(4) == 0 { tail } else { format!("http://{tail}") }
        })
    }

    #[test]
    fn what_is_sent_is_one_request_to_the_host_that_was_read_whatever_the_url() {
        let mut taken = 0;
        for url in mutated() {
            let Ok(ask) = Ask::read(json!({ "url": url }).to_string().as_bytes()) else { continue };
            taken += 1;
            let target = ask.request.uri().to_string();
            assert!(
                target.starts_with('/') && target.bytes().all(|c| c.is_ascii_graphic() && c != b'#'),
                "{url:?}: {target}"
            );
            let again = Url::parse(&format!("http://{}/", ask.authority)).expect("an authority is one");
            assert_eq!(again.host().map(|host| host.to_owned()), Some(ask.host), "{url:?}");
            assert_eq!(ask.request.headers()["host"], ask.authority.as_str(), "{url:?}");
            assert!(!ask.authority.contains(['@', '/', '\\', '?', '#', '%']), "{url:?}");
        }
        assert!(taken > 1000, "only {taken} URLs were taken: the generator tests nothing");
    }

    #[test]
    fn headers_can_neither_frame_nor_redirect_nor_break_out() {
        for name in RESERVED {
            let said = refused(json!({ "url": "http://a.example", "headers": { name.to_uppercase(): "x" } }));
            assert_eq!(said, format!("header `{name}` can't be set: it is written for you"));
        }
        let refusals = [
            json!({ "x": "a\r\ncontent-length: 0" }),
            json!({ "x": "a\nb" }),
            json!({ "x": "a\u{0}b" }),
            json!({ "x\r\ny": "a" }),
            json!({ "x y": "a" }),
            json!({ "x:": "a" }),
            json!({ "": "a" }),
            json!({ "x": 5 }),
            json!({ "x": ["a", 5] }),
            json!({ "x": "a".repeat(20_000) }),
            (0..65).map(|index| (format!("x{index}"), json!("a"))).collect(),
        ]
        .map(|headers: Value| refused(json!({ "url": "http://a.example", "headers": headers })));

        insta::assert_snapshot!(refusals.join("\n"), @r"
        header `x` has line breaks or characters beyond ASCII in its value
        header `x` has line breaks or characters beyond ASCII in its value
        header `x` has line breaks or characters beyond ASCII in its value
        `x\r\ny` is no name of a header (RFC 9110 §5.1)
        `x y` is no name of a header (RFC 9110 §5.1)
        `x:` is no name of a header (RFC 9110 §5.1)
        `` is no name of a header (RFC 9110 §5.1)
        header `x` must be a text or a list of texts
        header `x` must be a text or a list of texts
        the request has 20001 bytes of headers, 16384 are allowed
        the request has more than 64 headers
        ");
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
