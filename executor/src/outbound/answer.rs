//! A response as JSON for the script. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use data_encoding::BASE64;
use http::Response;
use http::header::SET_COOKIE;
use serde::Serialize;

#[derive(Serialize)]
struct Answer<'a> {
    status: u16,
    headers: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

pub(super) fn write(response: &Response<Bytes>) -> Vec<u8> {
    let mut headers = BTreeMap::<&str, String>::new();
    for (name, value) in response.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        // Commas join what a list may be split over (RFC 9110 §5.3); in a cookie they mean something, a line feed can't be.
        let between = if name == SET_COOKIE { "\n" } else { ", " };
        let joined = headers.entry(name.as_str()).and_modify(|joined| joined.push_str(between)).or_default();
        joined.push_str(&value);
    }
    let body = std::str::from_utf8(response.body()).ok();
    let body_base64 = body.is_none().then(|| BASE64.encode(response.body()));
    let answer = Answer { status: response.status().as_u16(), headers, body, body_base64 };
    serde_json::to_vec(&answer).expect("texts and numbers can be written as JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn written(response: http::response::Builder, body: &'static [u8]) -> String {
        String::from_utf8(write(&response.body(Bytes::from_static(body)).unwrap())).unwrap()
    }

    #[test]
    fn headers_of_one_name_are_one_value() {
        let response = Response::builder().status(302).header("Vary", "a").header("vary", "b");
        let response = response.header("set-cookie", "a=1, b").header("set-cookie", "c=2");

        assert_eq!(
            written(response, b"\xc3\xbc"),
            r#"{"status":302,"headers":{"set-cookie":"a=1, b\nc=2","vary":"a, b"},"body":"ü"}"#
        );
    }

    #[test]
    fn a_body_that_is_no_text_comes_as_base64() {
        assert_eq!(written(Response::builder(), b"\xff\x00"), r#"{"status":200,"headers":{},"body_base64":"/wA="}"#);
    }
}
