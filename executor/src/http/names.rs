//! Tenant and script in the path of a run, `{tenant}/{script}`, each percent-encoded where need be.
//!
//! A name that is found in the release is a valid one; only names that are not found are checked, to tell a malformed
//! name from an unknown one.

use std::borrow::Cow;
use std::sync::Arc;

use contract::{Code, Problem};
use percent_encoding::percent_decode_str;

use super::answer::Refused;
use crate::release::{Active, Script};

/// The two names of a path, decoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Names<'a> {
    pub(crate) tenant: Cow<'a, str>,
    pub(crate) script: Cow<'a, str>,
}

impl<'a> Names<'a> {
    /// The names in `acme/risk`.
    ///
    /// # Errors
    /// There are more or fewer than two, or one is not UTF-8.
    pub(crate) fn decode(path: &'a str) -> Result<Self, Refused> {
        let names = path.split_once('/').filter(|(_, script)| !script.contains('/'));
        let (tenant, script) = names.ok_or_else(|| {
            Problem::new(Code::NotFound, format!("there is nothing at /v1/run/{path}"))
                .with_hint("a run is POST /v1/run/{tenant}/{script}")
        })?;
        Ok(Self { tenant: decode("tenant", tenant)?, script: decode("script", script)? })
    }

    /// The script of these names.
    ///
    /// # Errors
    /// `bad_request` where a name can't be one, `unknown_tenant`, `unknown_script`.
    pub(crate) fn find<'r>(&self, active: &'r Active) -> Result<&'r Arc<Script>, Refused> {
        let Names { tenant, script } = self;
        active.find(tenant, script).map_err(|missing| active.unknown(missing, tenant, script).into())
    }
}

fn decode<'a>(what: &str, name: &'a str) -> Result<Cow<'a, str>, Refused> {
    if !name.contains('%') {
        return Ok(Cow::Borrowed(name));
    }
    percent_decode_str(name)
        .decode_utf8()
        .map_err(|_| Problem::new(Code::BadRequest, format!("{what} name `{name}` is not UTF-8 when decoded")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded() {
        let names = Names::decode("ac%6De/risk").unwrap();
        assert_eq!((&*names.tenant, &*names.script), ("acme", "risk"));
    }

    #[test]
    fn other_paths_and_other_encodings_are_refused() {
        assert_eq!(Names::decode("acme").unwrap_err().code, Code::NotFound);
        assert_eq!(Names::decode("acme/risk/more").unwrap_err().code, Code::NotFound);
        let problem = Names::decode("acme/%ff").unwrap_err();
        insta::assert_snapshot!(problem.detail, @"script name `%ff` is not UTF-8 when decoded");
    }
}
