//! `multipart/related` bodies of uploads. Pure.
//!
//! Google takes what its own tools send, and so does this: boundaries in single or double quotes, lines that end with LF
//! alone, parts without headers.

use bytes::Bytes;
use memchr::memmem;

use crate::cloud::storage::error::StorageError;

/// One part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Its `Content-Type`, if it has one.
    pub(super) content_type: Option<String>,
    pub(super) body: Bytes,
}

/// Splits a body whose request has this `Content-Type`.
pub(super) fn parse(content_type: &str, body: &Bytes) -> Result<Vec<Part>, StorageError> {
    let broken = |why: &str| StorageError::invalid(format!("Malformed multipart body: {why}"));
    let delimiter = format!("--{}", boundary(content_type).ok_or_else(|| broken("no boundary in its Content-Type"))?);
    let mut parts = Vec::new();
    // The part that is being read begins here.
    let mut begin = None;
    let mut line_break = 1;
    for at in memmem::find_iter(body, delimiter.as_bytes()) {
        let starts_line = at == 0 || body[at - 1] == b'\n';
        let after = at + delimiter.len();
        let Some(rest) = body.get(after..).filter(|_| starts_line) else { continue };
        if let Some(begin) = begin {
            let end = at.saturating_sub(line_break).max(begin);
            parts.push(part(body.slice(begin..end)).ok_or_else(|| broken("a part without a blank line"))?);
        }
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        let line = memchr::memchr(b'\n', rest).ok_or_else(|| broken("it ends in a delimiter"))?;
        // The first delimiter shows how lines end; content may end with CR where they end with LF.
        line_break = if rest[..line].ends_with(b"\r") { 2 } else { 1 };
        begin = Some(after + line + 1);
    }
    Err(broken("the closing delimiter is missing"))
}

fn boundary(content_type: &str) -> Option<&str> {
    let (_, parameters) = content_type.split_once(';')?;
    let value = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("boundary="))?;
    Some(value.trim_matches(['"', '\'']))
}

fn part(bytes: Bytes) -> Option<Part> {
    let mut content_type = None;
    let mut at = 0;
    loop {
        let end = at + memchr::memchr(b'\n', bytes.get(at..)?)?;
        let line = bytes[at..end].trim_ascii();
        at = end + 1;
        if line.is_empty() {
            return Some(Part { content_type, body: bytes.slice(at..) });
        }
        let line = std::str::from_utf8(line).ok()?;
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-type")
        {
            content_type = Some(value.trim().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(content_type: &str, body: &'static str) -> Vec<(Option<String>, String)> {
        let parts = parse(content_type, &Bytes::from_static(body.as_bytes())).unwrap();
        parts.into_iter().map(|part| (part.content_type, String::from_utf8(part.body.to_vec()).unwrap())).collect()
    }

    #[test]
    fn parts_keep_their_bytes_exactly() {
        let body = "--b\r\nContent-Type: application/json\r\n\r\n{}\r\n--b\r\n\r\nreturn 1\r\n\r\n--b--\r\n";

        let parts = told("multipart/related; boundary=b", body);

        assert_eq!(parts, [(Some("application/json".into()), "{}".into()), (None, "return 1\r\n".into())]);
    }

    #[test]
    fn lines_may_end_with_lf_and_boundaries_stand_in_quotes() {
        let body =
            "--==1==\ncontent-type: application/json\n\n{}\n--==1==\nContent-Type: text/x-lua\n\ntext\r\n--==1==--";

        let parts = told("multipart/related; boundary='==1=='", body);

        assert_eq!(parts[1], (Some("text/x-lua".into()), "text\r".into()));
    }

    #[test]
    fn an_empty_part_and_a_delimiter_inside_a_line_are_content() {
        let body = "--b\r\n\r\n\r\n--b\r\n\r\nx --b y\r\n--b--";

        assert_eq!(told("multipart/related; boundary=b", body), [(None, String::new()), (None, "x --b y".into())]);
    }

    #[test]
    fn a_body_that_breaks_off_is_refused() {
        for body in ["", "--b\r\n\r\nhalf", "--b", "no delimiter"] {
            let refused = parse("multipart/related; boundary=b", &Bytes::from_static(body.as_bytes()));
            assert_eq!(refused.unwrap_err().http_status(), 400, "{body:?}");
        }
    }
}
