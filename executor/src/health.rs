//! The `health` command: one GET, for images that hold no other program to ask with.
//!
//! It speaks just enough HTTP/1.0 to read a status line.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use http::Uri;

/// A healthy executor answers in microseconds, or after the wall limit of the script before us (2 s).
const DEADLINE: Duration = Duration::from_secs(3);

/// Why an executor is not healthy.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// Not `http://HOST[:PORT]/PATH`.
    #[error("`{0}` is no http:// URL; for example http://127.0.0.1:7701/readyz")]
    Url(String),
    /// Nobody answers there.
    #[error("{url} does not answer: {err}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why not.
        err: std::io::Error,
    },
    /// It answers, but not with 200.
    #[error("{url} answers `{status}`")]
    Unhealthy {
        /// What was asked.
        url: String,
        /// The status line.
        status: String,
    },
}

/// Asks `url`; `Ok` if it answers 200.
///
/// # Errors
/// [`HealthError`].
pub fn check(url: &str) -> Result<(), HealthError> {
    let uri: Uri = url.parse().map_err(|_| HealthError::Url(url.to_owned()))?;
    let host = uri.host().filter(|_| uri.scheme_str() == Some("http"));
    let host = host.ok_or_else(|| HealthError::Url(url.to_owned()))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let status = status_line(host, uri.port_u16().unwrap_or(80), path)
        .map_err(|err| HealthError::Unreachable { url: url.to_owned(), err })?;
    if status.split_ascii_whitespace().nth(1) == Some("200") {
        return Ok(());
    }
    Err(HealthError::Unhealthy { url: url.to_owned(), status })
}

fn status_line(host: &str, port: u16, path: &str) -> std::io::Result<String> {
    let name = host.trim_matches(['[', ']']);
    let address = (name, port).to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {host}\r\n\r\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}
