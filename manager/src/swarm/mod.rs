//! Rolling activation: a release as a Docker config of the executors' service, followed until Swarm is done.
//!
//! Every executor becomes a new process that boots from the config, so this takes seconds where the feed takes
//! milliseconds; it needs nothing of us once Swarm has the update. What is decided stands in the pure parts
//! ([`spec`], [`configs`], [`follow`]); here is only the order of questions to the engine. Nothing is remembered between
//! calls: the service, its spec and its configs are looked up each time, and each call can be repeated.

mod configs;
mod error;
mod follow;
mod model;
mod spec;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use contract::api::Health;
use contract::bundle::Bundle;
pub use docker::EngineError;
use docker::{Engine, filter, segment};
use serde_json::Value;
use telemetry::chain;
use tokio::time::Instant;

pub use self::configs::ConfigError;
pub use self::error::SwarmError;
pub use self::spec::UnfitService;

use self::follow::{Verdict, Watch};
use self::model::{Config, Created, LABEL_ROLE, LABEL_STACK, ROLE_EXECUTOR, Service, Task, UpdateState};
use self::spec::Reference;

/// Between two looks at a running update; Swarm itself moves in steps of 100 ms.
const POLL: Duration = Duration::from_millis(50);
/// Updates of a service that others change too. Swarm itself changes it a few times while it rolls.
const UPDATE_ATTEMPTS: u32 = 12;
const UPDATE_PAUSE_MIN: Duration = Duration::from_millis(20);
const UPDATE_PAUSE_MAX: Duration = Duration::from_millis(500);
/// A status page does not wait for an engine that hangs.
const HEALTH_DEADLINE: Duration = Duration::from_secs(2);
const COLLECT_DEADLINE: Duration = Duration::from_secs(30);

/// A rolling activation that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rolled {
    /// Name of the config that executors booted from.
    pub config: String,
    /// Name of the service.
    pub service: String,
    /// False if the service had the config already and nothing was sent.
    pub updated: bool,
    /// Tasks that run with it.
    pub tasks: usize,
    /// From the call to the end Swarm declared, which comes after its monitoring period.
    pub elapsed: Duration,
    /// What an operator should set otherwise.
    pub warnings: Vec<String>,
}

/// An update that was sent.
struct Sent {
    /// Start of the update that the service showed before, if it showed one.
    before: Option<String>,
}

/// The executors of one stack as a service of a Docker Swarm.
pub struct Swarm {
    engine: Engine,
    service: Option<String>,
    stack: String,
}

impl Swarm {
    /// A Swarm behind the engine at `docker` (`unix:///PATH`, or `http://HOST:PORT`), which must be one of its managers.
    /// Without `service`, the executors' service is the one labelled `moonswarm.role=executor` and
    /// `moonswarm.stack=STACK`. Asks the engine nothing yet: it may come up after us.
    ///
    /// # Errors
    /// [`SwarmError::Engine`] if `docker` is no address, [`SwarmError::Config`] if `stack` can't be in a config's name.
    pub fn connect(docker: &str, service: Option<&str>, stack: &str) -> Result<Self, SwarmError> {
        configs::check_stack(stack)?;
        Ok(Self { engine: Engine::at(docker)?, service: service.map(str::to_owned), stack: stack.to_owned() })
    }

    /// Whether a rolling activation could be done now, for the status page. Takes at most 2 s.
    pub async fn health(&self) -> Health {
        match self.observe(Instant::now() + HEALTH_DEADLINE).await {
            Ok(detail) => Health { ok: true, detail },
            Err(err) => Health { ok: false, detail: chain(&err) },
        }
    }

    async fn observe(&self, by: Instant) -> Result<String, SwarmError> {
        let service = self.service(by).await?;
        let warnings = spec::lint(&service.spec)?;
        let mut detail = format!("service `{}`", spec::name(&service.spec));
        if let Some(status) = &service.service_status {
            detail.push_str(&format!(", {} tasks wanted, {} running", status.desired_tasks, status.running_tasks));
        }
        if let Some(status) = service.update_status.filter(|status| status.state != UpdateState::Unknown) {
            detail.push_str(&format!(", last update: {}", status.message));
        }
        for warning in warnings {
            detail.push_str("; ");
            detail.push_str(&warning);
        }
        Ok(detail)
    }

    /// Moves all executors to `bundle`, which is release number `release`, and follows Swarm to the end of it.
    ///
    /// # Errors
    /// [`SwarmError::RolledBack`] if Swarm took it back. Before the update is sent ([`SwarmError::Config`], `Unfit`,
    /// `Bundle`, `NoService`, `Services`, `Clash`) nothing has changed, and where it was not accepted (`Contended`,
    /// `Engine`) only if the engine answered to the last; the other variants say what is true.
    pub async fn roll(&self, bundle: &Bundle, release: u64, deadline: Duration) -> Result<Rolled, SwarmError> {
        let begun = Instant::now();
        let by = begun + deadline;
        let text = bundle.encode().map_err(|err| SwarmError::Bundle { release, err })?;
        configs::check_size(release, &text)?;
        let found = self.service(by).await?;
        let warnings = spec::lint(&found.spec)?;
        let service = spec::name(&found.spec).to_owned();
        for warning in &warnings {
            tracing::warn!(service, release, "{warning}");
        }

        let (config, is_new) = self.config(release, &text, by).await?;
        let sent = match self.update(&found, &config, by).await {
            Ok(sent) => sent,
            Err(err) => {
                if is_new {
                    self.discard(&config).await;
                }
                return Err(err);
            }
        };
        tracing::info!(service, release, config = config.name, updated = sent.is_some(), "rolling activation follows");
        let mut watch = Watch::new(&config.id, sent.as_ref().and_then(|sent| sent.before.clone()));
        let tasks = self.follow(&mut watch, &found.id, &service, begun, deadline).await?;
        Ok(Rolled { config: config.name, service, updated: sent.is_some(), tasks, elapsed: begun.elapsed(), warnings })
    }

    /// Removes configs of earlier releases that no service needs, also not for a rollback, and says how many. The newest
    /// three stay.
    ///
    /// # Errors
    /// [`SwarmError::Engine`]. A config that came into use meanwhile, or is gone already, is no error.
    pub async fn collect_configs(&self) -> Result<usize, SwarmError> {
        let by = Instant::now() + COLLECT_DEADLINE;
        // Configs before services: one that is made in between is not in the list, one that is used in between is among
        // the newest.
        let label = format!("{LABEL_STACK}={}", self.stack);
        let all: Vec<Config> = self.engine.get(&format!("/configs?{}", filter("label", &[&label])), by).await?;
        let services: Vec<Service> = self.engine.get("/services", by).await?;
        let mut removed = 0;
        for id in configs::collectable(&self.stack, &all, &services) {
            match self.engine.delete(&format!("/configs/{}", segment(&id)), by).await {
                Ok(()) => removed += 1,
                Err(err @ EngineError::Refused { status: 400..500, .. }) => {
                    tracing::debug!(config = id, %err, "config stays");
                }
                Err(err) => return Err(err.into()),
            }
        }
        Ok(removed)
    }

    /// The executors' service.
    async fn service(&self, by: Instant) -> Result<Service, SwarmError> {
        if let Some(name) = &self.service {
            // Not by its path: that would also take the beginning of an id, and tells no numbers of tasks.
            let found: Vec<Service> =
                self.engine.get(&format!("/services?status=true&{}", filter("name", &[name])), by).await?;
            // The filter takes beginnings of names.
            let exact = found.into_iter().find(|service| spec::name(&service.spec) == name);
            return exact.ok_or_else(|| SwarmError::NoService(name.clone()));
        }
        let role = format!("{LABEL_ROLE}={ROLE_EXECUTOR}");
        let query = format!("/services?status=true&{}", filter("label", &[&role]));
        let found: Vec<Service> = self.engine.get(&query, by).await?;
        let (mut ours, others): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|service| spec::label(&service.spec, LABEL_STACK) == Some(&self.stack));
        match (ours.pop(), ours.len()) {
            (Some(service), 0) => Ok(service),
            (last, more) => {
                let all = ours.iter().chain(&last).chain(&others);
                let mut found: Vec<_> = all.map(|service| described(&service.spec)).collect();
                found.sort();
                let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
                Err(SwarmError::Services {
                    stack: self.stack.clone(),
                    count: more + usize::from(last.is_some()),
                    found,
                })
            }
        }
    }

    /// The config with this content, and whether it had to be made.
    async fn config(&self, release: u64, text: &[u8], by: Instant) -> Result<(Reference, bool), SwarmError> {
        let name = configs::name_of(&self.stack, text);
        let new = configs::new_config(&name, &self.stack, release, text);
        match self.engine.post::<Created>("/configs/create", &new, by).await {
            Ok(created) => Ok((Reference { id: created.id, name }, true)),
            Err(err) if err.is_name_conflict() => {
                let found: Config = self.engine.get(&format!("/configs/{}", segment(&name)), by).await?;
                if !configs::holds(&found, text) {
                    return Err(SwarmError::Clash(name));
                }
                Ok((Reference { id: found.id, name }, false))
            }
            Err(err) => Err(err.into()),
        }
    }

    /// Gives the service the config; None if it had it already.
    ///
    /// The spec is read anew for each attempt, so that what others changed meanwhile is kept. An answer that was lost is
    /// asked for again in the same way: the next look shows whether the update was taken.
    async fn update(&self, found: &Service, config: &Reference, by: Instant) -> Result<Option<Sent>, SwarmError> {
        let name = spec::name(&found.spec).to_owned();
        let path = format!("/services/{}", segment(&found.id));
        let mut sent = None;
        let mut attempt = 1;
        loop {
            let failed = match self.engine.get::<Service>(&path, by).await {
                Ok(service) if spec::config_at_target(&service.spec) == Some(&config.id) => return Ok(sent),
                Ok(service) => {
                    let spec = spec::with_config(service.spec, config);
                    let spec = spec.ok_or_else(|| UnfitService::NoContainers(name.clone()))?;
                    sent = Some(Sent { before: service.update_status.and_then(|status| status.started_at) });
                    let update = format!("{path}/update?version={}", service.version.index);
                    match self.engine.post::<Value>(&update, &spec, by).await {
                        Ok(_) => return Ok(sent),
                        Err(err) => err,
                    }
                }
                Err(err) => err,
            };
            if !failed.is_out_of_sequence() && !failed.is_transient() {
                return Err(failed.into());
            }
            let pause = jittered(UPDATE_PAUSE_MIN.saturating_mul(1 << attempt.min(8)).min(UPDATE_PAUSE_MAX));
            if attempt == UPDATE_ATTEMPTS || Instant::now() + pause >= by {
                return Err(SwarmError::Contended { service: name, attempts: attempt, err: failed });
            }
            tracing::debug!(service = name, attempt, err = %failed, "update of the service is tried again");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn follow(
        &self,
        watch: &mut Watch,
        id: &str,
        service: &str,
        begun: Instant,
        deadline: Duration,
    ) -> Result<usize, SwarmError> {
        let (by, service) = (begun + deadline, service.to_owned());
        let mut seen = "nothing yet".to_owned();
        let mut taken_back = None;
        loop {
            match self.look(watch, id, begun, by).await {
                Ok(Verdict::Completed { tasks }) => return Ok(tasks),
                Ok(Verdict::RolledBack(message)) => return Err(SwarmError::RolledBack { message }),
                Ok(Verdict::RollbackPaused(message)) => return Err(SwarmError::RollbackPaused { service, message }),
                Ok(Verdict::Paused(message)) => return Err(SwarmError::Paused { service, message }),
                Ok(Verdict::Superseded) => return Err(SwarmError::Superseded { service }),
                Ok(Verdict::Unscheduled(message)) => return Err(SwarmError::Unscheduled { service, message }),
                Ok(Verdict::RollingBack(message)) => taken_back = Some(message),
                Ok(Verdict::Underway(how_far)) => seen = how_far,
                // The update lives in Swarm: an engine that is away for a moment, or elects, does not end it.
                Err(err) if err.is_transient() => seen = chain(&err),
                Err(err) if err.is_not_found() => return Err(SwarmError::NoService(service)),
                Err(err) => return Err(err.into()),
            }
            if Instant::now() + POLL >= by {
                return Err(match taken_back {
                    Some(message) => SwarmError::RolledBack { message: format!("{message} (still under way)") },
                    None => SwarmError::Deadline { service, deadline, seen },
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn look(&self, watch: &mut Watch, id: &str, begun: Instant, by: Instant) -> Result<Verdict, EngineError> {
        let service: Service = self.engine.get(&format!("/services/{}", segment(id)), by).await?;
        let tasks: Vec<Task> = self.engine.get(&format!("/tasks?{}", filter("service", &[id])), by).await?;
        Ok(watch.judge(&service, &tasks, begun.elapsed()))
    }

    /// Removes a config that was made for an update that failed. Swarm keeps it if the update was taken after all.
    async fn discard(&self, config: &Reference) {
        let by = Instant::now() + HEALTH_DEADLINE;
        if let Err(err) = self.engine.delete(&format!("/configs/{}", segment(&config.id)), by).await {
            tracing::warn!(config = config.name, err = chain(&err), "config of a failed update stays until collected");
        }
    }
}

/// `executor (stack dev)`.
fn described(spec: &Value) -> String {
    let stack = spec::label(spec, LABEL_STACK).map_or("no stack".to_owned(), |stack| format!("stack `{stack}`"));
    format!("`{}` ({stack})", spec::name(spec))
}

/// A random time between half of `pause` and `pause`, so that managers that collided don't collide again.
fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(()) % 1024;
    pause / 2 + (pause / 2).mul_f64(random as f64 / 1024.0)
}
