//! HTTP to a manager or executor: one request, one answer, every wait bounded, no retries.
//!
//! A request that was sent and got no answer may have been obeyed. So nothing is repeated here, and the error says
//! whether the request left the desk.

use std::time::Duration;

use contract::Problem;
use contract::problem::MEDIA_TYPE;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, StatusCode, Url, redirect};
use serde::de::DeserializeOwned;

use crate::settings::{Endpoint, Peer};

/// Longest time to get a connection; a program that lives in the same data center or room answers in milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Most bytes read of one answer; a list of ten thousand scripts has a few of these.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// Most characters shown of an answer that is none of ours.
const EXCERPT_CHARS_MAX: usize = 200;

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The TLS settings of this machine.
    #[error("prepare the connection to {0}")]
    Setup(String, #[source] reqwest::Error),
    /// Nothing was sent.
    #[error("no {peer} answers at {url}")]
    Unreachable {
        /// Who was asked.
        peer: Peer,
        /// Where.
        url: String,
        /// What the connection said.
        #[source]
        source: reqwest::Error,
    },
    /// It was sent, and no answer came in time.
    #[error("the {peer} at {url} gave no answer within {}", humantime::format_duration(*after))]
    TimedOut {
        /// Who was asked.
        peer: Peer,
        /// Where.
        url: String,
        /// How long it had.
        after: Duration,
    },
    /// It was sent, and the connection broke.
    #[error("the connection to the {peer} at {url} broke before the answer was complete")]
    Lost {
        /// Who was asked.
        peer: Peer,
        /// Where.
        url: String,
        /// What the connection said.
        #[source]
        source: reqwest::Error,
    },
    /// It answered that something is wrong.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// Something else than Moonswarm answered.
    #[error("{url} answered {status}, but not as a Moonswarm {peer} does: {excerpt}")]
    Foreign {
        /// Who was asked.
        peer: Peer,
        /// Where.
        url: String,
        /// What it said.
        status: StatusCode,
        /// How its words begin.
        excerpt: String,
    },
    /// More than fits.
    #[error("the answer of {0} has more than {ANSWER_BYTES_MAX} bytes")]
    TooLong(String),
}

/// A connection to one program.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    endpoint: Endpoint,
}

/// What to ask.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// HTTP method.
    pub(crate) method: Method,
    /// Path below the base address, by segment; each is percent-encoded.
    pub(crate) path: &'a [&'a str],
    /// Query, already encoded by its type.
    pub(crate) query: Option<contract::api::ChangeQuery>,
    /// Headers beside the token.
    pub(crate) headers: HeaderMap,
    /// Body and its media type.
    pub(crate) body: Option<(&'static str, Vec<u8>)>,
    /// How long the program was asked to wait before it answers.
    pub(crate) wait: Duration,
}

impl<'a> Request<'a> {
    /// A request without query, headers and body.
    pub(crate) fn new(method: Method, path: &'a [&'a str]) -> Self {
        Self { method, path, query: None, headers: HeaderMap::new(), body: None, wait: Duration::ZERO }
    }
}

/// An answer with a status of success.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: Vec<u8>,
    status: StatusCode,
    url: String,
    peer: Peer,
}

impl Answer {
    /// The body as the contract's type.
    ///
    /// # Errors
    /// [`ClientError::Foreign`].
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|_| foreign(self.peer, &self.url, self.status, &self.body))
    }
}

impl Client {
    /// A client of one program. Connects on first use.
    ///
    /// # Errors
    /// [`ClientError::Setup`].
    pub(crate) fn new(endpoint: Endpoint) -> Result<Self, ClientError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("moonswarm/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT.min(endpoint.timeout))
            // A redirect would carry the token to somebody else.
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never());
        if endpoint.url.scheme() == "http" {
            // Without TLS, the certificates of this machine need neither exist nor be read.
            builder = builder.tls_certs_only([]);
        }
        if is_loopback(&endpoint.url) {
            // A proxy has no way to this machine's own programs.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|err| ClientError::Setup(endpoint.address(), err))?;
        Ok(Self { http, endpoint })
    }

    /// Who is asked.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The same, with less patience: for looking on while another request runs.
    pub(crate) fn with_timeout(&self, timeout: Duration) -> Self {
        let endpoint = Endpoint { timeout: timeout.min(self.endpoint.timeout), ..self.endpoint.clone() };
        Self { http: self.http.clone(), endpoint }
    }

    /// Asks once.
    ///
    /// # Errors
    /// Every variant but [`ClientError::Setup`].
    pub(crate) async fn ask(&self, request: Request<'_>) -> Result<Answer, ClientError> {
        let peer = self.endpoint.peer;
        let mut url = self.endpoint.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(request.path);
        }
        let after = self.endpoint.timeout.saturating_add(request.wait);
        let mut builder = self.http.request(request.method, url).timeout(after).headers(request.headers);
        if let Some(token) = &self.endpoint.token {
            builder = builder.header(AUTHORIZATION, token.header());
        }
        if let Some(query) = &request.query {
            builder = builder.query(query);
        }
        if let Some((media_type, body)) = request.body {
            builder = builder.header(CONTENT_TYPE, media_type).body(body);
        }

        let url = self.endpoint.address();
        let broken = |source: reqwest::Error| {
            let (url, source) = (url.clone(), source.without_url());
            if source.is_connect() {
                ClientError::Unreachable { peer, url, source }
            } else if source.is_timeout() {
                ClientError::TimedOut { peer, url, after }
            } else {
                ClientError::Lost { peer, url, source }
            }
        };
        let mut response = builder.send().await.map_err(broken)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(ClientError::TooLong(url));
            }
            body.extend_from_slice(&chunk);
        }
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_success() {
            return Ok(Answer { headers, body, status, url, peer });
        }
        let is_problem =
            headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(MEDIA_TYPE.as_bytes()));
        match serde_json::from_slice(&body) {
            Ok(problem) if is_problem => Err(ClientError::Problem(Box::new(problem))),
            _ => Err(foreign(peer, &url, status, &body)),
        }
    }
}

fn foreign(peer: Peer, url: &str, status: StatusCode, body: &[u8]) -> ClientError {
    let words = String::from_utf8_lossy(&body[..body.len().min(4 * EXCERPT_CHARS_MAX)]);
    let excerpt: String =
        words.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(EXCERPT_CHARS_MAX).collect();
    let excerpt = if excerpt.is_empty() { "(nothing)".to_owned() } else { excerpt };
    ClientError::Foreign { peer, url: url.to_owned(), status, excerpt }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_names() {
        for (url, expected) in [
            ("http://127.0.0.1:7700", true),
            ("http://localhost", true),
            ("http://[::1]:7700", true),
            ("http://10.0.0.1", false),
            ("https://manager.example.com", false),
        ] {
            assert_eq!(is_loopback(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
