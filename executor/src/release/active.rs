//! A release that is ready to run: verified, every script compiled, every header value made.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use contract::bundle::{Bundle, Sources};
use contract::ids::{EventName, is_reserved};
use contract::policy::Document;
use contract::release::{Scripts, Signed, SignedRelease, Statement};
use contract::{Code, ScriptName, TenantName, Version};
use http::HeaderValue;
use sandbox::{Engine, Limits, Manifest};

use super::layers::{Around, Layers};
use super::{Missing, Tenant};
use crate::outbound::{HostPattern, HttpGrant, InvalidHost};
use crate::strategy::Share;

/// All tenants. Copies share what they have in common: a release differs from the one before in a tenant or two.
pub(super) type Tenants = imbl::HashMap<TenantName, Arc<Tenant>>;

/// A release that is ready to run. Immutable, but for the note of when it began to answer.
///
/// Releases share the tenants and scripts that did not change between them.
#[derive(Debug)]
pub struct Active {
    pub(super) statement: Statement,
    pub(super) signed: Signed,
    // INVARIANT: `tenants` holds exactly the scripts of `scripts`, and `scripts` has the digest of `statement`.
    pub(super) scripts: Scripts,
    pub(super) tenants: Tenants,
    /// `None`: calls go straight to their scripts.
    pub(super) layers: Option<Arc<Layers>>,
    /// What the widest terms of any tenant come to.
    pub(super) widest: Widest,
    pub(super) number_header: HeaderValue,
    pub(super) served: OnceLock<Served>,
}

/// The largest of some limits, over all tenants of a release.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Widest {
    /// Bytes of an input.
    pub(crate) input_bytes: usize,
    /// How long a thread may stay inside a VM.
    pub(crate) stay: Duration,
}

/// One compiled script.
#[derive(Debug)]
pub struct Script {
    /// Whose it is.
    pub tenant: TenantName,
    /// Its name.
    pub name: ScriptName,
    /// What its tenant may take of the I/O threads; the same for all of a tenant's scripts and versions.
    pub share: Arc<Share>,
    /// Its version.
    pub version: Version,
    /// Value of the version header.
    pub version_header: HeaderValue,
    /// The compiled code.
    pub program: sandbox::Program,
    /// What it declares.
    pub manifest: Manifest,
    /// Whether it has functions for events of the life cycle.
    pub has_life_cycle: bool,
    /// Executions of it that are under way in this process.
    pub running: AtomicU32,
    /// Whom it may ask over HTTP.
    pub http: HttpGrant,
    /// What it says about others, if it is the policy of its tenant.
    pub policy: Option<Document>,
    /// What it was compiled from, kept for the disk cache.
    pub source: Arc<[u8]>,
}

/// What scripts are compiled with.
#[derive(Debug, Clone)]
pub struct Workshop {
    /// Where what they declare is read.
    pub engine: Arc<Engine>,
    /// Limits that a source must keep, and reading what it declares.
    pub limits: Limits,
}

impl Script {
    /// Compiles `source`, which is of the file that its author knows as `file`, and reads what it declares.
    ///
    /// # Errors
    /// The gate refuses it.
    pub(crate) fn compile(
        tenant: TenantName,
        name: ScriptName,
        file: &str,
        source: Arc<[u8]>,
        workshop: &Workshop,
        share: Arc<Share>,
    ) -> Result<Self, sandbox::Refusal> {
        let program = sandbox::compile(file, &source, &workshop.limits)?;
        let manifest = sandbox::inspect(&workshop.engine, &program, &workshop.limits)?;
        let policy = match name.as_str() {
            ScriptName::POLICY => Some(sandbox::policy(&workshop.engine, &program, &tenant, &workshop.limits)?),
            _ => None,
        };
        hosts(file, "hosts", policy.iter().flat_map(Document::hosts))?;
        let hosts = hosts(file, "http.hosts", manifest.http_hosts.iter())?;
        let http = HttpGrant { hosts, ..HttpGrant::default() };
        let version = Version::of(&source);
        let version_header = HeaderValue::from_str(version.as_str()).expect("hex digits are a header value");
        Ok(Self {
            tenant,
            name,
            share,
            version,
            version_header,
            program,
            has_life_cycle: manifest.events.iter().any(EventName::is_life_cycle),
            manifest,
            running: AtomicU32::new(0),
            http,
            policy,
            source,
        })
    }
}

/// Reads patterns of hosts that stand in `field`.
fn hosts<'a>(
    file: &str,
    field: &str,
    hosts: impl Iterator<Item = &'a String>,
) -> Result<Vec<HostPattern>, sandbox::Refusal> {
    let hosts: Result<_, _> = hosts.map(|host| host.parse()).collect();
    hosts.map_err(|err: InvalidHost| sandbox::Refusal {
        code: Code::ScriptRefused,
        detail: format!("{file}: `{field}`: {err}"),
        diagnostics: Vec::new(),
    })
}

/// How and since when a release answers.
#[derive(Debug, Clone, Copy)]
pub struct Served {
    /// Where it came from.
    pub source: Source,
    /// When it was swapped in, wall time, for people.
    pub since: SystemTime,
}

/// Where an executor has a release from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The disk cache of an earlier life.
    Cache,
    /// The Docker config of a rolling activation.
    Config,
    /// A manager.
    Feed,
}

impl Source {
    /// `cache`, `config` or `feed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Config => "config",
            Self::Feed => "feed",
        }
    }
}

impl Active {
    /// Its number.
    pub fn number(&self) -> u64 {
        self.statement.number
    }

    /// Its number as value of the release header.
    pub fn number_header(&self) -> &HeaderValue {
        &self.number_header
    }

    /// What was signed.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Every script it has, by name, not compiled.
    pub fn scripts(&self) -> &Scripts {
        &self.scripts
    }

    /// The script of this name that a caller may run. Reserved names are none.
    ///
    /// # Errors
    /// Which part of the name is unknown.
    pub fn find(&self, tenant: &str, script: &str) -> Result<&Arc<Script>, Missing> {
        self.tenant(tenant).ok_or(Missing::Tenant)?.script(script).ok_or(Missing::Script)
    }

    /// The scripts of a tenant that callers may address.
    pub fn tenant(&self, tenant: &str) -> Option<&Arc<Tenant>> {
        if is_reserved(tenant) { None } else { self.tenants.get(tenant) }
    }

    /// The middleware around calls of `script`, which is one of this release; `None` if there is none.
    pub fn layers(&self, script: &Script) -> Option<Around> {
        self.layers.as_ref()?.around(script)
    }

    /// All tenants and their scripts, the operator's own among them.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = (&TenantName, &Arc<Tenant>)> {
        self.tenants.iter()
    }

    /// What the operator's policy says, if there is one.
    pub(super) fn stack_policy(&self) -> Option<&Arc<Script>> {
        self.tenants.get(TenantName::STACK)?.get(ScriptName::POLICY)
    }

    /// The most bytes that an input may have, whoever it is for.
    pub(crate) fn input_bytes_max(&self) -> usize {
        self.widest.input_bytes
    }

    /// The longest that a thread may stay inside a VM, whosever it is.
    pub(crate) fn longest_stay(&self) -> Duration {
        self.widest.stay
    }

    /// Whether the tenant has a script.
    pub fn has_tenant(&self, tenant: &str) -> bool {
        self.tenants.contains_key(tenant)
    }

    /// How many tenants have a script.
    pub fn tenant_count(&self) -> usize {
        self.tenants.len()
    }

    /// How and since when it answers; `None` while it is only prepared.
    pub fn served(&self) -> Option<Served> {
        self.served.get().copied()
    }

    /// The release as it is written to disk. Copies every source.
    pub fn to_bundle(&self) -> Bundle {
        let scripts = self.tenants.values().flat_map(|tenant| tenant.values());
        let sources: Sources = scripts.map(|script| (script.version.clone(), script.source.to_vec())).collect();
        Bundle { release: SignedRelease { signed: self.signed.clone(), scripts: self.scripts.clone() }, sources }
    }
}
