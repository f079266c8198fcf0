//! A release with its sources in one text: what an executor boots from when no manager answers.
//!
//! The same text is the executor's disk cache and the Docker config of a rolling activation. Frames are Lua comments,
//! so that whoever opens the config reads rules:
//!
//! ```text
//! --@moonswarm-release {"statement":"…","key_id":"…","signature":"…"}
//! --@script {"tenant":"acme","script":"risk","entry":{…,"size":31}}
//! return function(input) … end
//! ```
//!
//! After each `--@script` line come exactly `entry.size` bytes of source and one line feed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{ScriptName, TenantName, Version};
use crate::release::{self, Entry, Scripts, Signed, SignedRelease};

const RELEASE: &str = "--@moonswarm-release ";
const SCRIPT: &str = "--@script ";

/// Sources by the version they are the content of.
pub type Sources = BTreeMap<Version, Vec<u8>>;

/// A release with the source of each of its scripts. The signature is not yet checked; the sources are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// What runs.
    pub release: SignedRelease,
    /// Its sources; each hashes to the version it stands under.
    pub sources: Sources,
}

#[derive(Serialize, Deserialize)]
struct ScriptLine {
    tenant: TenantName,
    script: ScriptName,
    entry: Entry,
}

/// Why a text is no bundle, or a bundle can't be written.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The first line is another one.
    #[error("the text does not begin with `--@moonswarm-release`: it is no release bundle")]
    NotABundle,
    /// A frame line is no JSON of the expected form.
    #[error("read frame at byte {at} of the release bundle")]
    Frame {
        /// Offset of the line.
        at: usize,
        /// What is wrong with it.
        #[source]
        err: serde_json::Error,
    },
    /// The text ends inside a script.
    #[error("the release bundle ends at byte {at}, inside `{tenant}/{script}`")]
    CutShort {
        /// Offset of the end.
        at: usize,
        /// Whose script.
        tenant: TenantName,
        /// Which script.
        script: ScriptName,
    },
    /// A source that is not the version it is said to be.
    #[error("source of `{tenant}/{script}` in the release bundle is not version {version}")]
    WrongSource {
        /// Whose script.
        tenant: TenantName,
        /// Which script.
        script: ScriptName,
        /// The version it should be.
        version: Version,
    },
}

impl Bundle {
    /// The bundle as text.
    ///
    /// # Errors
    /// [`BundleError::WrongSource`] if the source of a script is missing.
    pub fn encode(&self) -> Result<Vec<u8>, BundleError> {
        let mut text = format!("{RELEASE}{}\n", json(&self.release.signed)).into_bytes();
        for (tenant, of_tenant) in &self.release.scripts {
            for (script, entry) in of_tenant {
                let source = self.sources.get(&entry.version).ok_or_else(|| BundleError::WrongSource {
                    tenant: tenant.clone(),
                    script: script.clone(),
                    version: entry.version.clone(),
                })?;
                let line = ScriptLine { tenant: tenant.clone(), script: script.clone(), entry: entry.clone() };
                text.extend_from_slice(format!("{SCRIPT}{}\n", json(&line)).as_bytes());
                text.extend_from_slice(source);
                text.push(b'\n');
            }
        }
        Ok(text)
    }

    /// Reads the text of a bundle and checks that each source is the version it stands for.
    ///
    /// # Errors
    /// [`BundleError`]. The signature is not checked here: [`SignedRelease::verify`] does that.
    pub fn decode(text: &[u8]) -> Result<Self, BundleError> {
        let mut rest = Reader { text, at: 0 };
        let signed: Signed = rest.frame(RELEASE)?.ok_or(BundleError::NotABundle)?;
        let (mut scripts, mut sources) = (Scripts::new(), Sources::new());
        while let Some(ScriptLine { tenant, script, entry }) = rest.frame(SCRIPT)? {
            let Some(source) = rest.source(entry.size as usize) else {
                return Err(BundleError::CutShort { at: text.len(), tenant, script });
            };
            if Version::of(source) != entry.version {
                return Err(BundleError::WrongSource { tenant, script, version: entry.version });
            }
            sources.insert(entry.version.clone(), source.to_vec());
            release::set(&mut scripts, tenant, script, entry);
        }
        Ok(Self { release: SignedRelease { signed, scripts }, sources })
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// The JSON of the line at hand, if it begins with `prefix`.
    fn frame<T: for<'de> Deserialize<'de>>(&mut self, prefix: &str) -> Result<Option<T>, BundleError> {
        let Some(rest) = self.text[self.at..].strip_prefix(prefix.as_bytes()) else {
            return Ok(None);
        };
        let length = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
        let value = serde_json::from_slice(&rest[..length]).map_err(|err| BundleError::Frame { at: self.at, err })?;
        self.at = (self.at + prefix.len() + length + 1).min(self.text.len());
        Ok(Some(value))
    }

    /// The next `size` bytes, if they and the line feed after them are there.
    fn source(&mut self, size: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(size)?;
        let source = self.text.get(self.at..end)?;
        self.text.get(end).filter(|&&byte| byte == b'\n')?;
        self.at = end + 1;
        Some(source)
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("structs of strings and numbers are always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::{SigningKey, Statement};

    fn bundle(sources: &[(&str, &str, &str)]) -> Bundle {
        let key = SigningKey::parse(&SigningKey::generate()).unwrap();
        let mut scripts = Scripts::new();
        let mut contents = Sources::new();
        for (tenant, script, source) in sources {
            let version = Version::of(source.as_bytes());
            let entry = Entry {
                version: version.clone(),
                generation: 1,
                object: String::new(),
                size: u32::try_from(source.len()).unwrap(),
                pushed_at_ms: 0,
                pushed_by: String::new(),
            };
            contents.insert(version, source.as_bytes().to_vec());
            release::set(&mut scripts, tenant.parse().unwrap(), script.parse().unwrap(), entry);
        }
        let statement = Statement {
            stack: "dev".into(),
            number: 1,
            digest: String::new(),
            created_at_ms: 0,
            reason: String::new(),
        };
        Bundle { release: SignedRelease::sign(statement, scripts, &key), sources: contents }
    }

    #[test]
    fn a_bundle_survives_its_text() {
        let bundle = bundle(&[("a", "x", "return 1\n--@script {}\n"), ("a", "y", "return 2"), ("b", "x", "return 2")]);
        assert_eq!(Bundle::decode(&bundle.encode().unwrap()).unwrap(), bundle);
    }

    #[test]
    fn a_bundle_that_was_cut_or_changed_is_refused() {
        let text = bundle(&[("a", "x", "return 1")]).encode().unwrap();
        assert!(matches!(Bundle::decode(&text[..text.len() - 3]), Err(BundleError::CutShort { .. })));
        let changed = String::from_utf8(text).unwrap().replace("return 1", "return 2");
        assert!(matches!(Bundle::decode(changed.as_bytes()), Err(BundleError::WrongSource { .. })));
        assert!(matches!(Bundle::decode(b"return 1"), Err(BundleError::NotABundle)));
    }

    #[test]
    fn every_prefix_of_a_bundle_is_read_without_a_panic() {
        let text = bundle(&[("a", "x", "return 1"), ("b", "y", "return 2")]).encode().unwrap();
        for end in 0..text.len() {
            let _ = Bundle::decode(&text[..end]);
        }
    }

    #[test]
    fn the_text_of_a_bundle_is_luau() {
        let text = String::from_utf8(bundle(&[("a", "x", "return 1")]).encode().unwrap()).unwrap();
        assert!(text.lines().all(|line| line.starts_with("--") || line == "return 1"));
    }
}
