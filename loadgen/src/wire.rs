//! What is sent, and where an answer ends. No I/O.

use memchr::memmem;

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1; answers must have a `content-length`.
    Http,
    /// RESP2 (<https://redis.io/docs/latest/develop/reference/protocol-spec/>); answers must be bulk strings or errors.
    Redis,
}

/// One whole answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// HTTP status; of Redis 200, and 500 for an error.
    pub status: u16,
    /// Lines before the body, without the empty one.
    pub head: &'a [u8],
    /// The body.
    pub body: &'a [u8],
    /// Bytes it takes in the stream.
    pub length: usize,
}

/// A stream that is not the protocol.
#[derive(Debug, PartialEq, Eq)]
pub struct Garbled;

/// An HTTP request.
pub fn post(host: &str, path: &str, headers: &[String], body: &[u8]) -> Vec<u8> {
    let mut request = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n");
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    [request.as_bytes(), body].concat()
}

/// `EVALSHA sha 0 argument`.
pub fn evalsha(sha: &str, argument: &[u8]) -> Vec<u8> {
    let head = format!("*4\r\n$7\r\nEVALSHA\r\n${}\r\n{sha}\r\n$1\r\n0\r\n${}\r\n", sha.len(), argument.len());
    [head.as_bytes(), argument, b"\r\n"].concat()
}

impl Protocol {
    /// The answer at the start of `stream`; `None` while it is not whole.
    ///
    /// # Errors
    /// [`Garbled`].
    pub fn answer(self, stream: &[u8]) -> Result<Option<Answer<'_>>, Garbled> {
        match self {
            Self::Http => http(stream),
            Self::Redis => redis(stream),
        }
    }
}

fn http(stream: &[u8]) -> Result<Option<Answer<'_>>, Garbled> {
    let Some(end) = memmem::find(stream, b"\r\n\r\n") else { return Ok(None) };
    let head = &stream[..end];
    // `HTTP/1.1 200 …`
    let status = head.get(9..12).and_then(number).and_then(|status| status.try_into().ok()).ok_or(Garbled)?;
    let length = field(head, "content-length").and_then(number).ok_or(Garbled)?;
    let start = end + 4;
    Ok(stream.get(start..start + length).map(|body| Answer { status, head, body, length: start + length }))
}

fn redis(stream: &[u8]) -> Result<Option<Answer<'_>>, Garbled> {
    let Some(end) = memmem::find(stream, b"\r\n") else { return Ok(None) };
    let head = &stream[..end];
    let start = end + 2;
    match head.first() {
        Some(b'-') => Ok(Some(Answer { status: 500, head, body: &head[1..], length: start })),
        Some(b'$') => {
            let length = number(&head[1..]).ok_or(Garbled)?;
            let body = stream.get(start..start + length);
            let whole = stream.len() >= start + length + 2;
            Ok(body.filter(|_| whole).map(|body| Answer { status: 200, head, body, length: start + length + 2 }))
        }
        _ => Err(Garbled),
    }
}

/// The value of a header, by its lower-case name.
pub fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    head.split(|&byte| byte == b'\n').find_map(|line| {
        let (found, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":").filter(|_| found.eq_ignore_ascii_case(name.as_bytes()))?;
        Some(value.trim_ascii())
    })
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTTP: &[u8] = b"HTTP/1.1 200 OK\r\nX-Version: v1\r\nContent-Length: 2\r\n\r\n{}";

    #[test]
    fn an_http_answer_ends_where_its_length_says() {
        let stream = [HTTP, b"HTTP/1.1 200"].concat();

        let answer = Protocol::Http.answer(&stream).unwrap().unwrap();

        assert_eq!((answer.status, answer.body, answer.length), (200, &b"{}"[..], HTTP.len()));
        assert_eq!(field(answer.head, "x-version"), Some(&b"v1"[..]));
    }

    #[test]
    fn half_an_answer_is_none_yet() {
        for end in 0..HTTP.len() {
            assert_eq!(Protocol::Http.answer(&HTTP[..end]), Ok(None), "{end}");
        }
        for end in 0..8 {
            assert_eq!(Protocol::Redis.answer(&b"$2\r\n{}\r\n"[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn redis_answers_with_text_or_with_an_error() {
        let text = Protocol::Redis.answer(b"$2\r\n{}\r\n").unwrap().unwrap();
        assert_eq!((text.status, text.body, text.length), (200, &b"{}"[..], 8));

        let error = Protocol::Redis.answer(b"-NOSCRIPT none\r\n").unwrap().unwrap();
        assert_eq!((error.status, error.body), (500, &b"NOSCRIPT none"[..]));
    }

    #[test]
    fn what_has_no_length_is_garbled() {
        assert_eq!(Protocol::Http.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), Err(Garbled));
        assert_eq!(Protocol::Redis.answer(b":1\r\n"), Err(Garbled));
    }
}
