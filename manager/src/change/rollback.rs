//! Kept versions of a script, and the way back to one of them.
//!
//! Going back is a push of the old content: it becomes a new generation, so that bucket and release never disagree.

use contract::Version;
use contract::api::{Activation, VersionInfo};
use contract::ids::{FOUNDING_OBJECT, ScriptName, TenantName, script_of};
use futures_util::future::try_join_all;

use super::{ChangeError, Changed, Condition, Push, push};
use crate::bucket::{BucketError, META_VERSION, ObservedObject};
use crate::context::Context;

/// Contents read to find out which version they are: uploads that did not say it.
const READS_MAX: usize = 100;
/// Digits of a version that a person must give.
const DIGITS_MIN: usize = 6;
/// More kept versions than a person looks through.
const VERSIONS_MAX: usize = 1000;

/// What is to run again.
#[derive(Debug)]
pub struct Rollback {
    /// Whose script.
    pub tenant: TenantName,
    /// Which.
    pub script: ScriptName,
    /// A version, its first digits, or a generation; `None` = the one before the running one.
    pub to: Option<String>,
    /// Who asks.
    pub author: String,
    /// For what state of the script.
    pub condition: Condition,
    /// How executors are moved.
    pub activation: Activation,
}

/// Makes an older content the newest one.
///
/// # Errors
/// [`ChangeError`].
pub async fn rollback(context: &Context, rollback: Rollback) -> Result<Changed, ChangeError> {
    let Rollback { tenant, script, to, author, condition, activation } = rollback;
    let kept = kept(context, &tenant, &script).await?;
    let running = running(context, &tenant, &script)?;
    if kept.is_empty() {
        return Err(ChangeError::Unknown);
    }
    let mut seeker = Seeker { context, reads: 0 };
    let found = match &to {
        Some(to) => seeker.named(&kept, to).await?,
        None => seeker.before(&kept, running.as_ref()).await?,
    };
    let source = context
        .bucket
        .read(&found.name, Some(found.generation), context.gate.source_bytes_max())
        .await
        .map_err(|err| match err {
            BucketError::NotFound { .. } | BucketError::TooLarge { .. } => ChangeError::UnknownVersion(format!(
                "generation {} of `{tenant}/{script}` is not kept any more",
                found.generation
            )),
            err => ChangeError::Bucket(err),
        })?
        .bytes;
    let version = Version::of(&source);
    if let Some(claimed) = claimed(found).filter(|claimed| *claimed != version) {
        let (generation, claimed, version) = (found.generation, claimed.short(), version.short());
        let sentence = format!("generation {generation} says it is version {claimed}, but its content is {version}");
        return Err(ChangeError::UnknownVersion(sentence));
    }
    let reason = format!("rollback {tenant}/{script} to {} by {author}", version.short());
    push(context, Push { tenant, script, source, author, condition, activation, reason }).await
}

/// The kept versions of a script, newest first.
///
/// # Errors
/// [`ChangeError`]: `Unknown` if nothing is kept and nothing runs.
pub async fn versions(
    context: &Context,
    tenant: &TenantName,
    script: &ScriptName,
) -> Result<Vec<VersionInfo>, ChangeError> {
    let kept = kept(context, tenant, script).await?;
    let running = running(context, tenant, script)?;
    if kept.is_empty() && running.is_none() {
        return Err(ChangeError::Unknown);
    }
    let info = |object: &ObservedObject| {
        let runs =
            running.as_ref().filter(|(_, generation, name)| *generation == object.generation && *name == object.name);
        VersionInfo {
            version: runs.map(|(version, ..)| version.clone()).or_else(|| claimed(object)),
            generation: object.generation,
            size: u32::try_from(object.size).unwrap_or(u32::MAX),
            pushed_at_ms: object.written_at_ms,
            pushed_by: object.author(),
            running: runs.is_some(),
        }
    };
    Ok(kept.iter().take(VERSIONS_MAX).map(info).collect())
}

type Running = (Version, i64, String);

fn running(context: &Context, tenant: &TenantName, script: &ScriptName) -> Result<Option<Running>, ChangeError> {
    let current = context.now().ok_or(ChangeError::NotReady)?;
    let entry = current.release.entry(tenant, script);
    Ok(entry.map(|entry| (entry.version.clone(), entry.generation, entry.object.clone())))
}

async fn kept(context: &Context, tenant: &TenantName, script: &ScriptName) -> Result<Vec<ObservedObject>, ChangeError> {
    // The first fits `.lua` and `.luau`; all fit perhaps other scripts: `a.lua` is also the beginning of `a.lua.luau`.
    let mut prefixes =
        [".lua", ".zip", ".tar"].map(|ending| format!("tenants/{tenant}/scripts/{script}{ending}")).to_vec();
    let ours = Ok(Some((tenant.clone(), script.clone())));
    if script_of(FOUNDING_OBJECT) == ours {
        prefixes.push(FOUNDING_OBJECT.to_owned());
    }
    let lists = try_join_all(prefixes.iter().map(|prefix| context.bucket.versions(prefix)));
    let mut kept: Vec<ObservedObject> = lists.await.map_err(ChangeError::Bucket)?.into_iter().flatten().collect();
    kept.retain(|object| script_of(&object.name) == ours);
    kept.sort_by_key(|object| std::cmp::Reverse(object.generation));
    Ok(kept)
}

/// What the writer said the content is.
fn claimed(object: &ObservedObject) -> Option<Version> {
    Version::try_from(object.metadata.get(META_VERSION)?.clone()).ok()
}

/// Finds one of the kept versions, reading contents where nobody said what they are.
struct Seeker<'a> {
    context: &'a Context,
    reads: usize,
}

impl Seeker<'_> {
    /// The newest one that is older than what runs and another content.
    async fn before<'k>(
        &mut self,
        kept: &'k [ObservedObject],
        running: Option<&Running>,
    ) -> Result<&'k ObservedObject, ChangeError> {
        let Some((version, generation, _)) = running else {
            return kept.first().ok_or(ChangeError::Unknown);
        };
        for object in kept.iter().filter(|object| object.generation < *generation) {
            if self.version(object).await?.is_some_and(|before| before != *version) {
                return Ok(object);
            }
        }
        Err(ChangeError::UnknownVersion("no older version with another content is kept".to_owned()))
    }

    /// The newest one of that generation, or of that version.
    async fn named<'k>(&mut self, kept: &'k [ObservedObject], to: &str) -> Result<&'k ObservedObject, ChangeError> {
        if let Some(object) = to.parse().ok().and_then(|to: i64| kept.iter().find(|object| object.generation == to)) {
            return Ok(object);
        }
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if !(DIGITS_MIN..=64).contains(&to.len()) || !to.bytes().all(hex) {
            let shown = to.escape_debug();
            return Err(ChangeError::BadVersion(format!(
                "`{shown}` is neither a kept generation nor at least {DIGITS_MIN} lower-case hex digits of a version"
            )));
        }
        let mut found: Option<(&ObservedObject, Version)> = None;
        for object in kept {
            let Some(version) = self.version(object).await?.filter(|version| version.as_str().starts_with(to)) else {
                continue;
            };
            match &found {
                None => found = Some((object, version)),
                Some((_, first)) if *first == version => {}
                Some((_, first)) => {
                    return Err(ChangeError::BadVersion(format!(
                        "`{to}` begins more than one version: {} and {}",
                        first.short(),
                        version.short()
                    )));
                }
            }
        }
        found.map(|(object, _)| object).ok_or_else(|| {
            ChangeError::UnknownVersion(format!("no kept version begins with `{to}`; {} are kept", kept.len()))
        })
    }

    async fn version(&mut self, object: &ObservedObject) -> Result<Option<Version>, ChangeError> {
        if let Some(version) = claimed(object) {
            return Ok(Some(version));
        }
        if self.reads == READS_MAX {
            return Ok(None);
        }
        self.reads += 1;
        let bytes_max = self.context.gate.source_bytes_max();
        match self.context.bucket.read(&object.name, Some(object.generation), bytes_max).await {
            Ok(content) => Ok(Some(Version::of(&content.bytes))),
            Err(BucketError::NotFound { .. } | BucketError::TooLarge { .. }) => Ok(None),
            Err(err) => Err(ChangeError::Bucket(err)),
        }
    }
}
