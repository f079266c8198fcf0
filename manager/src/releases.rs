//! A release in memory: the signed statement, its scripts, and their sources.
//!
//! Immutable once made; everybody shares it behind an `Arc`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use contract::Version;
use contract::api::Activation;
use contract::bundle::Bundle;
use contract::ids::{ScriptName, TenantName};
use contract::release::{Entry, Scripts, Signed, SignedRelease, SigningKey, Statement};
use imbl::OrdMap;

/// Sources by the version they are the content of.
/// Copies share what they have in common.
pub type Sources = OrdMap<Version, Bytes>;

/// So many sources that no script has any more are kept without a look.
const UNUSED_SOURCES_FREE: usize = 256;

/// A release. Number 0 is the state before the first one: it has no scripts, no signature, and is never sent.
#[derive(Debug, Clone)]
pub struct Release {
    /// What was signed.
    pub statement: Statement,
    /// Statement and signature, with the scripts.
    pub signed: SignedRelease,
    /// A source for each script, except those the bucket lost ([`Release::missing`]), and some of earlier releases.
    pub sources: Sources,
}

/// A release together with the generation of the bucket object that says so.
#[derive(Debug, Clone)]
pub struct Current {
    /// The release.
    pub release: Arc<Release>,
    /// Generation of the pointer object; 0 = there is none.
    pub pointer_generation: i64,
    /// How executors are moved to it.
    pub activation: Activation,
}

impl Release {
    /// The state of an installation without a release.
    pub fn none(stack: &str) -> Self {
        let scripts = Scripts::new();
        let statement = Statement {
            stack: stack.to_owned(),
            number: 0,
            digest: contract::release::digest(&scripts),
            created_at_ms: 0,
            reason: String::new(),
        };
        let signed = Signed { statement: String::new(), key_id: String::new(), signature: String::new() };
        Self { statement, signed: SignedRelease { signed, scripts }, sources: Sources::new() }
    }

    /// Signs `scripts` as release `number`, with their `sources`.
    pub fn sign(
        key: &SigningKey,
        stack: &str,
        number: u64,
        reason: String,
        scripts: Scripts,
        sources: &Sources,
    ) -> Self {
        let (stack, digest) = (stack.to_owned(), contract::release::digest(&scripts));
        let statement = Statement { stack, number, digest, created_at_ms: now_ms(), reason };
        let signed = SignedRelease { signed: Signed::sign(&statement, key), scripts };
        let mut release = Self { statement, signed, sources: sources.clone() };
        // Looking for what is not used any more costs as much as there are scripts: it is done once in a while.
        if sources.len() > 2 * contract::release::count(release.scripts()) + UNUSED_SOURCES_FREE {
            release.sources =
                release.used_sources().map(|(version, source)| (version.clone(), source.clone())).collect();
        }
        release
    }

    /// The sources of its scripts.
    fn used_sources(&self) -> impl Iterator<Item = (&Version, &Bytes)> {
        let used: BTreeSet<&Version> =
            self.scripts().values().flat_map(BTreeMap::values).map(|entry| &entry.version).collect();
        used.into_iter().filter_map(|version| self.sources.get_key_value(version))
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.statement.number
    }

    /// Its scripts.
    pub fn scripts(&self) -> &Scripts {
        &self.signed.scripts
    }

    /// What it says of one script.
    pub fn entry(&self, tenant: &TenantName, script: &ScriptName) -> Option<&Entry> {
        self.scripts().get(tenant)?.get(script)
    }

    /// Scripts whose source is not at hand: the release can't be sent as a whole.
    pub fn missing(&self) -> Vec<(TenantName, ScriptName)> {
        self.scripts()
            .iter()
            .flat_map(|(tenant, scripts)| scripts.iter().map(move |(script, entry)| (tenant, script, entry)))
            .filter(|(_, _, entry)| !self.sources.contains_key(&entry.version))
            .map(|(tenant, script, _)| (tenant.clone(), script.clone()))
            .collect()
    }

    /// The release as one text for executors to boot from.
    pub fn bundle(&self) -> Bundle {
        let sources = self.used_sources().map(|(version, source)| (version.clone(), source.to_vec())).collect();
        Bundle { release: self.signed.clone(), sources }
    }
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
