//! The door to a Docker engine: HTTP/1.1 through a Unix socket, and nothing about services.
//!
//! Answers stay as near to the engine's own JSON as their reader wants. That is why no typed client stands here: one
//! that knows the documented fields only would drop the others from a service's spec on its way back, and none knows
//! `PreviousSpec`, which is answered but not documented.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::Frame;
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
/// Far above any answer that is asked for: lists of services, tasks and a stack's configs.
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
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// A thing of this name exists already.
    pub fn is_name_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }

    /// Somebody changed the service between our reading and our writing. Swarm tells it by words only, under different
    /// statuses from one engine to the next (<https://github.com/moby/moby/issues/30794>).
    pub fn is_out_of_sequence(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if message.contains("update out of sequence"))
    }

    /// Asking again may help: the engine was away, slow, or its Swarm had no leader.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Http { .. } | Self::Timeout { .. } => true,
            Self::Refused { status, .. } => *status >= 500,
            Self::Address(_) | Self::Answer { .. } => false,
        }
    }
}

#[derive(Debug, Clone)]
enum Address {
    Unix(PathBuf),
    Tcp(String),
}

/// A Docker engine, not connected: each question opens its own connection, since seconds or days lie between them.
#[derive(Debug)]
pub struct Engine {
    address: Address,
    /// `/v1.41`: the newest API version that the engine speaks.
    prefix: OnceCell<String>,
}

impl Engine {
    /// `address` is `unix:///PATH`, or `http://HOST:PORT` for a filtering proxy (and for tests).
    ///
    /// # Errors
    /// [`EngineError::Address`].
    pub fn at(address: &str) -> Result<Self, EngineError> {
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

    /// Where it is, as [`Self::at`] takes it.
    pub fn address(&self) -> String {
        match &self.address {
            Address::Unix(path) => format!("unix://{}", path.display()),
            Address::Tcp(authority) => format!("http://{authority}"),
        }
    }

    /// Asks for what is at `path`, until `by` at the latest.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str, by: Instant) -> Result<T, EngineError> {
        read(&self.ask(Method::GET, path, None, soon(by)).await?, &format!("GET {path}"))
    }

    /// Posts `body` to `path`, until `by` at the latest.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value, by: Instant) -> Result<T, EngineError> {
        read(&self.ask(Method::POST, path, Some(Content::json(body)), soon(by)).await?, &format!("POST {path}"))
    }

    /// Posts `body` to `path` and gives the answer as it came, which may take until `by`: for what runs or is read while
    /// the question is open.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn post_for_bytes(&self, path: &str, body: &Value, by: Instant) -> Result<Bytes, EngineError> {
        self.ask(Method::POST, path, Some(Content::json(body)), by).await
    }

    /// Streams a tar archive in pieces to `path` and gives the answer as it came, which may take until `by`.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn send_tar(&self, path: &str, pieces: Vec<Bytes>, by: Instant) -> Result<Bytes, EngineError> {
        self.ask(Method::POST, path, Some(Content { kind: "application/x-tar", pieces }), by).await
    }

    /// Deletes what is at `path`, until `by` at the latest.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn delete(&self, path: &str, by: Instant) -> Result<(), EngineError> {
        self.ask(Method::DELETE, path, None, soon(by)).await.map(drop)
    }

    /// The newest API version that the engine speaks, `1.41`.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn api_version(&self, by: Instant) -> Result<String, EngineError> {
        Ok(self.prefix(by).await?.trim_start_matches("/v").to_owned())
    }

    /// The engine's own newest version, not ours: under an older one it would leave newer fields of a spec out, and an
    /// update would then reset them.
    async fn prefix(&self, by: Instant) -> Result<&str, EngineError> {
        #[derive(serde::Deserialize)]
        struct Versions {
            #[serde(rename = "ApiVersion")]
            api: String,
        }
        let prefix = self.prefix.get_or_try_init(|| async {
            let answer = self.ask_plainly(Method::GET, "/version", None, soon(by)).await?;
            read::<Versions>(&answer, "GET /version").map(|versions| format!("/v{}", versions.api))
        });
        Ok(prefix.await?)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        content: Option<Content>,
        by: Instant,
    ) -> Result<Bytes, EngineError> {
        let path = format!("{}{path}", self.prefix(by).await?);
        self.ask_plainly(method, &path, content, by).await
    }

    async fn ask_plainly(
        &self,
        method: Method,
        path: &str,
        content: Option<Content>,
        by: Instant,
    ) -> Result<Bytes, EngineError> {
        let request = format!("{method} {path}");
        let begun = Instant::now();
        let exchange = async {
            let connected = match &self.address {
                Address::Unix(path) => {
                    UnixStream::connect(path).await.map(|stream| Box::new(stream) as Box<dyn Stream>)
                }
                Address::Tcp(at) => TcpStream::connect(at).await.map(|stream| Box::new(stream) as Box<dyn Stream>),
            };
            let stream = connected.map_err(|err| EngineError::Connect { address: self.address(), err })?;
            exchange(stream, method, path, content)
                .await
                .map_err(|err| EngineError::Http { request: request.clone(), err })
        };
        let (status, answer) = tokio::time::timeout_at(by, exchange)
            .await
            .map_err(|_| EngineError::Timeout { request: request.clone(), waited: begun.elapsed() })??;
        if status.is_success() {
            return Ok(answer);
        }
        Err(EngineError::Refused { request, status: status.as_u16(), message: message(&answer) })
    }
}

/// `by`, or the time after which an engine that did not answer won't.
fn soon(by: Instant) -> Instant {
    by.min(Instant::now() + REQUEST_DEADLINE)
}

/// What is sent with a question.
struct Content {
    kind: &'static str,
    pieces: Vec<Bytes>,
}

impl Content {
    fn json(value: &Value) -> Self {
        Self { kind: "application/json", pieces: vec![Bytes::from(value.to_string())] }
    }

    fn body(mut self) -> BoxBody<Bytes, Infallible> {
        if self.pieces.len() == 1 {
            // Of known length, so it is not sent in chunks.
            return Full::new(self.pieces.remove(0)).boxed();
        }
        StreamBody::new(stream::iter(self.pieces.into_iter().map(|piece| Ok(Frame::data(piece))))).boxed()
    }
}

/// `text` as it may stand in a path segment.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// The `filters=…` of a list: things that match every one of `values` under `key`.
pub fn filter(key: &str, values: &[&str]) -> String {
    format!("filters={}", utf8_percent_encode(&json!({ key: values }).to_string(), ESCAPED))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn exchange(
    stream: Box<dyn Stream>,
    method: Method,
    path: &str,
    content: Option<Content>,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "docker");
    if let Some(content) = &content {
        request = request.header(header::CONTENT_TYPE, content.kind);
    }
    let body = content.map_or_else(|| Full::default().boxed(), Content::body);
    let answer = sender.send_request(request.body(body)?).await?;
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
