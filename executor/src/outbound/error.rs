//! Why a request of a script gave no answer.

use std::io;
use std::time::Duration;

use contract::policy::Layer;

use super::{REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX};
use crate::outbound::connect::{HEADER_BYTES_MAX, HEADERS_MAX};

/// A request that gave no answer. `Display` is the sentence that the script's author reads; it has what the author can
/// act on, and nothing of this machine's network. So causes that the author must see stand in the sentence itself.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// What is asked can't be a request.
    #[error("{0}")]
    Malformed(String),
    /// More requests than the grant has.
    #[error("an execution of this script may make {requests_max} requests, this is one more")]
    TooMany {
        /// The grant's number.
        requests_max: u32,
    },
    /// The body of the request is above its limit.
    #[error("the request's body has {bytes} bytes, {REQUEST_BYTES_MAX} are allowed")]
    RequestTooLarge {
        /// How many it has.
        bytes: usize,
    },
    /// The grant does not have the host.
    #[error("host `{host}` is not in this script's list ({})", if .list.is_empty() { "which is empty" } else { .list })]
    NotListed {
        /// As asked, with a port that is not the usual one.
        host: String,
        /// The list as text.
        list: String,
    },
    /// The operator opened other hosts, or none.
    #[error("host `{host}` is not open to scripts here; an operator opens hosts with `--outbound-hosts`")]
    NotOpen {
        /// As asked.
        host: String,
    },
    /// A policy names other hosts, or none.
    #[error("host `{host}` is not among those of {whose}, which `hosts` there lists")]
    NotInPolicy {
        /// As asked.
        host: String,
        /// Whose policy.
        whose: Layer,
    },
    /// The host is where scripts must not reach.
    #[error("host `{host}` leads to {kind}, which scripts may not reach")]
    Closed {
        /// As asked.
        host: String,
        /// What the address is.
        kind: &'static str,
    },
    /// `https` can't be spoken here.
    #[error(
        "host `{host}` can't be asked by https: this executor has no certificate authorities; an operator names their file in `--outbound-ca-file`"
    )]
    NoAuthorities {
        /// As asked.
        host: String,
    },
    /// The name has no address.
    #[error("the name of host `{host}` can't be looked up")]
    Lookup {
        /// As asked.
        host: String,
        /// What the system says.
        #[source]
        err: io::Error,
    },
    /// No connection came about.
    #[error("host `{host}` can't be connected to: {}", reason(.err))]
    Failed {
        /// As asked.
        host: String,
        /// What the system says.
        err: io::Error,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("host `{host}` gave no proper answer: {err}")]
    Broken {
        /// As asked.
        host: String,
        /// What is wrong with it.
        err: hyper::Error,
    },
    /// The head of the response is above its limit.
    #[error("the answer of host `{host}` has a head above {HEADERS_MAX} headers or {HEADER_BYTES_MAX} bytes")]
    HeadTooLarge {
        /// As asked.
        host: String,
    },
    /// The body of the response is above its limit.
    #[error("the answer of host `{host}` has a body above {RESPONSE_BYTES_MAX} bytes")]
    ResponseTooLarge {
        /// As asked.
        host: String,
    },
    /// Time is over.
    #[error("host `{host}` did not answer within {}, {whose}", humantime::format_duration(rounded(*.length)))]
    Timeout {
        /// As asked.
        host: String,
        /// How long it had.
        length: Duration,
        /// Who says so.
        whose: &'static str,
    },
}

pub(super) fn malformed(sentence: impl Into<String>) -> OutboundError {
    OutboundError::Malformed(sentence.into())
}

impl OutboundError {
    /// As it is counted.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::RequestTooLarge { .. } => "malformed",
            Self::TooMany { .. } => "too_many",
            Self::NotListed { .. } | Self::NotOpen { .. } | Self::NotInPolicy { .. } | Self::Closed { .. } => "refused",
            Self::Lookup { .. } | Self::Failed { .. } | Self::Broken { .. } | Self::NoAuthorities { .. } => "failed",
            Self::HeadTooLarge { .. } | Self::ResponseTooLarge { .. } => "too_large",
            Self::Timeout { .. } => "timeout",
        }
    }
}

/// What kind of failure it was, for known ones without the addresses that the system's own text may have.
fn reason(err: &io::Error) -> String {
    match err.get_ref() {
        // Of rustls: what is wrong with the certificate is for the author to know.
        Some(inner) => inner.to_string(),
        None => err.kind().to_string(),
    }
}

/// Milliseconds are enough for people.
fn rounded(length: Duration) -> Duration {
    Duration::from_millis(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
}
