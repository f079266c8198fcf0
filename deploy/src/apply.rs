//! Bringing services to what they should be, and back if that fails.

use std::time::Duration;

use docker::{EngineError, segment};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::diff;
use crate::error::{DeployError, chain};
use crate::history::{self, Record};
use crate::image::ImageArchive;
use crate::image::ship;
use crate::lock::{Lock, Who};
use crate::model::{Created, LABEL_KEPT, LABEL_ROLE, LABEL_STACK, Service, service, soon, tasks};
use crate::product::{File, Product};
use crate::progress::{Event, Phase};
use crate::session::Session;
use crate::spec::{self, Ids};
use crate::watch::{Verdict, Watch};

/// Between two looks at a service on its way; Swarm itself moves in steps of 100 ms.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Updates of a service that others change too; Swarm itself changes it a few times while it rolls.
const ATTEMPTS: u32 = 12;
const PAUSE: Duration = Duration::from_millis(150);
/// Somebody who changes a service again and again while we wait for it.
const SUPERSEDED_MAX: u32 = 5;

/// What a deployment did.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Applied {
    /// Services that were made or changed; empty if all was as it should be.
    pub changed: Vec<String>,
    /// Under which number it can be gone back to.
    pub deployment: u64,
}

/// A service to bring to a spec.
struct Step {
    name: String,
    role: String,
    spec: Value,
}

/// A service that has its spec.
struct Given {
    id: String,
    spec: Value,
    /// Start of the update that it showed before.
    before: Option<String>,
    changed: bool,
}

/// What stays the same over the steps of one deployment.
struct Course<'l> {
    lock: &'l Lock<'l>,
    ids: Ids,
    deadline: Duration,
    canary: Option<String>,
}

impl Session<'_> {
    /// Deploys `product`: checks, images, secrets and configs, services one after the other, verification. What fails
    /// after the first service was touched is taken back.
    ///
    /// # Errors
    /// [`DeployError`]; its exit code tells what is true then.
    pub async fn apply(&self, product: &Product, images: &[ImageArchive], who: &Who) -> Result<Applied, DeployError> {
        let lock = Lock::take(self.cluster, self.stack, who).await?;
        let applied = self.apply_locked(product, images, who, &lock).await;
        lock.release().await;
        applied
    }

    async fn apply_locked(
        &self,
        product: &Product,
        images: &[ImageArchive],
        who: &Who,
        lock: &Lock<'_>,
    ) -> Result<Applied, DeployError> {
        let desired = product.desired(self.cluster.nodes());
        let phase = Phase::begin("checks");
        self.preflight(&desired).await?;
        (self.report)(phase.done("nothing stands in the way"));

        let phase = Phase::begin("images");
        let sent = ship::ship(self.cluster, images).await?;
        (self.report)(phase.done(format!("{sent} sent to {} nodes", self.cluster.members().count())));

        let phase = Phase::begin("files");
        let mut ids = self.ids().await?;
        let mut made = 0;
        for file in &desired.files {
            lock.check()?;
            made += self.ensure(file, &mut ids).await?;
        }
        (self.report)(phase.done(format!("{made} secrets and configs made")));

        let steps =
            desired.services.into_iter().map(|it| Step { name: it.name, role: it.role.to_owned(), spec: it.spec });
        let (deadline, canary) = (product.settings.deadline, product.settings.canary.clone());
        let course = Course { lock, ids, deadline, canary };
        let changed = self.bring(steps.collect(), &course).await?;
        self.conclude(&product.revision, who, changed).await
    }

    /// Goes back to a former deployment: `number`, or the one before the newest. The running rules stay.
    ///
    /// # Errors
    /// [`DeployError`].
    pub async fn rollback(
        &self,
        number: Option<u64>,
        deadline: Duration,
        canary: Option<String>,
        who: &Who,
    ) -> Result<Applied, DeployError> {
        let lock = Lock::take(self.cluster, self.stack, who).await?;
        let done = self.rollback_locked(number, deadline, canary, who, &lock).await;
        lock.release().await;
        done
    }

    async fn rollback_locked(
        &self,
        number: Option<u64>,
        deadline: Duration,
        canary: Option<String>,
        who: &Who,
        lock: &Lock<'_>,
    ) -> Result<Applied, DeployError> {
        let records = self.records().await?;
        let chosen = match number {
            Some(number) => records.iter().find(|record| record.number == number),
            None => records.get(1),
        };
        let record = chosen.ok_or_else(|| DeployError::NoRecord {
            asked: number.map_or_else(|| "before this one".to_owned(), |number| number.to_string()),
            kept: records.iter().map(|record| record.number.to_string()).collect::<Vec<_>>().join(", "),
        })?;
        self.note(format!("going back to deployment {} (revision {})", record.number, record.revision));
        self.images_are_there(record).await?;
        let steps = record.services.iter().map(|spec| Step {
            name: spec["Name"].as_str().unwrap_or_default().to_owned(),
            role: spec["Labels"][LABEL_ROLE].as_str().unwrap_or_default().to_owned(),
            spec: spec.clone(),
        });
        let course = Course { lock, ids: self.ids().await?, deadline, canary };
        let changed = self.bring(steps.collect(), &course).await?;
        self.conclude(&record.revision, who, changed).await
    }

    /// Images of former deployments stay on the nodes that had them; a node that came later lacks them.
    async fn images_are_there(&self, record: &Record) -> Result<(), DeployError> {
        let mut faults = Vec::new();
        for member in self.cluster.members() {
            for image in record.services.iter().map(spec::image) {
                if !ship::has(member.engine(), image).await.map_err(|err| DeployError::on(member.name(), err))? {
                    faults.push(format!(
                        "node `{}` does not have image `{image}`; check out revision {} and run `deploy apply` there",
                        member.name(),
                        record.revision
                    ));
                }
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(DeployError::Preflight(faults)) }
    }

    async fn conclude(&self, revision: &str, who: &Who, changed: Vec<String>) -> Result<Applied, DeployError> {
        let mut live = self.live().await?;
        // The manager first: the order in which a rollback goes through them.
        live.sort_by_key(|service| service.label(LABEL_ROLE) != Some(crate::product::MANAGER));
        let services = live.into_iter().map(|service| service.spec).collect();
        let record =
            Record { number: 0, at: String::new(), revision: revision.to_owned(), by: who.holder.clone(), services };
        let deployment = history::write(self.cluster.swarm(), self.stack, record).await?;
        // Rubbish that stays for once harms nobody.
        if let Err(err) = self.prune_locked().await {
            self.note(format!("left over: {}", chain(&err)));
        }
        Ok(Applied { changed, deployment })
    }

    /// Makes a secret or config unless it is there; its name says its content.
    async fn ensure(&self, file: &File, ids: &mut Ids) -> Result<usize, DeployError> {
        let known = match file.kind {
            crate::product::Kind::Secret => &mut ids.secrets,
            crate::product::Kind::Config => &mut ids.configs,
        };
        if known.contains_key(&file.name) {
            return Ok(0);
        }
        let spec = json!({
            "Name": file.name,
            "Labels": { LABEL_STACK: self.stack, LABEL_KEPT: "file" },
            "Data": data_encoding::BASE64.encode(&file.content),
        });
        let created =
            self.cluster.swarm().post::<Created>(&format!("/{}/create", file.kind.path()), &spec, soon()).await;
        let created = created.map_err(DeployError::swarm(format!("make `{}`", file.name)))?;
        known.insert(file.name.clone(), created.id);
        Ok(1)
    }

    /// Brings the services to their specs and makes sure that they work; otherwise everything back to what it was.
    async fn bring(&self, steps: Vec<Step>, course: &Course<'_>) -> Result<Vec<String>, DeployError> {
        let before = self.live().await?;
        match self.forward(&steps, course).await {
            Ok(changed) => Ok(changed),
            Err(err @ DeployError::LockLost(_)) => Err(err),
            Err(err) if before.is_empty() => Err(DeployError::NothingBefore { err: Box::new(err) }),
            Err(err) => Err(self.back(before, err, course).await),
        }
    }

    async fn forward(&self, steps: &[Step], course: &Course<'_>) -> Result<Vec<String>, DeployError> {
        let mut changed = Vec::new();
        for step in steps {
            let phase = Phase::begin("service");
            let was_changed = self.settle(step, course).await?;
            let what = if was_changed { "changed, and up" } else { "unchanged, and up" };
            (self.report)(phase.done(format!("{} {what}", step.name)));
            if was_changed {
                changed.push(step.name.clone());
            }
        }
        let phase = Phase::begin("verify");
        let mut told = Vec::new();
        for step in steps {
            told.push(self.verify(&step.name, &step.role, course.deadline, course.canary.as_deref()).await?);
        }
        (self.report)(phase.done(told.join("; ")));
        Ok(changed)
    }

    async fn back(&self, before: Vec<Service>, failure: DeployError, course: &Course<'_>) -> DeployError {
        self.note(format!("failed, going back: {}", chain(&failure)));
        let back = async {
            for service in before.iter().rev() {
                let phase = Phase::begin("back");
                let (name, role) =
                    (service.name().to_owned(), service.label(LABEL_ROLE).unwrap_or_default().to_owned());
                let step = Step { name, role, spec: service.spec.clone() };
                let was_changed = self.settle(&step, course).await?;
                let what = if was_changed { "is what it was" } else { "is what it was, by Swarm or untouched" };
                (self.report)(phase.done(format!("{} {what}", step.name)));
            }
            Ok(())
        };
        match back.await {
            Ok(()) => DeployError::RolledBack { err: Box::new(failure) },
            Err(err) => DeployError::HalfWay { failure: chain(&failure), err: Box::new(err) },
        }
    }

    /// Gives a service its spec, if it lacks it, and waits until its tasks run. Whether it had to be changed.
    async fn settle(&self, step: &Step, course: &Course<'_>) -> Result<bool, DeployError> {
        let begun = Instant::now();
        let mut changed = false;
        for _ in 0..SUPERSEDED_MAX {
            let given = self.give(step, course).await?;
            changed |= given.changed;
            let watch = Watch::new(&given.spec, given.before);
            if self.converge(step, watch, &given.id, begun, course.deadline).await? {
                return Ok(changed);
            }
            // A rolling activation, most likely: its rules are kept, and the wait goes on.
            self.note(format!("service {} was changed by somebody else meanwhile; looking again", step.name));
        }
        Err(self.trouble(step, "is changed by somebody else again and again; let one of you wait"))
    }

    /// Gives a service its spec, unless it has it.
    async fn give(&self, step: &Step, course: &Course<'_>) -> Result<Given, DeployError> {
        let failed = |err| DeployError::swarm(format!("change service `{}`", step.name))(err);
        let mut last = None;
        for attempt in 0..ATTEMPTS {
            course.lock.check()?;
            if attempt > 0 {
                tokio::time::sleep(PAUSE * attempt).await;
            }
            // Read anew for each attempt, so that what others changed meanwhile is kept. An answer that was lost is seen
            // in the same way.
            let tried = self.give_once(step, course).await?;
            match tried {
                Ok(mut given) => {
                    // An earlier answer was lost.
                    given.changed |= attempt > 0;
                    return Ok(given);
                }
                Err(err) if err.is_out_of_sequence() || err.is_transient() => {
                    tracing::debug!(service = step.name, attempt, %err, "the service is changed again");
                    last = Some(err);
                }
                Err(err) => return Err(failed(err)),
            }
        }
        Err(last.map_or_else(|| self.trouble(step, "could not be changed"), failed))
    }

    async fn give_once(&self, step: &Step, course: &Course<'_>) -> Result<Result<Given, EngineError>, DeployError> {
        let swarm = self.cluster.swarm();
        let live = match crate::model::services(swarm).await {
            Ok(all) => all.into_iter().find(|it| it.name() == step.name),
            Err(err) => return Ok(Err(err)),
        };
        let mut wanted = match &live {
            Some(live) => spec::over(&live.spec, step.spec.clone()),
            None => step.spec.clone(),
        };
        let missing = spec::resolve(&mut wanted, &course.ids);
        if !missing.is_empty() {
            let names = missing.join("`, `");
            return Err(self
                .trouble(step, &format!("reads `{names}`, which this Swarm does not have (any more); deploy again")));
        }
        let Some(live) = live else {
            let created = swarm.post::<Created>("/services/create", &wanted, soon()).await;
            return Ok(created.map(|created| Given { id: created.id, spec: wanted, before: None, changed: true }));
        };
        if live.label(LABEL_STACK).is_some_and(|stack| stack != self.stack) {
            return Err(self.trouble(step, "belongs to another stack; rename one of them"));
        }
        let before = live.update_status.and_then(|status| status.started_at);
        if diff::changes(&live.spec, &wanted).is_empty() {
            return Ok(Ok(Given { id: live.id, spec: wanted, before, changed: false }));
        }
        let path = format!("/services/{}/update?version={}", segment(&live.id), live.version.index);
        Ok(swarm.post::<Value>(&path, &wanted, soon()).await.map(|_| Given {
            id: live.id,
            spec: wanted,
            before,
            changed: true,
        }))
    }

    /// Waits until all tasks run with the spec; false if somebody gave the service another one.
    async fn converge(
        &self,
        step: &Step,
        mut watch: Watch,
        id: &str,
        begun: Instant,
        deadline: Duration,
    ) -> Result<bool, DeployError> {
        let swarm = self.cluster.swarm();
        let mut seen = (u64::MAX, String::new());
        loop {
            let look = async { Ok::<_, EngineError>((service(swarm, id).await?, tasks(swarm, id).await?)) };
            let said = match look.await {
                Ok((service, tasks)) => match watch.judge(&service, &tasks, begun.elapsed()) {
                    Verdict::Settled => return Ok(true),
                    Verdict::Superseded => return Ok(false),
                    Verdict::Failed(reason) => return Err(self.trouble(step, &reason)),
                    Verdict::Underway { running, of, detail } => {
                        if seen != (running, detail.clone()) {
                            seen = (running, detail.clone());
                            let (service, detail) = (step.name.clone(), detail.clone());
                            (self.report)(Event::Tasks { service, running, of, detail });
                        }
                        format!("{running} of {of} tasks run")
                    }
                },
                // The update lives in Swarm: an engine that is away for a moment, or elects, does not end it.
                Err(err) if err.is_transient() => chain(&err),
                Err(err) => return Err(DeployError::swarm(format!("look at service `{}`", step.name))(err)),
            };
            if begun.elapsed() > deadline {
                let failures = watch.failures();
                let failures = if failures.is_empty() { failures } else { format!("; {failures}") };
                return Err(self.trouble(step, &format!("is not up after {deadline:?}: {said}{failures}")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn trouble(&self, step: &Step, trouble: &str) -> DeployError {
        DeployError::Converge { service: step.name.clone(), trouble: trouble.to_owned() }
    }
}
