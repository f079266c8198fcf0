//! The headers of a request: what a script may say, and what only we say. Pure.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::error::{OutboundError, malformed};

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

/// The headers of a request, without ours.
pub(super) fn read(given: &BTreeMap<String, Value>) -> Result<HeaderMap, OutboundError> {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn refused(headers: Value) -> String {
        let headers = serde_json::from_value(headers).unwrap();
        read(&headers).expect_err("the headers should be refused").to_string()
    }

    #[test]
    fn a_name_may_have_several_values() {
        let headers = json!({ "X-One": "1", "x-many": ["a", "b"], "x-one": "2" });
        let headers = read(&serde_json::from_value(headers).unwrap()).unwrap();

        assert_eq!(headers.get_all("x-many").iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(headers.get_all("x-one").iter().count(), 2);
    }

    #[test]
    fn headers_can_neither_frame_nor_redirect_nor_break_out() {
        for name in RESERVED {
            let said = refused(json!({ name.to_uppercase(): "x" }));
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
        .map(refused);

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
}
