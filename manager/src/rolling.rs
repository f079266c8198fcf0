//! Rolling activation as the releaser asks for it. [`crate::swarm`] carries it out; tests have their own.

use std::time::Duration;

use contract::api::Health;
use contract::bundle::Bundle;

use crate::swarm::Swarm;
use telemetry::chain;

/// Moves executors to a release by replacing them.
#[tonic::async_trait]
pub trait Rolling: Send + Sync + 'static {
    /// Whether it could.
    async fn health(&self) -> Health;

    /// Replaces every executor by one that boots from `bundle`, and waits until that is done or taken back.
    ///
    /// # Errors
    /// Why it was not done, for people.
    async fn roll(&self, bundle: &Bundle, release: u64, deadline: Duration) -> Result<(), String>;

    /// Removes what earlier activations left behind.
    async fn collect(&self);
}

#[tonic::async_trait]
impl Rolling for Swarm {
    async fn health(&self) -> Health {
        Swarm::health(self).await
    }

    async fn roll(&self, bundle: &Bundle, release: u64, deadline: Duration) -> Result<(), String> {
        let rolled = Swarm::roll(self, bundle, release, deadline).await.map_err(|err| chain(&err))?;
        for warning in &rolled.warnings {
            tracing::warn!(service = rolled.service, warning, "the executors' service should be set otherwise");
        }
        let elapsed_ms = u64::try_from(rolled.elapsed.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            release,
            service = rolled.service,
            config = rolled.config,
            tasks = rolled.tasks,
            elapsed_ms,
            "rolled"
        );
        Ok(())
    }

    async fn collect(&self) {
        match self.collect_configs().await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "removed old configs"),
            Err(err) => tracing::warn!(err = chain(&err), "old configs stay for now"),
        }
    }
}
