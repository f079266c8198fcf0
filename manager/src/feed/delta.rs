//! A release as an executor gets it: what differs from the one it runs, in parts that fit a message.

use std::sync::Arc;

use contract::feed::{Change, PART_BYTES_MAX, Prepare, ScriptVersion, SignedStatement, ToExecutor, to_executor};
use contract::ids::{ScriptName, TenantName};
use contract::release::{Difference, Scripts, difference};

use crate::releases::Release;

/// What an entry and the frames around it weigh in a message, roughly, beside the source.
const CHANGE_OVERHEAD_BYTES: usize = 1024;

/// A release relative to another one, or to nothing.
#[derive(Debug)]
pub struct Delta {
    release: Arc<Release>,
    base: u64,
    changes: Vec<Difference>,
}

/// A release can't be sent because the bucket lost sources of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the source of `{tenant}/{script}` is not in the bucket; push the script again")]
pub struct SourceMissing {
    tenant: TenantName,
    script: ScriptName,
}

impl Delta {
    /// `release` relative to `base` (number and scripts), or whole.
    ///
    /// # Errors
    /// [`SourceMissing`].
    pub fn new(release: &Arc<Release>, base: Option<(u64, &Scripts)>) -> Result<Self, SourceMissing> {
        let nothing = Scripts::new();
        let (number, before) = base.unwrap_or((0, &nothing));
        let changes = difference(before, release.scripts());
        let lost = changes
            .iter()
            .find(|(_, _, entry)| entry.as_ref().is_some_and(|entry| !release.sources.contains_key(&entry.version)));
        if let Some((tenant, script, _)) = lost {
            return Err(SourceMissing { tenant: tenant.clone(), script: script.clone() });
        }
        Ok(Self { release: Arc::clone(release), base: number, changes })
    }

    /// The messages, made one by one as they are asked for.
    pub fn parts(self: Arc<Self>) -> impl Iterator<Item = ToExecutor> + Send + 'static {
        let mut next = 0;
        let mut done = false;
        std::iter::from_fn(move || {
            if done {
                return None;
            }
            let mut changes = Vec::new();
            let mut bytes = 0;
            while let Some(change) = self.changes.get(next) {
                let source_bytes = change.2.as_ref().map_or(0, |entry| entry.size as usize);
                if !changes.is_empty() && bytes + source_bytes + CHANGE_OVERHEAD_BYTES > PART_BYTES_MAX {
                    break;
                }
                bytes += source_bytes + CHANGE_OVERHEAD_BYTES;
                changes.push(self.change(change));
                next += 1;
            }
            done = next == self.changes.len();
            let signed = &self.release.signed.signed;
            let statement = SignedStatement {
                statement: signed.statement.clone(),
                key_id: signed.key_id.clone(),
                signature: decode(&signed.signature),
            };
            let prepare = Prepare { statement: Some(statement), base: self.base, changes, last: done };
            Some(ToExecutor { kind: Some(to_executor::Kind::Prepare(prepare)) })
        })
    }

    fn change(&self, (tenant, script, entry): &Difference) -> Change {
        let version = entry.as_ref().map(|entry| ScriptVersion {
            entry: serde_json::to_string(entry).expect("a struct of strings and numbers is always JSON"),
            source: self.release.sources.get(&entry.version).map(|source| source.to_vec()).unwrap_or_default(),
        });
        Change { tenant: tenant.to_string(), script: script.to_string(), version }
    }
}

/// The contract has the signature as base64 in JSON and as bytes on the feed.
fn decode(signature: &str) -> Vec<u8> {
    data_encoding::BASE64.decode(signature.as_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::releases::Sources;
    use bytes::Bytes;
    use contract::Version;
    use contract::release::{self, Entry, SigningKey};

    fn release(number: u64, scripts: &[(&str, &str)]) -> Arc<Release> {
        let key = SigningKey::parse(&SigningKey::generate()).unwrap();
        let (mut all, mut sources) = (Scripts::new(), Sources::new());
        for (name, source) in scripts {
            let version = Version::of(source.as_bytes());
            let entry = Entry {
                version: version.clone(),
                generation: 1,
                object: String::new(),
                size: u32::try_from(source.len()).unwrap(),
                pushed_at_ms: 0,
                pushed_by: String::new(),
            };
            release::set(&mut all, "acme".parse().unwrap(), name.parse().unwrap(), entry);
            sources.insert(version, Bytes::copy_from_slice(source.as_bytes()));
        }
        Arc::new(Release::sign(&key, "dev", number, String::new(), all, &sources))
    }

    /// Each part as `base [script=source…] last`.
    fn parts(delta: Delta) -> Vec<String> {
        let part = |message: ToExecutor| {
            let Some(to_executor::Kind::Prepare(prepare)) = message.kind else { panic!("only prepares are made") };
            let changes: Vec<String> = prepare
                .changes
                .iter()
                .map(|change| match &change.version {
                    Some(version) if version.source.len() < 20 => {
                        format!("{}={}", change.script, String::from_utf8_lossy(&version.source))
                    }
                    Some(version) => format!("{}={} bytes", change.script, version.source.len()),
                    None => format!("{} gone", change.script),
                })
                .collect();
            format!("{} [{}] {}", prepare.base, changes.join(", "), prepare.last)
        };
        Arc::new(delta).parts().map(part).collect()
    }

    #[test]
    fn a_delta_has_only_what_differs() {
        let (old, new) =
            (release(1, &[("a", "1"), ("b", "1"), ("c", "1")]), release(2, &[("a", "1"), ("b", "2"), ("d", "1")]));

        let delta = Delta::new(&new, Some((1, old.scripts()))).unwrap();

        assert_eq!(parts(delta), ["1 [b=2, c gone, d=1] true"]);
    }

    #[test]
    fn a_whole_release_is_relative_to_nothing() {
        assert_eq!(parts(Delta::new(&release(2, &[("a", "1")]), None).unwrap()), ["0 [a=1] true"]);
    }

    #[test]
    fn a_release_that_changes_nothing_is_still_one_part() {
        assert_eq!(parts(Delta::new(&release(2, &[]), None).unwrap()), ["0 [] true"]);
    }

    #[test]
    fn a_large_release_travels_in_parts_and_the_last_one_says_so() {
        let large = "x".repeat(400 << 10);
        let scripts = [("a", large.as_str()), ("b", large.as_str()), ("c", large.as_str()), ("d", "1")];

        let delta = Delta::new(&release(2, &scripts), None).unwrap();

        assert_eq!(parts(delta), ["0 [a=409600 bytes, b=409600 bytes] false", "0 [c=409600 bytes, d=1] true"]);
    }

    #[test]
    fn a_lost_source_is_named() {
        let mut lost = Arc::unwrap_or_clone(release(2, &[("a", "1")]));
        lost.sources.clear();

        let err = Delta::new(&Arc::new(lost), None).unwrap_err();

        assert_eq!(err.to_string(), "the source of `acme/a` is not in the bucket; push the script again");
    }
}
