//! The door to a Docker engine: JSON over HTTP/1.1 through a Unix socket, and nothing about services.
//!
//! Answers stay as near to the engine's own JSON as their reader wants. That is why no typed client stands here: one
//! that knows the documented fields only would drop the others from a service's spec on its way back, and none knows
//! `PreviousSpec`, which is answered but not documented.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// An engine that is alive answers within milliseconds, a Swarm without a leader within seconds.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// Far above any answer that is asked for here: lists of services, tasks and a stack's configs.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// What a path segment or query value may hold unescaped (RFC 3986 §2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A question to a Docker engine that was not answered.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The address in the settings.
    #[error("`{0}` is no address of a Docker engine; give `unix:///var/run/docker.sock` or `http://HOST:PORT`")]
    Address(String),
    /// No connection.
    #[error("connect to the Docker engine at `{address}`")]
    Connect {
        /// Where it should listen.
        address: String,
        /// Why not.
        #[source]
        err: std::io::Error,
    },
    /// The connection broke, or what came was no HTTP.
    #[error("ask the Docker engine `{request}`")]
    Http {
        /// Method and path.
        request: String,
        /// What broke.
        #[source]
        err: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("the Docker engine did not answer `{request}` within {waited:.1?}")]
    Timeout {
        /// Method and path.
        request: String,
        /// How long it was given.
        waited: Duration,
    },
    /// An answer that is an error.
    #[error("the Docker engine refused `{request}` with status {status}: {message}")]
    Refused {
        /// Method and path.
        request: String,
        /// HTTP status.
        status: u16,
        /// In the engine's words.
        message: String,
    },
    /// An answer of another form than the Engine API documents.
    #[error("read the Docker engine's answer to `{request}`")]
    Answer {
        /// Method and path.
        request: String,
        /// What is wrong with it.
        #[source]
        err: serde_json::Error,
    },
}

impl EngineError {
    /// The thing asked for does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// A thing of this name exists already.
    pub(super) fn is_name_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }

    /// Somebody changed the service between our reading and our writing. Swarm tells it by words only, under different
    /// statuses from one engine to the next (<https://github.com/moby/moby/issues/30794>).
    pub(super) fn is_out_of_sequence(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if message.contains("update out of sequence"))
    }

    /// Asking again may help: the engine was away, slow, or its Swarm had no leader.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Http { .. } | Self::Timeout { .. } => true,
            Self::Refused { status, .. } => *status >= 500,
            Self::Address(_) | Self::Answer { .. } => false,
        }
    }
}

enum Address {
    Unix(PathBuf),
    Tcp(String),
}

/// A Docker engine, not connected: each question opens its own connection, since seconds or days lie between them.
pub(super) struct Engine {
    address: Address,
    /// `/v1.41`: the newest API version that the engine speaks.
    prefix: OnceCell<String>,
}

impl Engine {
    /// `address` is `unix:///PATH`, or `http://HOST:PORT` for a filtering proxy (and for tests).
    pub(super) fn at(address: &str) -> Result<Self, EngineError> {
        let found = if let Some(path) = address.strip_prefix("unix://").filter(|path| path.starts_with('/')) {
            Address::Unix(path.into())
        } else if let Some(authority) = address.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'))
            && authority.parse::<http::uri::Authority>().is_ok_and(|authority| authority.port().is_some())
        {
            Address::Tcp(authority.to_owned())
        } else {
            return Err(EngineError::Address(address.to_owned()));
        };
        Ok(Self { address: found, prefix: OnceCell::new() })
    }

    /// Asks for what is at `path`, until `by` at the latest.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str, by: Instant) -> Result<T, EngineError> {
        read(&self.ask(Method::GET, path, None, by).await?, &format!("GET {path}"))
    }

    /// Posts `body` to `path`, until `by` at the latest.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        by: Instant,
    ) -> Result<T, EngineError> {
        read(&self.ask(Method::POST, path, Some(body), by).await?, &format!("POST {path}"))
    }

    /// Deletes what is at `path`, until `by` at the latest.
    pub(super) async fn delete(&self, path: &str, by: Instant) -> Result<(), EngineError> {
        self.ask(Method::DELETE, path, None, by).await.map(drop)
    }

    /// The engine's own newest version, not ours: under an older one it would leave newer fields of a spec out, and an
    /// update would then reset them.
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>, by: Instant) -> Result<Bytes, EngineError> {
        #[derive(serde::Deserialize)]
        struct Versions {
            #[serde(rename = "ApiVersion")]
            api: String,
        }
        let prefix = self.prefix.get_or_try_init(|| async {
            let answer = self.ask_plainly(Method::GET, "/version", None, by).await?;
            read::<Versions>(&answer, "GET /version").map(|versions| format!("/v{}", versions.api))
        });
        let path = format!("{}{path}", prefix.await?);
        self.ask_plainly(method, &path, body, by).await
    }

    async fn ask_plainly(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        by: Instant,
    ) -> Result<Bytes, EngineError> {
        let request = format!("{method} {path}");
        let begun = Instant::now();
        let exchange = async {
            let (address, connected) = match &self.address {
                Address::Unix(path) => (
                    format!("unix://{}", path.display()),
                    UnixStream::connect(path).await.map(|stream| Box::new(stream) as Box<dyn Stream>),
                ),
                Address::Tcp(authority) => (
                    format!("http://{authority}"),
                    TcpStream::connect(authority).await.map(|stream| Box::new(stream) as Box<dyn Stream>),
                ),
            };
            let stream = connected.map_err(|err| EngineError::Connect { address, err })?;
            exchange(stream, method, path, body)
                .await
                .map_err(|err| EngineError::Http { request: request.clone(), err })
        };
        let (status, answer) = tokio::time::timeout_at(by.min(begun + REQUEST_DEADLINE), exchange)
            .await
            .map_err(|_| EngineError::Timeout { request: request.clone(), waited: begun.elapsed() })??;
        if status.is_success() {
            return Ok(answer);
        }
        Err(EngineError::Refused { request, status: status.as_u16(), message: message(&answer) })
    }
}

/// `text` as it may stand in a path segment.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// The `filters=…` of a list: things that match every one of `values` under `key`.
pub(super) fn filter(key: &str, values: &[&str]) -> String {
    format!("filters={}", utf8_percent_encode(&json!({ key: values }).to_string(), ESCAPED))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn exchange(
    stream: Box<dyn Stream>,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "docker");
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let body = body.map(Value::to_string).unwrap_or_default();
    let answer = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
    let status = answer.status();
    let answer = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await?;
    Ok((status, answer.to_bytes()))
}

fn read<T: DeserializeOwned>(answer: &[u8], request: &str) -> Result<T, EngineError> {
    serde_json::from_slice(answer).map_err(|err| EngineError::Answer { request: request.to_owned(), err })
}

/// What the engine says in an error: `{"message": "…"}`, or plain text from what stands before it.
fn message(answer: &[u8]) -> String {
    const CHARS_MAX: usize = 500;
    let told = serde_json::from_slice::<Value>(answer).ok();
    let told = told.as_ref().and_then(|value| value.get("message")?.as_str()).map(str::to_owned);
    let text = told.unwrap_or_else(|| String::from_utf8_lossy(answer).into_owned());
    text.trim().chars().take(CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_and_plain_http_with_a_port_are_addresses() {
        for good in ["unix:///var/run/docker.sock", "http://127.0.0.1:2375", "http://docker-proxy:2375/"] {
            assert!(Engine::at(good).is_ok(), "{good}");
        }
        for bad in ["", "/var/run/docker.sock", "unix://docker.sock", "tcp://127.0.0.1:2375", "https://h:1", "http://h"]
        {
            assert!(matches!(Engine::at(bad), Err(EngineError::Address(_))), "{bad}");
        }
    }

    #[test]
    fn names_from_settings_cannot_leave_their_place_in_a_path() {
        assert_eq!(segment("moonswarm_executor"), "moonswarm_executor");
        assert_eq!(segment("../secrets?x"), "..%2Fsecrets%3Fx");
    }

    #[test]
    fn a_refusal_is_told_in_the_engines_words() {
        assert_eq!(message(br#"{"message":"config x already exists"}"#), "config x already exists");
        assert_eq!(message(b"403 from a proxy\n"), "403 from a proxy");
        assert_eq!(message(&[b'x'; 5000]).len(), 500);
    }

    #[tokio::test]
    async fn a_socket_that_is_not_there_is_named() {
        let engine = Engine::at("unix:///nowhere/docker.sock").unwrap();

        let err = engine.get::<Value>("/services", Instant::now() + REQUEST_DEADLINE).await.unwrap_err();

        assert!(err.is_transient());
        insta::assert_snapshot!(err, @"connect to the Docker engine at `unix:///nowhere/docker.sock`");
    }
}
