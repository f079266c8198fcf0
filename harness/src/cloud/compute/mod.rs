//! Compute Engine on one machine: a pure state machine, the REST API that reaches it, and the machine room below it.
//!
//! [`Compute`] is the handle that the API, the metadata server and tests share: it locks the state for one step, and does
//! the work of each operation in the background, past the faults in force.

mod addresses;
mod catalog;
mod collections;
mod error;
mod fingerprint;
mod guest;
mod insert;
mod instances;
mod machines;
mod operations;
mod path;
mod query;
mod quota;
pub(super) mod rest;
mod state;
#[cfg(test)]
mod state_tests;
mod told;
mod verbs;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use self::operations::Operation;
use self::state::Change;
use super::faults::{FaultPlan, OperationDecision};

pub use self::error::{ComputeError, OperationError};
pub use self::machines::{DiskSpec, MachineSpec, Machines, NetworkSpec, PaperMachines, Work};
pub(super) use self::path::{Path, Scope};
pub(super) use self::state::{RequestKey, State};

/// How long `operations.wait` waits at most, as at Google.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Handle of the local Compute Engine. Cheap to clone.
///
/// Its public methods are the test's own hand: no network, no faults.
#[derive(Debug, Clone)]
pub struct Compute {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    machines: Arc<dyn Machines>,
    faults: Arc<FaultPlan>,
    /// Counts up whenever something may have changed.
    changes: watch::Sender<u64>,
    /// Operations run on the runtime that the cloud was started on.
    runtime: tokio::runtime::Handle,
}

impl Compute {
    /// # Panics
    /// Outside of a tokio runtime.
    pub(super) fn new(machines: Arc<dyn Machines>, port: u16, faults: Arc<FaultPlan>) -> Self {
        let runtime = tokio::runtime::Handle::current();
        let mut state = State::default();
        if machines.are_real() {
            state.port = Some(port);
        }
        let changes = watch::Sender::new(0);
        let shared = Shared { state: Mutex::new(state), machines, faults, changes, runtime };
        Self { shared: Arc::new(shared) }
    }

    /// Sets what each project may have of a metric (`CPUS`, `NETWORKS`, …), per project or per region as Google counts it.
    pub fn set_quota(&self, metric: &str, limit: f64) {
        self.step(|state, _| state.quotas.set(metric, limit));
    }

    /// Full names of all instances with their status, for example
    /// `("projects/p/zones/us-central1-a/instances/manager-1", "RUNNING")`.
    pub fn instances(&self) -> Vec<(String, String)> {
        self.step(|state, _| {
            let instances = state.resources.values().filter(|resource| resource.path.collection == "instances");
            instances.map(|instance| (instance.path.to_string(), instance.text("status").to_owned())).collect()
        })
    }

    /// Full names of everything that was made, instances and disks and networks alike.
    pub fn resources(&self) -> Vec<String> {
        self.step(|state, _| state.resources.keys().map(ToString::to_string).collect())
    }

    /// A guest attribute of an instance, by its full name.
    pub fn guest_attribute(&self, instance: &str, namespace: &str, key: &str) -> Option<String> {
        self.step(|state, _| {
            let path = state.resources.keys().find(|path| path.to_string() == instance)?;
            let mut attributes = state.guest.of(path);
            attributes.find(|found| (found.0, found.1) == (namespace, key)).map(|found| found.2.to_owned())
        })
    }

    /// Cuts the power of an instance, by its full name; it is TERMINATED then, and nobody asked for it.
    ///
    /// # Errors
    /// There is no such instance, or the machine room refuses; for people.
    pub async fn kill(&self, instance: &str) -> Result<(), String> {
        let path = self.step(|state, _| state.resources.keys().find(|path| path.to_string() == instance).cloned());
        let path = path.ok_or_else(|| format!("there is no {instance}"))?;
        self.shared.machines.kill(instance).await?;
        self.step(|state, _| state.machine_ended(&path));
        Ok(())
    }

    /// Where an instance can be reached from this computer.
    pub fn doors(&self, instance: &str) -> std::collections::BTreeMap<String, String> {
        self.shared.machines.doors(instance)
    }

    /// The address of a machine that a connection comes from.
    pub(super) fn address_of(&self, peer: std::net::Ipv4Addr) -> std::net::Ipv4Addr {
        self.shared.machines.address_of(peer)
    }

    pub(super) fn step<T>(&self, step: impl FnOnce(&mut State, SystemTime) -> T) -> T {
        let result = {
            let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            step(&mut state, SystemTime::now())
        };
        self.shared.changes.send_modify(|count| *count += 1);
        result
    }

    /// Looks without being a reason for others to look again.
    pub(super) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.shared.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes whenever the state may have changed.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Takes on what `check` allows and starts the work; the same request again gets the same operation.
    fn begin(
        &self,
        project: &str,
        key: Option<RequestKey>,
        check: impl FnOnce(&State) -> Result<Change, ComputeError>,
    ) -> Result<Operation, ComputeError> {
        let taken_on: Result<(Operation, bool), ComputeError> = self.step(|state, now| {
            if let Some(key) = &key
                && let Some(operation) = state.repeated(project, key)?
            {
                return Ok((operation.clone(), false));
            }
            let change = check(state)?;
            Ok((state.begin(change, key, now), true))
        });
        let (operation, is_new) = taken_on?;
        if is_new {
            self.shared.runtime.spawn(self.clone().work(operation.clone()));
        }
        Ok(operation)
    }

    async fn work(self, operation: Operation) {
        let path = &operation.path;
        let decision = self.shared.faults.decide_operation(&operation.kind, &operation.target.to_string());
        let OperationDecision { lasts, held, fails } = decision;
        self.step(|state, now| state.run(path, now));
        if !lasts.is_zero() {
            tokio::time::sleep(lasts).await;
        }
        if held {
            self.shared.faults.operations_released().await;
        }
        let outcome = match fails {
            Some(error) => Err(error),
            None if operation.error.is_some() => Ok(()),
            None => {
                let done = self.shared.machines.perform(operation.work.clone()).await;
                done.map_err(OperationError::internal)
            }
        };
        if let Err(error) = &outcome {
            tracing::warn!(operation = %path, target = %operation.target, error = error.message, "an operation failed");
        }
        self.step(|state, now| state.finish(path, outcome, now));
        if matches!(operation.work, Work::Build(_) | Work::Start(_) | Work::Reset(_)) {
            self.watch(operation.target).await;
        }
    }

    /// Waits for the end of a machine that runs.
    async fn watch(self, instance: Path) {
        let runs = self.look(|state| state.get(&instance).is_ok_and(|found| found.text("status") == "RUNNING"));
        if runs {
            self.shared.machines.ended(&instance.to_string()).await;
            self.step(|state, _| state.machine_ended(&instance));
        }
    }

    /// Waits until the operation is done, at most two minutes, and tells it.
    async fn wait(&self, operation: &Path) -> Result<Operation, ComputeError> {
        let mut changes = self.changes();
        let find = || self.look(|state| state.operations.get(operation).cloned());
        let wait = async {
            loop {
                changes.borrow_and_update();
                if find().is_none_or(|found| found.is_done()) || changes.changed().await.is_err() {
                    return;
                }
            }
        };
        // Whether it is done or time is over: it is told as it is.
        let _ = tokio::time::timeout(WAIT_MAX, wait).await;
        find().ok_or_else(|| ComputeError::missing(operation))
    }
}
