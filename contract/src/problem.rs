//! Errors of every HTTP face: RFC 9457 `application/problem+json`.

use serde::{Deserialize, Serialize};

/// Media type of a [`Problem`] (RFC 9457 §3).
pub const MEDIA_TYPE: &str = "application/problem+json";

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $status:literal, $title:literal;)*) => {
        /// What went wrong, in one word that programs can match and metrics can count.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// Every code.
            pub const ALL: &[Code] = &[$(Code::$variant,)*];

            /// The code as it stands in `code`, in metrics and in the feed.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }

            /// The HTTP status that goes with it.
            pub fn status(self) -> u16 {
                match self { $(Code::$variant => $status,)* }
            }

            /// A title for people, the same at each occurrence (RFC 9457 §3.1.3).
            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)* }
            }
        }
    };
}

codes! {
    /// No script of this tenant is in the release.
    UnknownTenant = "unknown_tenant", 404, "Unknown tenant";
    /// The tenant has no script of this name.
    UnknownScript = "unknown_script", 404, "Unknown script";
    /// The version or release asked for is not among those kept.
    UnknownVersion = "unknown_version", 404, "Unknown version";
    /// No execution of this id goes on, or has ended lately.
    UnknownExecution = "unknown_execution", 404, "Unknown execution";
    /// No such path.
    NotFound = "not_found", 404, "Not found";
    /// The path exists, the method does not.
    MethodNotAllowed = "method_not_allowed", 405, "Method not allowed";
    /// The body is not JSON.
    BadJson = "bad_json", 400, "Body is not JSON";
    /// A name, header or query value is malformed.
    BadRequest = "bad_request", 400, "Malformed request";
    /// The body is above its limit.
    TooLarge = "too_large", 413, "Body too large";
    /// The gate refused the script: empty, not UTF-8, a syntax error.
    ScriptRefused = "script_refused", 422, "Script refused";
    /// The script raised an error.
    ScriptError = "script_error", 422, "Script error";
    /// The script ran out of time.
    DeadlineExceeded = "deadline_exceeded", 422, "Deadline exceeded";
    /// The script ran out of memory.
    MemoryExceeded = "memory_exceeded", 422, "Memory limit exceeded";
    /// The result is above its limit.
    OutputExceeded = "output_exceeded", 422, "Output limit exceeded";
    /// The result can't be written as JSON.
    ResultInvalid = "result_invalid", 422, "Result is not JSON";
    /// A middleware refused the call.
    RejectedByMiddleware = "rejected_by_middleware", 403, "Rejected by middleware";
    /// A middleware failed, and so the call is refused.
    MiddlewareFailed = "middleware_failed", 422, "Middleware failed";
    /// The caller may not do this.
    Forbidden = "forbidden", 403, "Forbidden";
    /// No token, or a wrong one.
    Unauthenticated = "unauthenticated", 401, "Unauthenticated";
    /// Somebody else changed it first.
    Conflict = "conflict", 412, "Changed by somebody else";
    /// The execution was ended on request while it waited. 409: whoever still waits for its result learns that another
    /// request has settled what becomes of it, and may start it anew.
    Cancelled = "cancelled", 409, "Cancelled";
    /// Switched off by an operator.
    Suspended = "suspended", 409, "Suspended";
    /// Too much at once.
    Overloaded = "overloaded", 429, "Overloaded";
    /// No release is loaded yet.
    NotReady = "not_ready", 503, "Not ready";
    /// The bucket does not answer.
    BucketUnavailable = "bucket_unavailable", 503, "Bucket unavailable";
    /// An executor refused to prepare the release, or the rolling update was taken back.
    ActivationFailed = "activation_failed", 502, "Activation failed";
    /// A fault of ours; the log has more under the same request id.
    Internal = "internal", 500, "Internal error";
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A place in a script, and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// The script's file as its author knows it, for example `risk.luau`.
    pub file: String,
    /// Line, from 1; 0 when the fault has no line.
    pub line: u32,
    /// Column, from 1, where the engine tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// What is wrong.
    pub message: String,
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.line, self.column) {
            (0, _) => write!(f, "{}: {}", self.file, self.message),
            (line, None) => write!(f, "{}:{line}: {}", self.file, self.message),
            (line, Some(column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.message),
        }
    }
}

/// The body of every answer that is an error.
///
/// ```json
/// {"type":"urn:moonswarm:problem:unknown_script","title":"Unknown script","status":404,"code":"unknown_script",
///  "detail":"tenant `acme` has no script `risc`","hint":"`moonswarm list --tenant acme` shows its scripts",
///  "request_id":"0197…"}
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:moonswarm:problem:CODE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// [`Code::title`].
    pub title: String,
    /// [`Code::status`].
    pub status: u16,
    /// For programs.
    pub code: Code,
    /// What happened, on which thing, and what is true now.
    pub detail: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The id under which the log tells more; empty where the program has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// Where a script is at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
}

impl Problem {
    /// A problem with the texts that belong to `code`.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:moonswarm:problem:{code}"),
            title: code.title().to_owned(),
            status: code.status(),
            code,
            detail: detail.into(),
            hint: None,
            request_id: String::new(),
            diagnostics: Vec::new(),
        }
    }

    /// The same, telling what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same, pointing into a script.
    #[must_use]
    pub fn with_diagnostics(mut self, diagnostics: Vec<Diagnostic>) -> Self {
        self.diagnostics = diagnostics;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_written_as_it_is_counted() {
        for &code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }

    #[test]
    fn empty_fields_are_left_out() {
        let text = serde_json::to_string(&Problem::new(Code::BadJson, "line 1")).unwrap();
        assert_eq!(
            text,
            r#"{"type":"urn:moonswarm:problem:bad_json","title":"Body is not JSON","status":400,"code":"bad_json","detail":"line 1"}"#
        );
    }
}
