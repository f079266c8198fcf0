//! What can go wrong in Compute Engine, at once or at the end of an operation, and how Google says it.

use serde_json::{Value, json};

use super::path::Path;

/// A refusal that is answered at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComputeError {
    /// 404.
    #[error("The resource '{resource}' was not found")]
    NotFound {
        /// Full name.
        resource: String,
    },
    /// 409.
    #[error("The resource '{resource}' already exists")]
    Exists {
        /// Full name.
        resource: String,
    },
    /// 400: another resource names it.
    #[error("The {kind} resource '{resource}' is already being used by '{user}'")]
    InUse {
        /// Singular kind.
        kind: String,
        /// Full name.
        resource: String,
        /// Full name of who uses it.
        user: String,
    },
    /// 400: the state of the resource does not allow it, or an operation on it runs.
    #[error("The resource '{resource}' is not ready")]
    NotReady {
        /// Full name.
        resource: String,
    },
    /// 400: a value that can't be.
    #[error("Invalid value for field '{field}': '{value}'. {rule}")]
    Invalid {
        /// As `resource.name`.
        field: String,
        /// What was given.
        value: String,
        /// What must be.
        rule: String,
    },
    /// 400: a field is missing.
    #[error("Required field '{field}' not specified")]
    Required {
        /// As `resource.name`.
        field: String,
    },
    /// 400: not in this state.
    #[error("{message}")]
    Precondition {
        /// What is, and what would have to be.
        message: String,
    },
    /// 412: the fingerprint is an old one.
    #[error("Supplied fingerprint does not match current {what} fingerprint.")]
    Fingerprint {
        /// `metadata`, `labels`, `tags` or the resource's kind.
        what: &'static str,
    },
    /// 403: more than the project may have.
    #[error("Quota '{metric}' exceeded.  Limit: {limit} {place}.")]
    Quota {
        /// `CPUS`, `NETWORKS`, …
        metric: String,
        /// As Google writes it, `8.0`.
        limit: String,
        /// `globally` or `in region R`.
        place: String,
    },
    /// 501: Google has it, the local cloud does not.
    #[error("The local cloud does not implement {what}")]
    NotImplemented {
        /// The call or field.
        what: String,
    },
}

impl ComputeError {
    pub(super) fn missing(path: &Path) -> Self {
        Self::NotFound { resource: path.to_string() }
    }

    pub(super) fn not_implemented(what: impl Into<String>) -> Self {
        Self::NotImplemented { what: what.into() }
    }

    pub(super) fn required(field: &str) -> Self {
        Self::Required { field: format!("resource.{field}") }
    }

    pub(super) fn invalid(field: &str, value: impl ToString, rule: impl Into<String>) -> Self {
        Self::Invalid { field: format!("resource.{field}"), value: value.to_string(), rule: rule.into() }
    }

    /// HTTP status.
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::NotFound { .. } => 404,
            Self::Exists { .. } => 409,
            Self::InUse { .. }
            | Self::NotReady { .. }
            | Self::Invalid { .. }
            | Self::Required { .. }
            | Self::Precondition { .. } => 400,
            Self::Fingerprint { .. } => 412,
            Self::Quota { .. } => 403,
            Self::NotImplemented { .. } => 501,
        }
    }

    /// `errors[].reason`.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "notFound",
            Self::Exists { .. } => "alreadyExists",
            Self::InUse { .. } => "resourceInUseByAnotherResource",
            Self::NotReady { .. } => "resourceNotReady",
            Self::Invalid { .. } | Self::Precondition { .. } => "invalid",
            Self::Required { .. } => "required",
            Self::Fingerprint { .. } => "conditionNotMet",
            Self::Quota { .. } => "quotaExceeded",
            Self::NotImplemented { .. } => "notImplemented",
        }
    }

    /// The body. Compute Engine's has no `error.status`, unlike those of younger services.
    pub(super) fn body(&self) -> Value {
        let message = self.to_string();
        let mut detail = json!({ "message": message, "domain": "global", "reason": self.reason() });
        if matches!(self, Self::Fingerprint { .. }) {
            detail["location"] = "If-Match".into();
            detail["locationType"] = "header".into();
        }
        if matches!(self, Self::Quota { .. }) {
            detail["domain"] = "usageLimits".into();
        }
        json!({ "error": { "code": self.status(), "message": message, "errors": [detail] } })
    }
}

/// How an operation ended that did not do its work. It is told in the operation, with HTTP 200.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationError {
    /// `QUOTA_EXCEEDED`, `ZONE_RESOURCE_POOL_EXHAUSTED`, `INTERNAL_ERROR`, …
    pub code: String,
    /// For people.
    pub message: String,
}

impl OperationError {
    /// An error of the machine room.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self { code: "INTERNAL_ERROR".to_owned(), message: message.into() }
    }

    /// `httpErrorStatusCode` and `httpErrorMessage` of the operation.
    pub(super) fn http(&self) -> (u16, &'static str) {
        match self.code.as_str() {
            "QUOTA_EXCEEDED" => (403, "FORBIDDEN"),
            "ZONE_RESOURCE_POOL_EXHAUSTED" | "INTERNAL_ERROR" => (503, "SERVICE UNAVAILABLE"),
            "RESOURCE_NOT_FOUND" => (404, "NOT FOUND"),
            "RESOURCE_ALREADY_EXISTS" => (409, "CONFLICT"),
            _ => (400, "BAD REQUEST"),
        }
    }
}
