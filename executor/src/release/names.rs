//! What is told of names that a release does not have, whichever door they came by.

use contract::{Code, Problem, ScriptName, TenantName};

use super::Active;

/// Why there is nothing to run under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The tenant has no script at all.
    Tenant,
    /// The tenant has others.
    Script,
}

impl Active {
    /// The problem of a tenant that is not there: `unknown_tenant`, or `bad_request` for what can't be a name.
    pub(crate) fn unknown_tenant(&self, tenant: &str) -> Problem {
        if let Err(err) = tenant.parse::<TenantName>() {
            return Problem::new(Code::BadRequest, err.to_string());
        }
        let number = self.number();
        Problem::new(Code::UnknownTenant, format!("release {number} has no script of tenant `{tenant}`"))
            .with_hint(format!("`moonswarm push FILE --tenant {tenant}` adds one"))
    }

    /// The problem of a script that is not there: `unknown_tenant` or `unknown_script`, or `bad_request` for what can't be
    /// a name.
    pub(crate) fn unknown(&self, missing: Missing, tenant: &str, script: &str) -> Problem {
        let malformed = tenant.parse::<TenantName>().err().or_else(|| script.parse::<ScriptName>().err());
        if let Some(err) = malformed {
            return Problem::new(Code::BadRequest, err.to_string());
        }
        match missing {
            Missing::Tenant => self.unknown_tenant(tenant),
            Missing::Script => {
                let number = self.number();
                let detail = format!("release {number} has no script `{script}` of tenant `{tenant}`");
                Problem::new(Code::UnknownScript, detail)
                    .with_hint(format!("`moonswarm list --tenant {tenant}` shows its scripts"))
            }
        }
    }
}
