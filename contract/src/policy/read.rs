//! From the JSON that a policy script answers to a [`Document`]. Every fault names the field, what it is, and what was
//! expected.

use std::collections::BTreeSet;

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Effective, Policy, Rate, StackPolicy};
use crate::ids::TenantName;
use crate::units::{Size, given, wrong};

/// The least memory that is of use: a VM alone has 440 KiB.
const MEMORY_BYTES_MIN: u64 = 1 << 20;
/// Rates from one in a quarter of an hour to what no thread reaches.
const PER_SECOND: std::ops::RangeInclusive<f64> = 0.001..=1_000_000.0;
/// Scripts, tenants and hosts that a policy names.
const ENTRIES_MAX: usize = 10_000;
/// Longest pattern of a host: a name (RFC 1035 §2.3.4), `*.` and a port.
const HOST_BYTES_MAX: usize = 253 + 8;

/// A policy script's answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// Of the tenant `@stack`: the operator's.
    Stack(Box<StackPolicy>),
    /// Of any other tenant: its own.
    Tenant(Box<Policy>),
}

/// Names that mean something in lists of a policy.
#[derive(Debug, Clone, Copy)]
pub struct Vocabulary<'a> {
    /// In `capabilities`.
    pub capabilities: &'a [&'a str],
    /// In `states`.
    pub states: &'a [&'a str],
}

/// Why an answer is no policy: one sentence, such as `` `limits.cpu` is 50; expected a text such as "20ms" ``.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PolicyFault(String);

impl Document {
    /// Reads the answer of `tenant`'s policy script, JSON text.
    ///
    /// # Errors
    /// [`PolicyFault`] with the first that is wrong. An operator's value above the hard caps is wrong, too; a tenant's is
    /// only without effect.
    pub fn read(tenant: &TenantName, json: &[u8], vocabulary: Vocabulary<'_>) -> Result<Self, PolicyFault> {
        if tenant.as_str() != TenantName::STACK {
            let policy: Policy = decode(json)?;
            check("", &policy, vocabulary)?;
            return Ok(Self::Tenant(Box::new(policy)));
        }
        let stack: StackPolicy = decode(json)?;
        if stack.tenants.len() > ENTRIES_MAX {
            return Err(PolicyFault(format!(
                "`tenants` has {} entries, the most allowed is {ENTRIES_MAX}",
                stack.tenants.len()
            )));
        }
        let of_tenants = stack.tenants.iter().map(|(tenant, policy)| (format!("tenants.{tenant}."), policy));
        for (path, policy) in of_tenants.chain([("defaults.".to_owned(), &stack.defaults)]) {
            check(&path, policy, vocabulary)?;
            check_caps(&path, policy)?;
        }
        Ok(Self::Stack(Box::new(stack)))
    }

    /// Every list of hosts in it.
    pub fn hosts(&self) -> impl Iterator<Item = &String> {
        let policies: Vec<&Policy> = match self {
            Self::Stack(stack) => stack.tenants.values().chain([&stack.defaults]).collect(),
            Self::Tenant(own) => vec![own],
        };
        policies.into_iter().filter_map(|policy| policy.hosts.as_ref()).flatten()
    }

    /// The operator's, if it is.
    pub fn as_stack(&self) -> Option<&StackPolicy> {
        if let Self::Stack(stack) = self { Some(stack) } else { None }
    }

    /// A tenant's own, if it is.
    pub fn as_tenant(&self) -> Option<&Policy> {
        if let Self::Tenant(own) = self { Some(own) } else { None }
    }
}

fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<T, PolicyFault> {
    let value: Value =
        serde_json::from_slice(json).map_err(|err| PolicyFault(format!("the answer is no JSON: {err}")))?;
    if !value.is_object() {
        let given = given(&value);
        return Err(PolicyFault(format!(
            "the answer is {given}; expected a table such as `{{ limits = {{ cpu = \"20ms\" }} }}`"
        )));
    }
    serde_path_to_error::deserialize(value).map_err(|err| {
        let (path, said) = (err.path().to_string(), err.inner().to_string());
        let verb = said.starts_with("is ") || said.starts_with("has ");
        PolicyFault(if verb { format!("`{path}` {said}") } else { format!("`{path}`: {said}") })
    })
}

fn check(path: &str, policy: &Policy, vocabulary: Vocabulary<'_>) -> Result<(), PolicyFault> {
    let lists = [
        ("capabilities", &policy.capabilities, vocabulary.capabilities),
        ("states", &policy.states, vocabulary.states),
    ];
    for (field, names, known) in lists {
        if let Some(other) = names.iter().flatten().find(|name| !known.contains(&name.as_str())) {
            return Err(PolicyFault(format!(
                "`{path}{field}` has {other:?}, which is none; there are {}",
                known.join(", ")
            )));
        }
    }
    for (field, count) in [("scripts", policy.scripts.len()), ("hosts", policy.hosts.as_ref().map_or(0, BTreeSet::len))]
    {
        if count > ENTRIES_MAX {
            return Err(PolicyFault(format!("`{path}{field}` has {count} entries, the most allowed is {ENTRIES_MAX}")));
        }
    }
    Ok(())
}

fn check_caps(path: &str, policy: &Policy) -> Result<(), PolicyFault> {
    macro_rules! check {
        ($($name:literal $field:ident = $said:expr;)*) => {$(
            let cap = Effective::caps().$field.value;
            if let Some(said) = $said.filter(|said| *said > cap) {
                return Err(PolicyFault(format!("`{path}{}` is {said}; the most there can be is {cap}", $name)));
            }
        )*};
    }
    check! {
        "limits.cpu" cpu = policy.limits.cpu;
        "limits.wall" wall = policy.limits.wall;
        "limits.memory" memory = policy.limits.memory;
        "limits.input" input = policy.limits.input;
        "limits.output" output = policy.limits.output;
        "limits.log" log = policy.limits.log;
        "concurrency" concurrency = policy.concurrency;
        "queue" queue = policy.queue;
        "wait" wait = policy.wait;
    }
    Ok(())
}

/// As a policy writes a [`Rate`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with `per_second`")]
pub(super) struct RateText {
    per_second: f64,
    burst: Option<f64>,
}

impl TryFrom<RateText> for Rate {
    type Error = String;

    fn try_from(RateText { per_second, burst }: RateText) -> Result<Self, String> {
        if !PER_SECOND.contains(&per_second) {
            return Err(format!(
                "`per_second` is {per_second}; expected a number from {} to {}",
                PER_SECOND.start(),
                PER_SECOND.end()
            ));
        }
        let burst = burst.unwrap_or_else(|| per_second.ceil());
        let whole = whole(burst).filter(|burst| (1..=1_000_000).contains(burst));
        let burst = whole.ok_or_else(|| format!("`burst` is {burst}; expected a whole number from 1 to 1000000"))?;
        Ok(Self { per_second, burst })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is checked to be a whole number of 32 bits"
)]
fn whole(number: f64) -> Option<u32> {
    (number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number)).then_some(number as u32)
}

fn count<'de, D: Deserializer<'de>>(deserializer: D, least: u32) -> Result<Option<u32>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let count = value.as_f64().and_then(whole).filter(|count| *count >= least);
    count.map(Some).ok_or_else(|| wrong(&value, &format!("a whole number, at least {least}")))
}

pub(super) fn concurrency<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    count(deserializer, 1)
}

pub(super) fn queue<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    count(deserializer, 0)
}

pub(super) fn memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Size>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let size = value.as_str().and_then(Size::parse).filter(|size| size.0 >= MEMORY_BYTES_MIN);
    size.map(Some).ok_or_else(|| wrong(&value, "a text such as \"8MiB\", at least 1MiB"))
}

/// A list of texts. Luau has one empty table, which is `{}` in JSON.
pub(super) fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BTreeSet<String>>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let names = match &value {
        Value::Object(none) if none.is_empty() => Some(BTreeSet::new()),
        Value::Array(names) => names.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    names.map(Some).ok_or_else(|| wrong(&value, "a list of texts"))
}

/// Names of hosts, `*.` in front covers all below one, `:PORT` behind means that port only. Whoever asks hosts reads the
/// patterns more closely.
pub(super) fn hosts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BTreeSet<String>>, D::Error> {
    let hosts = names(deserializer)?;
    let plain =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | ':' | '[' | ']' | '*');
    let odd =
        hosts.iter().flatten().find(|host| host.is_empty() || host.len() > HOST_BYTES_MAX || !host.chars().all(plain));
    match odd {
        Some(odd) => Err(D::Error::custom(format!(
            "has {odd:?}; expected the name of a host in lower case, such as \"api.example.com\", \"*.example.com\" or \"api.example.com:8443\""
        ))),
        None => Ok(hosts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOCABULARY: Vocabulary<'_> =
        Vocabulary { capabilities: &["log", "http"], states: &["fresh", "pooled", "tenant"] };

    fn read(tenant: &str, json: &str) -> Result<Document, String> {
        Document::read(&tenant.parse().unwrap(), json.as_bytes(), VOCABULARY).map_err(|fault| fault.to_string())
    }

    #[test]
    fn everything_can_be_said() {
        let whole = r#"{
            "limits": {"cpu":"20ms","wall":"1s","memory":"8MiB","input":"64KiB","output":"64KiB","log":"1KiB"},
            "concurrency": 4, "queue": 0, "wait": "10s", "rate": {"per_second": 0.5, "burst": 2},
            "scripts": {"risk": {"rate": {"per_second": 5}}},
            "capabilities": ["log"], "hosts": ["*.example.com", "[::1]:80"], "states": ["fresh"]
        }"#;

        let own = read("acme", whole).unwrap();

        let own = own.as_tenant().unwrap();
        assert_eq!((own.concurrency, own.queue), (Some(4), Some(0)));
        assert_eq!(own.rate, Some(Rate { per_second: 0.5, burst: 2 }));
        assert_eq!(own.limits.memory, Some(Size(8 << 20)));
        let stack = read("@stack", &format!(r#"{{"defaults":{whole},"tenants":{{"acme":{whole}}}}}"#)).unwrap();
        assert_eq!(stack.as_stack().unwrap().tenants["acme"], *own);
        assert_eq!(stack.hosts().count(), 4);
    }

    #[test]
    fn faults_name_the_field_what_it_is_and_what_was_expected() {
        let cases = [
            ("acme", r#"{"limits":{"cpu":50}}"#),
            ("acme", r#"{"limits":{"memory":"4KiB"}}"#),
            ("acme", r#"{"limits":{"cpus":"1s"}}"#),
            ("acme", r#"{"rate":{"per_second":0}}"#),
            ("acme", r#"{"rate":{"burst":1}}"#),
            ("acme", r#"{"scripts":{"risk":{"rate":{"per_second":1,"burst":0.5}}}}"#),
            ("acme", r#"{"scripts":{"a b":{}}}"#),
            ("acme", r#"{"concurrency":0}"#),
            ("acme", r#"{"capabilities":"log"}"#),
            ("acme", r#"{"capabilities":["files"]}"#),
            ("acme", r#"{"hosts":["https://a.example"]}"#),
            ("acme", r#"{"defaults":{}}"#),
            ("acme", "5"),
            ("acme", r#"{"limits":5}"#),
            ("acme", "null"),
            ("@stack", r#"{"tenants":{"acme":{"limits":{"cpu":"11s"}}}}"#),
            ("@stack", r#"{"defaults":{"states":["kept"]}}"#),
            ("@stack", r#"{"tenants":{"a b":{}}}"#),
        ];
        let said: Vec<_> = cases.iter().map(|(tenant, json)| read(tenant, json).unwrap_err()).collect();

        insta::assert_snapshot!(said.join("\n"), @r#"
        `limits.cpu` is 50; expected a text such as "20ms" or "1s", at least 1ms
        `limits.memory` is "4KiB"; expected a text such as "8MiB", at least 1MiB
        `limits.cpus`: unknown field `cpus`, expected one of `cpu`, `wall`, `memory`, `input`, `output`, `log`
        `rate`: `per_second` is 0; expected a number from 0.001 to 1000000
        `rate`: missing field `per_second`
        `scripts.risk.rate`: `burst` is 0.5; expected a whole number from 1 to 1000000
        `scripts.a b`: script name `a b` has ' ' at position 2; names are letters, digits, `.`, `_`, `-`, and start with a letter or digit
        `concurrency` is 0; expected a whole number, at least 1
        `capabilities` is "log"; expected a list of texts
        `capabilities` has "files", which is none; there are log, http
        `hosts` has "https://a.example"; expected the name of a host in lower case, such as "api.example.com", "*.example.com" or "api.example.com:8443"
        `defaults`: unknown field `defaults`, expected one of `limits`, `concurrency`, `queue`, `wait`, `rate`, `scripts`, `capabilities`, `hosts`, `states`
        the answer is 5; expected a table such as `{ limits = { cpu = "20ms" } }`
        `limits`: invalid type: integer `5`, expected a table
        the answer is nothing; expected a table such as `{ limits = { cpu = "20ms" } }`
        `tenants.acme.limits.cpu` is 11s; the most there can be is 10s
        `defaults.states` has "kept", which is none; there are fresh, pooled, tenant
        `tenants.a b`: tenant name `a b` has ' ' at position 2; names are letters, digits, `.`, `_`, `-`, and start with a letter or digit
        "#);
    }
}
