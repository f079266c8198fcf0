//! A release as it is offered by a manager, a cache or a config: a statement that was checked, and changes that were
//! not yet.

use std::sync::Arc;

use contract::bundle::Bundle;
use contract::release::{Entry, PublicKeys, Signed, Statement, VerifyError};
use contract::{ScriptName, TenantName};

use super::Workshop;

/// Whose releases are run, and within which limits.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The installation.
    pub stack: String,
    /// Keys of its managers.
    pub keys: PublicKeys,
    /// What their scripts are compiled with.
    pub workshop: Workshop,
}

/// A statement whose signature fits.
#[derive(Debug, Clone)]
pub struct Verified {
    // INVARIANT: `statement` is what `signed` says, signed by a trusted key for this stack.
    signed: Signed,
    statement: Statement,
}

impl Verified {
    /// Checks key, signature and stack.
    ///
    /// # Errors
    /// [`VerifyError`], all variants but `Digest`.
    pub fn check(signed: Signed, trust: &Trust) -> Result<Self, VerifyError> {
        let statement = signed.verify(&trust.stack, &trust.keys)?;
        Ok(Self { signed, statement })
    }

    /// What was signed.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    pub(super) fn into_parts(self) -> (Signed, Statement) {
        (self.signed, self.statement)
    }
}

/// A release to prepare.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The statement.
    pub verified: Verified,
    /// Number of the release that `changes` are relative to; 0 = they are the whole release.
    pub base: u64,
    /// What differs.
    pub changes: Vec<Change>,
}

/// One script that differs from the base.
#[derive(Debug, Clone)]
pub struct Change {
    /// Whose.
    pub tenant: TenantName,
    /// Which.
    pub script: ScriptName,
    /// What it is now; `None` = it is no more.
    pub content: Option<Content>,
}

/// What a script is.
#[derive(Debug, Clone)]
pub struct Content {
    /// What the release says of it.
    pub entry: Entry,
    /// Its source, not yet compared with the entry.
    pub source: Arc<[u8]>,
}

impl Offer {
    /// The whole release of a bundle.
    ///
    /// # Errors
    /// [`VerifyError`], all variants but `Digest`.
    pub fn of_bundle(bundle: Bundle, trust: &Trust) -> Result<Self, VerifyError> {
        let Bundle { release, sources } = bundle;
        let verified = Verified::check(release.signed, trust)?;
        let mut changes = Vec::new();
        for (tenant, of_tenant) in release.scripts {
            for (script, entry) in of_tenant {
                // A version without a source becomes an empty one here, which `prepare` finds to be another version.
                let source = sources.get(&entry.version).map_or(&[][..], Vec::as_slice).into();
                changes.push(Change { tenant: tenant.clone(), script, content: Some(Content { entry, source }) });
            }
        }
        Ok(Self { verified, base: 0, changes })
    }
}
