//! Why a release is not prepared: the words for people, and the code that managers decide by.

use contract::release::VerifyError;
use contract::{Code, ScriptName, TenantName};

/// Code of a release that is not what a trusted manager signed.
const BAD_SIGNATURE: &str = "bad_signature";

/// Code that makes the manager send the whole release.
const UNKNOWN_BASE: &str = "unknown_base";

/// Why a release can't run here. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Not signed by a known key for this stack, or its scripts are not the signed ones.
    #[error(transparent)]
    Unverified(#[from] VerifyError),
    /// Releases never go back.
    #[error("release {number} is not newer than release {active}, which runs here")]
    NotNewer {
        /// Number offered.
        number: u64,
        /// Number that runs.
        active: u64,
    },
    /// The changes are relative to something that is not here.
    #[error("release {number} is given as changes of release {base}, which is not here; send the whole release")]
    UnknownBase {
        /// Number offered.
        number: u64,
        /// Number of the base.
        base: u64,
    },
    /// The base of the same number is another one, or changes are missing.
    #[error("the changes do not turn release {base} into what was signed; send the whole release")]
    WrongBase {
        /// Number of the base.
        base: u64,
        /// How the results differ.
        #[source]
        err: VerifyError,
    },
    /// A source that is not the version it is said to be.
    #[error("source of `{tenant}/{script}` is not version {version}")]
    WrongSource {
        /// Whose script.
        tenant: TenantName,
        /// Which script.
        script: ScriptName,
        /// The version it should be.
        version: String,
    },
    /// A source of another length than the release says.
    #[error("source of `{tenant}/{script}` has {bytes} bytes, its release says {size}")]
    WrongSize {
        /// Whose script.
        tenant: TenantName,
        /// Which script.
        script: ScriptName,
        /// Bytes that came.
        bytes: usize,
        /// Bytes that were said.
        size: u32,
    },
    /// The sandbox does not take the source.
    #[error("`{tenant}/{script}` is refused")]
    Gate {
        /// Whose script.
        tenant: TenantName,
        /// Which script.
        script: ScriptName,
        /// What the sandbox says.
        #[source]
        refusal: sandbox::Refusal,
    },
    /// Every call would go through more middleware than it should.
    #[error("`{tenant}/{script}` is one too many: tenant `{tenant}` may have {max} scripts with `before` or `after`")]
    TooManyLayers {
        /// Whose script.
        tenant: TenantName,
        /// The outermost one.
        script: ScriptName,
        /// The bound.
        max: usize,
    },
    /// It is to be activated without having been prepared.
    #[error("release {number} can't be activated: {detail}")]
    Unprepared {
        /// Number asked for.
        number: u64,
        /// What is here.
        detail: String,
    },
    /// A message of the feed that is not of the agreed form.
    #[error("release {number} is malformed: {detail}")]
    Malformed {
        /// Number offered, 0 where it can't be read.
        number: u64,
        /// What is wrong.
        detail: String,
    },
    /// More than this program holds.
    #[error("release {number} has more than {bytes_max} bytes of sources")]
    TooLarge {
        /// Number offered.
        number: u64,
        /// The bound.
        bytes_max: usize,
    },
    /// A fault of this program.
    #[error("release {number} could not be prepared: {detail}")]
    Internal {
        /// Number offered.
        number: u64,
        /// What happened.
        detail: String,
    },
}

impl Refusal {
    /// What `Refused.code` of the feed says.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unverified(_) | Self::WrongSource { .. } => BAD_SIGNATURE,
            Self::UnknownBase { .. } | Self::WrongBase { .. } => UNKNOWN_BASE,
            Self::Unprepared { .. } => Code::UnknownVersion.as_str(),
            Self::NotNewer { .. } => Code::Conflict.as_str(),
            Self::WrongSize { .. } | Self::Malformed { .. } => Code::BadRequest.as_str(),
            Self::Gate { refusal, .. } => refusal.code.as_str(),
            Self::TooManyLayers { .. } => Code::ScriptRefused.as_str(),
            Self::TooLarge { .. } => Code::TooLarge.as_str(),
            Self::Internal { .. } => Code::Internal.as_str(),
        }
    }

    /// The script at fault, where one is.
    pub fn script(&self) -> Option<(&TenantName, &ScriptName)> {
        match self {
            Self::WrongSource { tenant, script, .. }
            | Self::WrongSize { tenant, script, .. }
            | Self::Gate { tenant, script, .. }
            | Self::TooManyLayers { tenant, script, .. } => Some((tenant, script)),
            _ => None,
        }
    }
}
