//! What can go wrong in Pub/Sub, and how Google says it over gRPC and JSON.

use tonic::Code;

/// A refusal by the local Pub/Sub.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PubSubError {
    /// No topic or subscription of this name.
    #[error("Resource not found (resource={resource}).")]
    NotFound {
        /// Full name, `projects/P/topics/T` or `projects/P/subscriptions/S`.
        resource: String,
    },
    /// The name is taken.
    #[error("Resource already exists in the project (resource={resource}).")]
    Exists {
        /// Full name.
        resource: String,
    },
    /// A value that can't be.
    #[error("{message}")]
    Invalid {
        /// Which value, and why not.
        message: String,
    },
    /// The policy changed since it was read.
    #[error("The policy of {resource} was changed since its etag was read; read it again.")]
    PolicyChanged {
        /// Full name.
        resource: String,
    },
    /// Google has it, the local cloud does not.
    #[error("The local cloud does not implement {what}")]
    NotImplemented {
        /// The call or field.
        what: String,
    },
    /// A fault that a test asked for.
    #[error("A fault was injected: Pub/Sub is unavailable")]
    Unavailable,
}

impl PubSubError {
    pub(super) fn not_found(resource: &str) -> Self {
        Self::NotFound { resource: resource.to_owned() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into() }
    }

    pub(super) fn not_implemented(what: impl Into<String>) -> Self {
        Self::NotImplemented { what: what.into() }
    }

    pub(super) fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => Code::NotFound,
            Self::Exists { .. } => Code::AlreadyExists,
            Self::Invalid { .. } => Code::InvalidArgument,
            Self::PolicyChanged { .. } => Code::Aborted,
            Self::NotImplemented { .. } => Code::Unimplemented,
            Self::Unavailable => Code::Unavailable,
        }
    }

    /// HTTP status and `error.status` of the JSON form. <https://cloud.google.com/apis/design/errors#handling_errors>
    pub(super) fn http(&self) -> (u16, &'static str) {
        match self {
            Self::NotFound { .. } => (404, "NOT_FOUND"),
            Self::Exists { .. } => (409, "ALREADY_EXISTS"),
            Self::Invalid { .. } => (400, "INVALID_ARGUMENT"),
            Self::PolicyChanged { .. } => (409, "ABORTED"),
            Self::NotImplemented { .. } => (501, "UNIMPLEMENTED"),
            Self::Unavailable => (503, "UNAVAILABLE"),
        }
    }
}

impl From<PubSubError> for tonic::Status {
    fn from(error: PubSubError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
