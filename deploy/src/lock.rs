//! One deployment at a time on a Swarm: a config of a fixed name, which only one can create.
//!
//! Its holder renews a label; a lock that was not renewed for a minute, by the Swarm's own clock, is removed by its id,
//! which only one can do, and then created anew. A holder that comes back from the dead finds its id gone and stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use docker::{Engine, EngineError, segment};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::cluster::{Cluster, Info};
use crate::error::DeployError;
use crate::model::{Created, LABEL_KEPT, LABEL_STACK, Stored, soon};

const NAME: &str = "moonswarm-deploy-lock";
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// Six renewals that did not come.
const STALE_AFTER: Duration = Duration::from_secs(60);
const LABEL_HOLDER: &str = "moonswarm.lock.holder";
const LABEL_MESSAGE: &str = "moonswarm.lock.message";
const LABEL_RENEWALS: &str = "moonswarm.lock.renewals";

/// Who deploys, and why.
#[derive(Debug, Clone)]
pub struct Who {
    /// `ana@laptop`.
    pub holder: String,
    /// What they do, for whoever waits.
    pub message: String,
}

/// A lock that is held until it is released, or a minute after its holder died.
#[derive(Debug)]
pub(crate) struct Lock<'a> {
    swarm: &'a Engine,
    stack: String,
    id: String,
    lost: Arc<AtomicBool>,
    renewing: AbortOnDropHandle<()>,
}

impl<'a> Lock<'a> {
    pub(crate) async fn take(cluster: &'a Cluster, stack: &str, who: &Who) -> Result<Self, DeployError> {
        let swarm = cluster.swarm();
        let ask = || DeployError::swarm("lock deployments");
        // Once more after a stale one was removed; who comes second then finds a fresh one.
        for _ in 0..2 {
            let spec = spec(stack, who, 0);
            match swarm.post::<Created>("/configs/create", &spec, soon()).await {
                Ok(created) => return Self::hold(cluster, stack, who, created.id),
                Err(err) if err.is_name_conflict() => {}
                Err(err) => return Err(ask()(err)),
            }
            let Some(held) = find(swarm).await.map_err(ask())? else { continue };
            let info: Info = swarm.get("/info", soon()).await.map_err(ask())?;
            if !is_stale(&held, &info.system_time) {
                return Err(locked(&held));
            }
            match swarm.delete(&format!("/configs/{}", segment(&held.id)), soon()).await {
                Ok(()) => {}
                Err(err) if err.is_not_found() => {}
                Err(err) => return Err(ask()(err)),
            }
        }
        let held = find(swarm).await.map_err(ask())?;
        Err(held.map_or_else(|| DeployError::LockLost(stack.to_owned()), |held| locked(&held)))
    }

    fn hold(cluster: &'a Cluster, stack: &str, who: &Who, id: String) -> Result<Self, DeployError> {
        let lost = Arc::new(AtomicBool::new(false));
        let engine = Engine::at(&cluster.swarm().address()).map_err(DeployError::swarm("lock deployments"))?;
        let renewing = renew(engine, stack.to_owned(), who.clone(), id.clone(), Arc::clone(&lost));
        let renewing = AbortOnDropHandle::new(tokio::spawn(renewing));
        Ok(Self { swarm: cluster.swarm(), stack: stack.to_owned(), id, lost, renewing })
    }

    /// To be asked before each step that changes something.
    pub(crate) fn check(&self) -> Result<(), DeployError> {
        if self.lost.load(Ordering::SeqCst) { Err(DeployError::LockLost(self.stack.clone())) } else { Ok(()) }
    }

    /// Lets others deploy. If that fails they can in a minute.
    pub(crate) async fn release(self) {
        self.renewing.abort();
        if let Err(err) = self.swarm.delete(&format!("/configs/{}", segment(&self.id)), soon()).await
            && !err.is_not_found()
        {
            tracing::warn!(%err, "the lock could not be released; it ends by itself in a minute");
        }
    }
}

/// The lock as it is now.
pub(crate) async fn find(swarm: &Engine) -> Result<Option<Stored>, EngineError> {
    match swarm.get(&format!("/configs/{NAME}"), soon()).await {
        Ok(held) => Ok(Some(held)),
        Err(err) if err.is_not_found() => Ok(None),
        Err(err) => Err(err),
    }
}

/// Who holds it, since when, and what for.
pub(crate) fn describe(held: &Stored) -> String {
    let label = |key| held.label(key).unwrap_or("somebody");
    format!("{} since {} ({})", label(LABEL_HOLDER), held.created_at, label(LABEL_MESSAGE))
}

fn locked(held: &Stored) -> DeployError {
    let label = |key| held.label(key).unwrap_or("unknown").to_owned();
    DeployError::Locked {
        stack: label(LABEL_STACK),
        holder: label(LABEL_HOLDER),
        since: held.created_at.clone(),
        message: label(LABEL_MESSAGE),
    }
}

/// Whether it was not renewed for too long, by the Swarm's clock. What can't be read counts as fresh.
fn is_stale(held: &Stored, now: &str) -> bool {
    let time = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let (Some(renewed), Some(now)) = (time(&held.updated_at), time(now)) else { return false };
    now.duration_since(renewed) > jiff::SignedDuration::try_from(STALE_AFTER).unwrap_or(jiff::SignedDuration::MAX)
}

fn spec(stack: &str, who: &Who, renewals: u64) -> Value {
    json!({
        "Name": NAME,
        // A config must hold something.
        "Data": data_encoding::BASE64.encode(b"lock"),
        "Labels": {
            LABEL_KEPT: "lock", LABEL_STACK: stack,
            LABEL_HOLDER: who.holder, LABEL_MESSAGE: who.message, LABEL_RENEWALS: renewals.to_string(),
        },
    })
}

async fn renew(swarm: Engine, stack: String, who: Who, id: String, lost: Arc<AtomicBool>) {
    let mut renewals = 0;
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        renewals += 1;
        let renewed = async {
            let held: Stored = swarm.get(&format!("/configs/{}", segment(&id)), soon()).await?;
            let path = format!("/configs/{}/update?version={}", segment(&id), held.version.index);
            swarm.post_for_bytes(&path, &spec(&stack, &who, renewals), soon()).await
        };
        match renewed.await {
            Err(err) if err.is_not_found() => return lost.store(true, Ordering::SeqCst),
            // A Swarm that elects takes no writes for twenty seconds; the next renewal comes in time.
            Err(err) => tracing::debug!(%err, "the lock was not renewed"),
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_stale_a_minute_after_its_last_renewal_by_the_swarms_clock() {
        let held: Stored = serde_json::from_value(json!({
            "ID": "l", "UpdatedAt": "2026-01-01T00:00:00.123456789Z", "Spec": { "Name": NAME },
        }))
        .unwrap();

        assert!(!is_stale(&held, "2026-01-01T00:01:00Z"));
        assert!(is_stale(&held, "2026-01-01T00:01:01.5Z"));
        assert!(is_stale(&held, "2026-01-01T02:01:01+01:00"));
        assert!(!is_stale(&held, "not a time"));
    }
}
