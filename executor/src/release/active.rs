//! A release that is ready to run: verified, every script compiled, every header value made.

use std::collections::HashMap;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use contract::bundle::{Bundle, Sources};
use contract::ids::EventName;
use contract::release::{Scripts, Signed, SignedRelease, Statement};
use contract::{Code, Problem, ScriptName, TenantName, Version};
use http::HeaderValue;
use sandbox::{Engine, Limits, Manifest};

use super::layers::{Around, Layers};
use crate::outbound::{HttpGrant, InvalidHost};
use crate::strategy::Share;

/// The scripts of one tenant.
pub type Tenant = HashMap<ScriptName, Arc<Script>>;

/// A release that is ready to run. Immutable, but for the note of when it began to answer.
///
/// Releases share the tenants and scripts that did not change between them.
#[derive(Debug)]
pub struct Active {
    pub(super) statement: Statement,
    pub(super) signed: Signed,
    // INVARIANT: `tenants` holds exactly the scripts of `scripts`, and `scripts` has the digest of `statement`.
    pub(super) scripts: Scripts,
    pub(super) tenants: HashMap<TenantName, Arc<Tenant>>,
    /// `None`: calls go straight to their scripts.
    pub(super) layers: Option<Arc<Layers>>,
    pub(super) number_header: HeaderValue,
    pub(super) served: OnceLock<Served>,
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
    /// What it was compiled from, kept for the disk cache.
    pub source: Arc<[u8]>,
}

/// The event of that name, which somebody sends.
///
/// # Errors
/// `bad_request`: it is no name, or one of the life cycle.
pub(crate) fn sent(name: &str) -> Result<EventName, Box<Problem>> {
    let refused = |detail| Box::new(Problem::new(Code::BadRequest, detail));
    let event: EventName = name.parse().map_err(|err| refused(format!("{err}")))?;
    if event.is_life_cycle() {
        let detail = format!("event `{event}` is one of the life cycle of scripts, which nobody can send");
        return Err(Box::new(
            refused(detail).with_hint("names of events that begin with `On` and a capital are reserved"),
        ));
    }
    Ok(event)
}

/// The scripts of a tenant that want an event, by name.
pub(crate) fn wanting<'t>(tenant: &'t Tenant, event: &EventName) -> Vec<&'t Arc<Script>> {
    let mut wanting: Vec<_> = tenant.values().filter(|script| script.manifest.wants(event.as_str())).collect();
    wanting.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    wanting
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
        let hosts: Result<_, _> = manifest.http_hosts.iter().map(|host| host.parse()).collect();
        let hosts = hosts.map_err(|err: InvalidHost| sandbox::Refusal {
            code: Code::ScriptRefused,
            detail: format!("{file}: `http.hosts`: {err}"),
            diagnostics: Vec::new(),
        })?;
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
            source,
        })
    }
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

/// Why there is nothing to run under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The tenant has no script at all.
    Tenant,
    /// The tenant has others.
    Script,
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

    /// The script of this name.
    ///
    /// # Errors
    /// Which part of the name is unknown.
    pub fn find(&self, tenant: &str, script: &str) -> Result<&Arc<Script>, Missing> {
        self.tenant(tenant).ok_or(Missing::Tenant)?.get(script).ok_or(Missing::Script)
    }

    /// The scripts of a tenant, for who may call them: those of [`TenantName::STACK`] are nobody's to call.
    pub fn tenant(&self, tenant: &str) -> Option<&Arc<Tenant>> {
        self.tenants.get(tenant).filter(|_| tenant != TenantName::STACK)
    }

    /// The middleware around calls of `script`, which is one of this release; `None` if there is none.
    pub fn layers(&self, script: &Script) -> Option<Around> {
        self.layers.as_ref()?.around(script)
    }

    /// All tenants and their scripts, the operator's own among them.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = (&TenantName, &Arc<Tenant>)> {
        self.tenants.iter()
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
