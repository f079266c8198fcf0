//! Releases: numbered, signed, immutable statements of which version of every script runs.
//!
//! The signature covers a small [`Statement`]; the statement names the whole content by [`Statement::digest`]. So a
//! change of one script among thousands travels as that one script, and is still checked against all of them.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::{BASE64, HEXLOWER};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::ids::{ScriptName, TenantName, Version};

/// The object that says which release is current. Its conditional replacement is the only point of order in the
/// system; its older generations are the history.
pub const POINTER_OBJECT: &str = "releases/current.json";

/// About how many bytes are hashed at once.
const BLOCK_BYTES: usize = 16 << 10;

/// What a release says of one script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Name of the content.
    pub version: Version,
    /// Generation of the bucket object it came from (Cloud Storage: a later write has a larger one).
    pub generation: i64,
    /// The bucket object it came from.
    pub object: String,
    /// Bytes of source.
    pub size: u32,
    /// When the object was written, milliseconds since the Unix epoch.
    pub pushed_at_ms: i64,
    /// Who wrote it, as far as known: what the author's program said, or `bucket upload`.
    pub pushed_by: String,
}

/// Every script of a release, by tenant and name.
///
/// A release differs from the one before in a script or two of thousands. So copies share what they have in common:
/// copying and changing one, and finding what differs between two, cost as much as differs. [`set`] and [`remove`] see
/// to it that no tenant is left without scripts.
pub type Scripts = OrdMap<TenantName, BTreeMap<ScriptName, Entry>>;

/// A script that differs between two releases, and what the later one says of it: `None` = it is no more.
pub type Difference = (TenantName, ScriptName, Option<Entry>);

/// Puts `entry` in the place of what is said of the script.
pub fn set(scripts: &mut Scripts, tenant: TenantName, script: ScriptName, entry: Entry) {
    scripts.entry(tenant).or_default().insert(script, entry);
}

/// Removes the script; a tenant without scripts is no more.
pub fn remove(scripts: &mut Scripts, tenant: &TenantName, script: &ScriptName) {
    let Some(of_tenant) = scripts.get_mut(tenant) else { return };
    of_tenant.remove(script);
    if of_tenant.is_empty() {
        scripts.remove(tenant);
    }
}

/// What to do to `before` to make it `after`, by tenant and script. What they share is not looked at.
pub fn difference(before: &Scripts, after: &Scripts) -> Vec<Difference> {
    let nothing = BTreeMap::new();
    let mut found = Vec::new();
    for item in before.diff(after) {
        let (tenant, old, new) = match item {
            DiffItem::Add(tenant, new) => (tenant, &nothing, new),
            DiffItem::Remove(tenant, old) => (tenant, old, &nothing),
            DiffItem::Update { old: (tenant, old), new: (_, new) } => (tenant, old, new),
        };
        let names: BTreeSet<&ScriptName> = old.keys().chain(new.keys()).collect();
        for script in names {
            let (was, is) = (old.get(script), new.get(script));
            if was != is {
                found.push((tenant.clone(), script.clone(), is.cloned()));
            }
        }
    }
    found
}

/// Lower-case hex SHA-256 over one line `TENANT/SCRIPT VERSION GENERATION\n` per script, in order of tenant, then script.
///
/// Only what decides what runs is in it, so that a later program may add fields to [`Entry`].
pub fn digest(scripts: &Scripts) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    // Hashed in blocks, and put together without formatting: of thousands of scripts, either costs more than hashing.
    let mut lines = String::with_capacity(2 * BLOCK_BYTES);
    for (tenant, of_tenant) in scripts {
        for (script, entry) in of_tenant {
            for part in [tenant.as_str(), "/", script.as_str(), " ", entry.version.as_str(), " "] {
                lines.push_str(part);
            }
            lines.push_str(&entry.generation.to_string());
            lines.push('\n');
            if lines.len() >= BLOCK_BYTES {
                context.update(lines.as_bytes());
                lines.clear();
            }
        }
    }
    context.update(lines.as_bytes());
    HEXLOWER.encode(context.finish().as_ref())
}

/// How many scripts there are, over all tenants.
pub fn count(scripts: &Scripts) -> usize {
    scripts.values().map(BTreeMap::len).sum()
}

/// The part of a release that is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// The installation it is for; an executor of another stack refuses it.
    pub stack: String,
    /// Grows by at least one with each release; an executor never goes back to a smaller one.
    pub number: u64,
    /// [`digest`] of the release's scripts.
    pub digest: String,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// Why, for people: `push acme/risk by ada`, `reconcile: 3 scripts`.
    pub reason: String,
}

/// A statement with its signature, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// JSON text of a [`Statement`], the exact bytes that were signed.
    pub statement: String,
    /// Which key signed: [`PublicKey::id`].
    pub key_id: String,
    /// Ed25519 signature (RFC 8032), base64.
    pub signature: String,
}

/// A release as it stands in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRelease {
    /// Statement and signature.
    #[serde(flatten)]
    pub signed: Signed,
    /// What the statement's digest covers.
    pub scripts: Scripts,
}

/// Why a release or statement is not to be trusted.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Signed by a key this program was not given.
    #[error("release is signed with key `{key_id}`, known keys are {known}")]
    UnknownKey {
        /// The key named in the release.
        key_id: String,
        /// The keys given, joined.
        known: String,
    },
    /// The signature does not fit the statement.
    #[error("signature by key `{0}` does not fit the statement")]
    BadSignature(String),
    /// The statement is no JSON of the expected form.
    #[error("read release statement")]
    Statement(#[source] serde_json::Error),
    /// The scripts are not the ones that were signed.
    #[error("release {number} has digest {signed}, its scripts have {found}")]
    Digest {
        /// Release number.
        number: u64,
        /// Digest in the statement.
        signed: String,
        /// Digest of the scripts at hand.
        found: String,
    },
    /// Signed for another installation.
    #[error("release {number} is for stack `{theirs}`, this is stack `{ours}`")]
    Stack {
        /// Release number.
        number: u64,
        /// Stack in the statement.
        theirs: String,
        /// Stack of this program.
        ours: String,
    },
}

impl Signed {
    /// Signs a statement as it is.
    pub fn sign(statement: &Statement, key: &SigningKey) -> Self {
        let statement = serde_json::to_string(statement).expect("a struct of strings and numbers is always JSON");
        let signature = BASE64.encode(key.pair.sign(statement.as_bytes()).as_ref());
        Self { statement, key_id: key.public().id(), signature }
    }

    /// The statement, after checking that a known key signed it for this stack.
    ///
    /// # Errors
    /// [`VerifyError`], all variants but `Digest`.
    pub fn verify(&self, stack: &str, keys: &PublicKeys) -> Result<Statement, VerifyError> {
        let key = keys.0.iter().find(|key| key.id() == self.key_id).ok_or_else(|| VerifyError::UnknownKey {
            key_id: self.key_id.clone(),
            known: keys.0.iter().map(|key| format!("`{}`", key.id())).collect::<Vec<_>>().join(", "),
        })?;
        let signature = BASE64.decode(self.signature.as_bytes()).unwrap_or_default();
        UnparsedPublicKey::new(&ED25519, &key.0)
            .verify(self.statement.as_bytes(), &signature)
            .map_err(|_| VerifyError::BadSignature(self.key_id.clone()))?;
        let statement: Statement = serde_json::from_str(&self.statement).map_err(VerifyError::Statement)?;
        if statement.stack != stack {
            return Err(VerifyError::Stack {
                number: statement.number,
                theirs: statement.stack,
                ours: stack.to_owned(),
            });
        }
        Ok(statement)
    }
}

impl SignedRelease {
    /// Signs `scripts` as the release that `statement` describes; its digest is filled in here.
    pub fn sign(statement: Statement, scripts: Scripts, key: &SigningKey) -> Self {
        let statement = Statement { digest: digest(&scripts), ..statement };
        Self { signed: Signed::sign(&statement, key), scripts }
    }

    /// The statement, after checking signature, stack and that the scripts are the signed ones.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify(&self, stack: &str, keys: &PublicKeys) -> Result<Statement, VerifyError> {
        let statement = self.signed.verify(stack, keys)?;
        check_digest(&statement, &self.scripts)?;
        Ok(statement)
    }
}

/// Checks that `scripts` are what `statement` was signed for.
///
/// # Errors
/// [`VerifyError::Digest`].
pub fn check_digest(statement: &Statement, scripts: &Scripts) -> Result<(), VerifyError> {
    let found = digest(scripts);
    if found == statement.digest {
        return Ok(());
    }
    Err(VerifyError::Digest { number: statement.number, signed: statement.digest.clone(), found })
}

/// A key file that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No base64 of a PKCS#8 Ed25519 key.
    #[error("signing key is not an Ed25519 key in base64 PKCS#8; `moonswarm-manager keygen` makes one")]
    Signing,
    /// No base64 of 32 bytes.
    #[error("line {line} of the public keys is not 32 bytes in base64; `moonswarm-manager keygen` makes one")]
    Public {
        /// Line in the file, from 1.
        line: usize,
    },
    /// No key at all.
    #[error("there is no public key; `moonswarm-manager keygen` makes one")]
    NoPublic,
}

/// The private key with which managers sign.
pub struct SigningKey {
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// A new key as the text of its file: base64 of PKCS#8 v2 (RFC 5958).
    pub fn generate() -> String {
        let document = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new())
            .expect("the operating system gives random bytes");
        BASE64.encode(document.as_ref())
    }

    /// Reads the text of a key file.
    ///
    /// # Errors
    /// [`KeyError::Signing`]; the text itself is never repeated.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let bytes = BASE64.decode(text.trim().as_bytes()).map_err(|_| KeyError::Signing)?;
        let pair = Ed25519KeyPair::from_pkcs8(&bytes).map_err(|_| KeyError::Signing)?;
        Ok(Self { pair })
    }

    /// The half that executors are given.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.pair.public_key().as_ref().to_vec())
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.public().id())
    }
}

/// The public half of a [`SigningKey`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// First 16 hex digits of the key's SHA-256.
    pub fn id(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, &self.0);
        HEXLOWER.encode(&digest.as_ref()[..8])
    }

    /// The text of its file: base64 of 32 bytes.
    pub fn to_text(&self) -> String {
        BASE64.encode(&self.0)
    }
}

/// The keys an executor trusts; more than one while a key is replaced.
#[derive(Debug, Clone)]
pub struct PublicKeys(Vec<PublicKey>);

impl PublicKeys {
    /// Reads the text of a file with one key per line; empty lines and lines that start with `#` are skipped.
    ///
    /// # Errors
    /// [`KeyError::Public`], [`KeyError::NoPublic`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match BASE64.decode(line.as_bytes()) {
                Ok(bytes) if bytes.len() == 32 => keys.push(PublicKey(bytes)),
                _ => return Err(KeyError::Public { line: index + 1 }),
            }
        }
        if keys.is_empty() { Err(KeyError::NoPublic) } else { Ok(Self(keys)) }
    }
}

impl From<PublicKey> for PublicKeys {
    fn from(key: PublicKey) -> Self {
        Self(vec![key])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(key: &SigningKey) -> SignedRelease {
        let entry = Entry {
            version: Version::of(b"return 1"),
            generation: 7,
            object: "tenants/acme/scripts/risk.luau".into(),
            size: 8,
            pushed_at_ms: 0,
            pushed_by: "ada".into(),
        };
        let mut scripts = Scripts::new();
        set(&mut scripts, "acme".parse().unwrap(), "risk".parse().unwrap(), entry);
        let statement = Statement {
            stack: "dev".into(),
            number: 3,
            digest: String::new(),
            created_at_ms: 0,
            reason: "push".into(),
        };
        SignedRelease::sign(statement, scripts, key)
    }

    fn key() -> SigningKey {
        SigningKey::parse(&SigningKey::generate()).unwrap()
    }

    #[test]
    fn a_signed_release_verifies_also_after_a_trip_through_json() {
        let key = key();
        let text = serde_json::to_string(&release(&key)).unwrap();
        let release: SignedRelease = serde_json::from_str(&text).unwrap();
        let keys = PublicKeys::parse(&format!("# ours\n{}\n", key.public().to_text())).unwrap();
        assert_eq!(release.verify("dev", &keys).unwrap().number, 3);
    }

    #[test]
    fn a_changed_script_is_found_by_the_digest() {
        let key = key();
        let mut release = release(&key);
        let (tenant, script) = ("acme".parse().unwrap(), "risk".parse().unwrap());
        let entry = Entry { generation: 8, ..release.scripts[&tenant][&script].clone() };
        set(&mut release.scripts, tenant, script, entry);
        assert!(matches!(release.verify("dev", &key.public().into()), Err(VerifyError::Digest { number: 3, .. })));
    }

    #[test]
    fn a_changed_statement_is_found_by_the_signature() {
        let key = key();
        let mut release = release(&key);
        release.signed.statement = release.signed.statement.replace("\"number\":3", "\"number\":4");
        assert!(matches!(release.verify("dev", &key.public().into()), Err(VerifyError::BadSignature(_))));
    }

    #[test]
    fn a_foreign_key_and_a_foreign_stack_are_refused() {
        let (ours, theirs) = (key(), key());
        let release = release(&ours);
        assert!(matches!(release.verify("dev", &theirs.public().into()), Err(VerifyError::UnknownKey { .. })));
        assert!(matches!(release.verify("prod", &ours.public().into()), Err(VerifyError::Stack { .. })));
    }

    #[test]
    fn key_files_that_are_none_say_so() {
        assert!(matches!(SigningKey::parse("nonsense"), Err(KeyError::Signing)));
        assert!(matches!(PublicKeys::parse("# only a comment"), Err(KeyError::NoPublic)));
        assert!(matches!(PublicKeys::parse("\nAAAA"), Err(KeyError::Public { line: 2 })));
    }
}
