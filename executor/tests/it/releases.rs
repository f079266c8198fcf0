//! Signed releases from a few words.

use contract::bundle::{Bundle, Sources};
use contract::feed::{Change, Prepare, ScriptVersion, SignedStatement};
use contract::release::{Entry, PublicKeys, Scripts, SignedRelease, SigningKey, Statement};
use contract::{Version, ids};
use data_encoding::BASE64;

/// `(tenant, script, source)`.
pub(crate) type Script<'a> = (&'a str, &'a str, &'a str);

pub(crate) struct Signer(SigningKey);

impl Signer {
    pub(crate) fn new() -> Self {
        Self(SigningKey::parse(&SigningKey::generate()).unwrap())
    }

    pub(crate) fn public_keys(&self) -> PublicKeys {
        self.0.public().into()
    }

    pub(crate) fn public_key_file(&self) -> String {
        self.0.public().to_text()
    }

    /// The whole release.
    pub(crate) fn bundle(&self, number: u64, scripts: &[Script<'_>]) -> Bundle {
        let (mut entries, mut sources) = (Scripts::new(), Sources::new());
        for (tenant, script, source) in scripts {
            let (tenant, script) = (tenant.parse().unwrap(), script.parse().unwrap());
            let entry = Entry {
                version: Version::of(source.as_bytes()),
                generation: i64::try_from(number).unwrap(),
                object: ids::object_of(&tenant, &script, ids::Form::Luau),
                size: u32::try_from(source.len()).unwrap(),
                pushed_at_ms: 0,
                pushed_by: "ada".into(),
            };
            sources.insert(entry.version.clone(), source.as_bytes().to_vec());
            entries.entry(tenant).or_default().insert(script, entry);
        }
        let (digest, reason) = (String::new(), "test".to_owned());
        let statement = Statement { stack: "dev".into(), number, digest, created_at_ms: 0, reason };
        Bundle { release: SignedRelease::sign(statement, entries, &self.0), sources }
    }

    /// The whole release as one message of the feed.
    pub(crate) fn prepare(&self, number: u64, scripts: &[Script<'_>]) -> Prepare {
        let Bundle { release, sources } = self.bundle(number, scripts);
        let mut changes = Vec::new();
        for (tenant, of_tenant) in &release.scripts {
            for (script, entry) in of_tenant {
                let source = sources[&entry.version].clone();
                let version = Some(ScriptVersion { entry: serde_json::to_string(entry).unwrap(), source });
                changes.push(Change { tenant: tenant.to_string(), script: script.to_string(), version });
            }
        }
        let statement = SignedStatement {
            statement: release.signed.statement,
            key_id: release.signed.key_id,
            signature: BASE64.decode(release.signed.signature.as_bytes()).unwrap(),
        };
        Prepare { statement: Some(statement), base: 0, changes, last: true }
    }
}
