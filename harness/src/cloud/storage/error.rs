//! What can go wrong in the bucket's house, and how Google says it over JSON and gRPC.
//!
//! Codes and reasons: <https://cloud.google.com/storage/docs/json_api/v1/status-codes>.

use tonic::Code;

use super::names::NameError;

/// A refusal by the local Cloud Storage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// 404: no bucket of this name.
    #[error("The specified bucket does not exist: {bucket}")]
    NoSuchBucket {
        /// The name asked for.
        bucket: String,
    },
    /// 404: no live object of this name, or no such generation of it.
    #[error("No such object: {bucket}/{object}")]
    NoSuchObject {
        /// The bucket, which exists.
        bucket: String,
        /// The name, with `#GENERATION` when one was asked for.
        object: String,
    },
    /// 404: no notification configuration of this id.
    #[error("No such notification configuration: {id} of bucket {bucket}")]
    NoSuchNotification {
        /// The bucket, which exists.
        bucket: String,
        /// The id asked for.
        id: String,
    },
    /// 409: buckets share one namespace and this name is taken.
    #[error("The bucket {bucket} exists already")]
    BucketExists {
        /// The name.
        bucket: String,
    },
    /// 409: live or noncurrent objects are left.
    #[error("The bucket you tried to delete is not empty: {bucket} holds {objects} object versions")]
    BucketNotEmpty {
        /// The name.
        bucket: String,
        /// Versions in it, noncurrent ones too.
        objects: usize,
    },
    /// 412: an `if…Match` condition does not hold.
    #[error("At least one of the pre-conditions you specified did not hold.")]
    PreconditionFailed,
    /// 304: an `if…NotMatch` condition of a read does not hold.
    #[error("Not modified")]
    NotModified,
    /// 400: a value that can't be.
    #[error("{message}")]
    Invalid {
        /// Which value, and why not.
        message: String,
    },
    /// 400: a parameter is missing.
    #[error("Required parameter: {name}")]
    Required {
        /// Its name.
        name: &'static str,
    },
    /// 400: the name of a bucket or an object is against the rules.
    #[error("the name is not allowed")]
    Name(#[from] NameError),
    /// 416: the range begins behind the object's end.
    #[error("The requested range is not satisfiable: the object has {size} bytes")]
    Range {
        /// The object's size in bytes.
        size: usize,
    },
    /// 413: more bytes than the local cloud keeps.
    #[error("The object has more than {max} bytes, which the local cloud does not keep")]
    TooLarge {
        /// The bound in bytes.
        max: usize,
    },
    /// 404: the upload never was, or its session was dropped.
    #[error("Upload session not found: {id}")]
    NoSuchUpload {
        /// The `upload_id`.
        id: String,
    },
    /// 403: Cloud Storage's service agent lacks `roles/pubsub.publisher` on the topic.
    #[error(
        "The service account '{agent}' does not have permission to publish messages to to the Cloud Pub/Sub topic \
         '//pubsub.googleapis.com/{topic}', or that topic does not exist."
    )]
    AgentMayNotPublish {
        /// The service agent's address.
        agent: String,
        /// The topic's full name.
        topic: String,
    },
    /// 501: Google has it, the local cloud does not.
    #[error("The local cloud does not implement {what}")]
    NotImplemented {
        /// The call or field.
        what: String,
    },
    /// A fault that a test asked for.
    #[error("A fault was injected: HTTP status {status}")]
    Injected {
        /// HTTP status to answer.
        status: u16,
    },
}

impl StorageError {
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into() }
    }

    pub(super) fn not_implemented(what: impl Into<String>) -> Self {
        Self::NotImplemented { what: what.into() }
    }

    /// The HTTP status that the JSON API answers.
    pub fn http_status(&self) -> u16 {
        match self {
            Self::NotModified => 304,
            Self::Invalid { .. } | Self::Required { .. } | Self::Name(_) => 400,
            Self::NoSuchBucket { .. }
            | Self::NoSuchObject { .. }
            | Self::NoSuchNotification { .. }
            | Self::NoSuchUpload { .. } => 404,
            Self::AgentMayNotPublish { .. } => 403,
            Self::BucketExists { .. } | Self::BucketNotEmpty { .. } => 409,
            Self::PreconditionFailed => 412,
            Self::TooLarge { .. } => 413,
            Self::Range { .. } => 416,
            Self::NotImplemented { .. } => 501,
            Self::Injected { status } => *status,
        }
    }

    /// `errors[].reason` of the JSON API.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NotModified => "notModified",
            Self::Invalid { .. } | Self::Name(_) => "invalid",
            Self::Required { .. } => "required",
            Self::NoSuchBucket { .. }
            | Self::NoSuchObject { .. }
            | Self::NoSuchNotification { .. }
            | Self::NoSuchUpload { .. } => "notFound",
            Self::AgentMayNotPublish { .. } => "forbidden",
            Self::BucketExists { .. } | Self::BucketNotEmpty { .. } => "conflict",
            Self::PreconditionFailed => "conditionNotMet",
            Self::TooLarge { .. } => "uploadTooLarge",
            Self::Range { .. } => "requestedRangeNotSatisfiable",
            Self::NotImplemented { .. } => "notImplemented",
            Self::Injected { status } => match status {
                401 => "authError",
                403 => "forbidden",
                404 => "notFound",
                412 => "conditionNotMet",
                429 => "rateLimitExceeded",
                400..=499 => "invalid",
                _ => "backendError",
            },
        }
    }

    /// The text for people, with the cause.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Name(name) => name.to_string(),
            other => other.to_string(),
        }
    }

    fn code(&self) -> Code {
        match self.http_status() {
            // Reads tell "not modified" as ABORTED over gRPC: there is no code for 304.
            304 => Code::Aborted,
            400 | 413 => Code::InvalidArgument,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::NotFound,
            // "Not empty" is a state that the caller must change; "exists" is not.
            409 if matches!(self, Self::BucketNotEmpty { .. }) => Code::FailedPrecondition,
            409 => Code::AlreadyExists,
            412 => Code::FailedPrecondition,
            416 => Code::OutOfRange,
            429 => Code::ResourceExhausted,
            500 => Code::Internal,
            501 => Code::Unimplemented,
            503 => Code::Unavailable,
            408 | 504 => Code::DeadlineExceeded,
            _ => Code::Unknown,
        }
    }
}

impl From<StorageError> for tonic::Status {
    fn from(error: StorageError) -> Self {
        Self::new(error.code(), error.message())
    }
}
