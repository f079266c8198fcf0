//! One HTTP question, for health checks of images that hold no other program to ask with.
//!
//! It speaks just enough HTTP/1.0 to read a status line.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use http::Uri;

/// A healthy program answers in microseconds, or after the wall limit of the script before us (2 s).
const DEADLINE: Duration = Duration::from_secs(3);

/// The longest status line that is read.
const LINE_BYTES_MAX: u64 = 1 << 10;

/// Why a program is not healthy.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// Not `http://HOST[:PORT]/PATH`.
    #[error("`{0}` is no http:// URL; for example http://127.0.0.1:7701/readyz")]
    Url(String),
    /// Nobody answers there.
    #[error("`{url}` does not answer: {err}")]
    Silent {
        /// What was asked.
        url: String,
        /// Why not.
        err: std::io::Error,
    },
    /// It answers, but not with 200.
    #[error("`{url}` answers `{status}`")]
    NotReady {
        /// What was asked.
        url: String,
        /// The status line.
        status: String,
    },
}

/// Asks `url`, which must answer 200.
///
/// # Errors
/// [`HealthError`].
pub fn check(url: &str) -> Result<(), HealthError> {
    ask(url, "GET", "", "")
}

/// Posts `body`, some JSON, to `url`, which must answer 200; `token` is shown as a bearer's.
///
/// # Errors
/// [`HealthError`].
pub fn probe(url: &str, token: Option<&str>, body: &str) -> Result<(), HealthError> {
    let authorization = token.map(|token| format!("authorization: Bearer {}\r\n", token.trim())).unwrap_or_default();
    let headers = format!("{authorization}content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    ask(url, "POST", &headers, body)
}

/// `headers` are whole lines.
fn ask(url: &str, method: &str, headers: &str, body: &str) -> Result<(), HealthError> {
    let uri: Uri = url.parse().map_err(|_| HealthError::Url(url.to_owned()))?;
    let host = uri.host().filter(|_| uri.scheme_str() == Some("http"));
    let host = host.ok_or_else(|| HealthError::Url(url.to_owned()))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let port = uri.port_u16().unwrap_or(80);
    let request = format!("{method} {path} HTTP/1.0\r\nhost: {host}:{port}\r\n{headers}\r\n{body}");
    let status = status_line(host, port, &request).map_err(|err| HealthError::Silent { url: url.to_owned(), err })?;
    if status.split_ascii_whitespace().nth(1) == Some("200") {
        return Ok(());
    }
    Err(HealthError::NotReady { url: url.to_owned(), status })
}

fn status_line(host: &str, port: u16, request: &str) -> std::io::Result<String> {
    let name = host.trim_matches(['[', ']']);
    let address = (name, port).to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    // In one piece: who answers the first piece and closes would reset the connection over the others.
    stream.write_all(request.as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[track_caller]
    fn answered(answer: &'static str) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = BufReader::new(stream.try_clone().unwrap()).lines();
            while !request.next().unwrap().unwrap().is_empty() {}
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let result = check(&format!("http://127.0.0.1:{port}/readyz")).map_err(|err| err.to_string());
        server.join().unwrap();
        result.map_err(|err| err.replace(&port.to_string(), "PORT"))
    }

    #[test]
    fn only_200_is_healthy() {
        assert_eq!(answered("HTTP/1.1 200 OK\r\n\r\nready"), Ok(()));
        assert_eq!(
            answered("HTTP/1.1 503 Service Unavailable\r\n\r\n"),
            Err("`http://127.0.0.1:PORT/readyz` answers `HTTP/1.1 503 Service Unavailable`".to_owned())
        );
    }

    #[test]
    fn a_probe_brings_a_body_and_shows_its_token() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://127.0.0.1:{}/v1/run/acme/risk", listener.local_addr().unwrap().port());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; 1 << 10];
            let mut length = 0;
            while !request[..length].ends_with(b"\r\n\r\n{}") {
                length += stream.read(&mut request[length..]).unwrap();
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });

        probe(&url, Some("secret\n"), "{}").unwrap();

        let request = server.join().unwrap();
        assert!(request.starts_with("POST /v1/run/acme/risk HTTP/1.0\r\n"), "{request}");
        assert!(
            request.contains("authorization: Bearer secret\r\n") && request.contains("content-length: 2\r\n"),
            "{request}"
        );
    }

    #[test]
    fn an_address_that_is_none_says_so() {
        for odd in ["127.0.0.1:7700", "https://x/", ""] {
            assert!(matches!(check(odd), Err(HealthError::Url(_))), "{odd}");
        }
    }
}
