//! Asks whether something answers: HTTP, TCP or a Unix socket. Addresses, not names: a static program has no resolver.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// A status line is shorter.
const STATUS_MAX: usize = 256;

/// Whom to ask.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    Http { address: SocketAddr, host: String, path: String },
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Why the answer is no.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unready {
    #[error("{0}")]
    Refused(#[from] io::Error),
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error("it answered `{0}`, expected HTTP status 200 to 399")]
    Status(String),
}

impl Probe {
    /// Reads `http://127.0.0.1:80/ready`, `127.0.0.1:80` or just a port, or a path, by kind.
    ///
    /// # Errors
    /// In words for the script's author.
    pub(crate) fn parse(kind: &str, target: &str) -> Result<Self, String> {
        match kind {
            "unix" => Ok(Self::Unix(target.into())),
            "tcp" => Ok(Self::Tcp(address(target, None)?)),
            _ => {
                let rest = target.strip_prefix("http://").ok_or_else(|| {
                    format!("`{target}` is no URL that can be asked: expected `http://127.0.0.1:PORT/PATH`")
                })?;
                let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                Ok(Self::Http { address: address(host, Some(80))?, host: host.to_owned(), path: format!("/{path}") })
            }
        }
    }
}

fn address(text: &str, default_port: Option<u16>) -> Result<SocketAddr, String> {
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let (host, port) = match text.rsplit_once(':') {
        _ if text.starts_with('[') && text.ends_with(']') => (text, None),
        Some((host, port)) => (host, port.parse().ok()),
        None if default_port.is_none() => ("localhost", text.parse().ok()),
        None => (text, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let ip = if host == "localhost" { Some(local) } else { host.parse().ok() };
    match (ip, port.or(default_port)) {
        (Some(ip), Some(port)) => Ok(SocketAddr::new(ip, port)),
        _ => Err(format!("`{text}` is no address: expected `127.0.0.1:PORT`, `[::1]:PORT` or `localhost:PORT`")),
    }
}

/// Asks once.
pub(crate) async fn ask(probe: &Probe, patience: Duration) -> Result<(), Unready> {
    let asked = async {
        match probe {
            Probe::Tcp(address) => TcpStream::connect(address).await.map(drop)?,
            Probe::Unix(path) => UnixStream::connect(path).await.map(drop)?,
            Probe::Http { address, host, path } => {
                let mut stream = TcpStream::connect(address).await?;
                let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
                stream.write_all(request.as_bytes()).await?;
                let mut answer = Vec::new();
                while !answer.contains(&b'\n') && answer.len() < STATUS_MAX && stream.read_buf(&mut answer).await? > 0 {
                }
                status(&answer)?;
            }
        }
        Ok(())
    };
    tokio::time::timeout(patience, asked).await.unwrap_or(Err(Unready::Silent(patience)))
}

fn status(answer: &[u8]) -> Result<(), Unready> {
    let line =
        String::from_utf8_lossy(answer.split(|&byte| byte == b'\n').next().unwrap_or_default()).trim().to_owned();
    let mut words = line.split(' ');
    let is_http = words.next().is_some_and(|version| version.starts_with("HTTP/1."));
    let code: Option<u16> = words.next().and_then(|code| code.parse().ok());
    match code {
        Some(200..=399) if is_http => Ok(()),
        _ => Err(Unready::Status(line.chars().take(80).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_addresses_ports_urls_and_paths() {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(Probe::parse("tcp", "8080"), Ok(Probe::Tcp(local(8080))));
        assert_eq!(Probe::parse("tcp", "localhost:80"), Ok(Probe::Tcp(local(80))));
        assert_eq!(Probe::parse("tcp", "[::1]:80"), Ok(Probe::Tcp("[::1]:80".parse().unwrap())));
        assert_eq!(Probe::parse("unix", "/run/x"), Ok(Probe::Unix("/run/x".into())));
        let http = Probe::Http { address: local(80), host: "localhost".into(), path: "/ready?x".into() };
        assert_eq!(Probe::parse("http", "http://localhost/ready?x"), Ok(http));
    }

    #[test]
    fn names_and_tls_are_refused_with_what_to_write_instead() {
        insta::assert_snapshot!(Probe::parse("tcp", "db:5432").unwrap_err(), @"`db:5432` is no address: expected `127.0.0.1:PORT`, `[::1]:PORT` or `localhost:PORT`");
        insta::assert_snapshot!(Probe::parse("http", "https://localhost").unwrap_err(), @"`https://localhost` is no URL that can be asked: expected `http://127.0.0.1:PORT/PATH`");
    }

    #[test]
    fn an_answer_is_good_up_to_399() {
        assert!(status(b"HTTP/1.1 204 No Content\r\nx: y").is_ok());
        assert!(status(b"HTTP/1.0 302 Found\r\n").is_ok());
        for bad in [&b"HTTP/1.1 503 Service Unavailable\r\n"[..], b"SSH-2.0-x 200\r\n", b""] {
            assert!(status(bad).is_err(), "{bad:?}");
        }
    }
}
