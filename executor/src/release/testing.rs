//! Signed offers for tests.

use contract::release::{self, Entry, PublicKeys, Scripts, SignedRelease, SigningKey, Statement};
use contract::{Version, ids};

use super::{Change, Content, Offer, Trust, Verified, Workshop};

/// A manager's key, and the scripts that it signed last.
pub(crate) struct Signer {
    key: SigningKey,
    scripts: Scripts,
}

/// With the limits of every stack.
pub(crate) fn workshop() -> Workshop {
    Workshop { engine: sandbox::Engine::start().unwrap(), limits: sandbox::Limits::default() }
}

impl Signer {
    pub(crate) fn new() -> Self {
        Self { key: SigningKey::parse(&SigningKey::generate()).unwrap(), scripts: Scripts::new() }
    }

    pub(crate) fn trust(&self) -> Trust {
        let keys = PublicKeys::from(self.key.public());
        Trust { stack: "dev".into(), keys, workshop: workshop() }
    }

    /// `changes` on the scripts kept (on none for base 0), signed.
    pub(crate) fn sign(&self, number: u64, base: u64, changes: &[Change]) -> SignedRelease {
        let mut scripts = if base == 0 { Scripts::new() } else { self.scripts.clone() };
        for change in changes {
            let (tenant, script) = (&change.tenant, &change.script);
            match &change.content {
                Some(content) => release::set(&mut scripts, tenant.clone(), script.clone(), content.entry.clone()),
                None => release::remove(&mut scripts, tenant, script),
            }
        }
        let digest = String::new();
        let statement = Statement { stack: "dev".into(), number, digest, created_at_ms: 0, reason: "test".into() };
        SignedRelease::sign(statement, scripts, &self.key)
    }

    pub(crate) fn offer(&self, number: u64, base: u64, changes: Vec<Change>) -> Offer {
        let signed = self.sign(number, base, &changes).signed;
        Offer { verified: Verified::check(signed, &self.trust()).unwrap(), base, changes }
    }

    /// The same; later changes are relative to it.
    pub(crate) fn offer_and_keep(&mut self, number: u64, base: u64, changes: Vec<Change>) -> Offer {
        self.scripts = self.sign(number, base, &changes).scripts;
        self.offer(number, base, changes)
    }
}

pub(crate) fn write(tenant: &str, script: &str, source: impl AsRef<[u8]>) -> Change {
    let (tenant, script, source) = (tenant.parse().unwrap(), script.parse().unwrap(), source.as_ref());
    let entry = Entry {
        version: Version::of(source),
        generation: 1,
        object: ids::object_of(&tenant, &script, ids::Form::of(source)),
        size: u32::try_from(source.len()).unwrap(),
        pushed_at_ms: 0,
        pushed_by: "ada".into(),
    };
    Change { tenant, script, content: Some(Content { entry, source: source.into() }) }
}

pub(crate) fn remove(tenant: &str, script: &str) -> Change {
    Change { tenant: tenant.parse().unwrap(), script: script.parse().unwrap(), content: None }
}
