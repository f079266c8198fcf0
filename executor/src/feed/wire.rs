//! From the feed's messages to ours, and back: what a manager sends is checked field by field before it is used.

use contract::feed::{self, FromExecutor, from_executor};
use contract::ids::NameError;
use contract::release::{Signed, Statement};
use data_encoding::BASE64;

use crate::release::{Change, Content, Refusal};

/// The statement of a part, in the form in which it is verified.
pub(crate) fn signed(statement: &feed::SignedStatement) -> Signed {
    Signed {
        statement: statement.statement.clone(),
        key_id: statement.key_id.clone(),
        signature: BASE64.encode(&statement.signature),
    }
}

/// The number that a statement claims, 0 where it has none: to answer with, before it is verified.
pub(crate) fn claimed_number(statement: &feed::SignedStatement) -> u64 {
    serde_json::from_str::<Statement>(&statement.statement).map_or(0, |statement| statement.number)
}

/// One change.
///
/// # Errors
/// [`Refusal::Malformed`] for a name or entry that is none.
pub(crate) fn change(number: u64, change: feed::Change) -> Result<Change, Refusal> {
    let feed::Change { tenant, script, version } = change;
    let malformed = |detail: String| Refusal::Malformed { number, detail };
    let malformed_name = |err: NameError| malformed(err.to_string());
    let (tenant, script) = (tenant.parse().map_err(malformed_name)?, script.parse().map_err(malformed_name)?);
    let content = match version {
        Some(version) => {
            let entry = serde_json::from_str(&version.entry)
                .map_err(|err| malformed(format!("entry of `{tenant}/{script}`: {err}")))?;
            Some(Content { entry, source: version.source.into() })
        }
        None => None,
    };
    Ok(Change { tenant, script, content })
}

/// A refusal as the manager is told it.
pub(crate) fn refused(release: u64, refusal: &Refusal) -> FromExecutor {
    let (tenant, script) = refusal.script().map(|(t, s)| (t.to_string(), s.to_string())).unwrap_or_default();
    let (code, detail) = (refusal.code().to_owned(), telemetry::chain(refusal));
    from(from_executor::Kind::Refused(feed::Refused { release, code, detail, tenant, script }))
}

/// A message of ours.
pub(crate) fn from(kind: from_executor::Kind) -> FromExecutor {
    FromExecutor { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(tenant: &str, entry: &str) -> feed::Change {
        let version = Some(feed::ScriptVersion { entry: entry.into(), source: b"return 1".to_vec() });
        feed::Change { tenant: tenant.into(), script: "risk".into(), version }
    }

    #[test]
    fn a_name_or_entry_that_is_none_is_told() {
        let refusal = change(3, sent("acme", "{}")).unwrap_err();
        assert_eq!(refusal.code(), "bad_request");
        insta::assert_snapshot!(refusal, @"release 3 is malformed: entry of `acme/risk`: missing field `version` at line 1 column 2");

        let removal = feed::Change { tenant: "a/b".into(), script: "risk".into(), version: None };
        assert!(change(3, removal).unwrap_err().to_string().contains("has '/' at position 2"));
    }

    #[test]
    fn a_statement_that_is_none_claims_number_0() {
        let statement =
            feed::SignedStatement { statement: "nonsense".into(), key_id: String::new(), signature: vec![] };
        assert_eq!(claimed_number(&statement), 0);
    }
}
