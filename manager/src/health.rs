//! `moonswarm-manager health`: one HTTP question, for health checks of images that have no other tool.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use http::Uri;

/// A health check that takes longer is a failed one.
const DEADLINE: Duration = Duration::from_secs(3);
/// The head of an answer, and a sentence.
const ANSWER_BYTES_MAX: u64 = 16 << 10;

/// Why the program at the address is not ready.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// It can't be asked.
    #[error("`{0}` is no address of the form http://HOST:PORT/PATH")]
    Address(String),
    /// It did not answer.
    #[error("`{url}` does not answer")]
    Silent {
        /// What was asked.
        url: String,
        /// What the system says.
        #[source]
        err: std::io::Error,
    },
    /// It answered something else.
    #[error("`{url}` answers `{answer}`")]
    NotReady {
        /// What was asked.
        url: String,
        /// Its first line.
        answer: String,
    },
}

/// Asks `url`, which must answer 200.
///
/// # Errors
/// [`HealthError`].
pub fn ask(url: &str) -> Result<(), HealthError> {
    let address = || HealthError::Address(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| address())?;
    let host = uri.host().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(address)?;
    let port = uri.port_u16().unwrap_or(80);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let answer = exchange(host, port, path).map_err(|err| HealthError::Silent { url: url.to_owned(), err })?;
    let first = answer.lines().next().unwrap_or_default().to_owned();
    if first.split(' ').nth(1) == Some("200") {
        return Ok(());
    }
    Err(HealthError::NotReady { url: url.to_owned(), answer: first })
}

fn exchange(host: &str, port: u16, path: &str) -> std::io::Result<String> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = (bare, port).to_socket_addrs()?.next().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
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
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let result = ask(&format!("http://127.0.0.1:{port}/readyz")).map_err(|err| err.to_string());
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
    fn an_address_that_is_none_says_so() {
        for odd in ["127.0.0.1:7700", "https://x/", ""] {
            assert!(matches!(ask(odd), Err(HealthError::Address(_))), "{odd}");
        }
    }
}
