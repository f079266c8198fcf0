//! A call and the middleware around it: before it from the outermost layer to the innermost, after it the other way.
//!
//! Each layer is an execution of its own, in the VM of its own tenant: the operator's never run where a tenant's scripts
//! do. All of them and the script share the wall time and the CPU time of one call. Whatever goes wrong in a layer
//! refuses the call.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use contract::{Code, TenantName};
use sandbox::Fault;

use super::asks::Family;
use super::host::{VmHost, whole};
use super::job::{Callee, Entry, Job, Outcome, fault};
use super::said::Said;
use crate::release::Script;

impl VmHost {
    /// Runs `job` within `layers`, outermost first.
    pub(super) async fn run_within(&self, layers: &[Arc<Script>], job: &Job, family: &Family) -> Outcome {
        let begun = Instant::now();
        family.bound_cpu(job.siblings.terms.limits.cpu);
        let input = match self.let_pass(layers, job, family).await {
            Ok(input) => input,
            Err(fault) => return Outcome { wall: begun.elapsed(), ..Outcome::fault(fault) },
        };
        let call = Job { input, layers: None, ..job.clone() };
        let mut outcome = whole(self.counted(&call, family).await);
        if let Ok(result) = outcome.result {
            outcome.result = self.transform(layers, &call, family, result).await;
        }
        Outcome { wall: begun.elapsed(), ..outcome }
    }

    /// The input as the layers let it pass.
    async fn let_pass(&self, layers: &[Arc<Script>], job: &Job, family: &Family) -> Result<Bytes, Fault> {
        let mut input = job.input.clone();
        for layer in layers.iter().filter(|layer| layer.manifest.before) {
            let entry = Entry::Before(callee(job));
            if let Some(replaced) = self.run_layer(layer, entry, &input, job, family).await? {
                input = replaced;
            }
        }
        Ok(input)
    }

    /// The result as the layers leave it. They are told the input that the script got.
    async fn transform(
        &self,
        layers: &[Arc<Script>],
        call: &Job,
        family: &Family,
        mut result: Bytes,
    ) -> Result<Bytes, Fault> {
        for layer in layers.iter().rev().filter(|layer| layer.manifest.after) {
            let entry = Entry::After(callee(call), result.clone());
            if let Some(replaced) = self.run_layer(layer, entry, &call.input, call, family).await? {
                result = replaced;
            }
        }
        Ok(result)
    }

    /// `None` if the layer leaves everything as it is.
    async fn run_layer(
        &self,
        layer: &Arc<Script>,
        entry: Entry,
        input: &Bytes,
        job: &Job,
        family: &Family,
    ) -> Result<Option<Bytes>, Fault> {
        let is_own = layer.tenant == job.script.tenant;
        let siblings = if is_own { Arc::clone(&job.siblings) } else { Arc::default() };
        let run = Job { script: Arc::clone(layer), entry, input: input.clone(), siblings, layers: None, ..job.clone() };
        let mut outcome = self.counted(&run, family).await;
        let said = Said::by(&run, &mut outcome);
        // What the operator's own scripts do wrong is told to the operator, not to callers of tenants.
        family.charge(outcome.cpu);
        family.keep(if is_own { said } else { said.and_failed(&outcome) });
        match outcome.result {
            Ok(sandbox::Outcome::Nothing) => Ok(None),
            Ok(sandbox::Outcome::Value(json)) => Ok(Some(json.into())),
            Err(failed) => Err(refusal(layer, is_own, failed)),
        }
    }

    /// Runs an execution on the CPU time of the call.
    async fn counted(&self, job: &Job, family: &Family) -> Outcome<sandbox::Outcome> {
        let left = family.cpu_left().unwrap_or(job.siblings.terms.limits.cpu);
        if left.is_zero() || family.ends() <= Instant::now() {
            let (tenant, name) = (&job.script.tenant, &job.script.name);
            let detail = format!("the time of the call was used up before `{tenant}/{name}` began");
            return Outcome::fault(fault(Code::DeadlineExceeded, detail));
        }
        let outcome = self.run(job, family, 0).await;
        family.bound_cpu(left.saturating_sub(outcome.cpu));
        outcome
    }
}

fn callee(job: &Job) -> Callee {
    let event = match &job.entry {
        Entry::Event(event) => Some(event.clone()),
        _ => None,
    };
    Callee { script: Arc::clone(&job.script), event }
}

/// What the caller is told of a layer that did not let the call pass.
fn refusal(layer: &Script, is_own: bool, failed: Fault) -> Fault {
    let name = if is_own { layer.name.to_string() } else { format!("{}/{}", TenantName::STACK, layer.name) };
    match failed.code {
        Code::RejectedByMiddleware => {
            // The reason without its place in the layer, which only its own tenant is told.
            let Fault { detail, mut diagnostics, .. } = failed;
            let reason = diagnostics.first().map_or(detail, |diagnostic| diagnostic.message.clone());
            diagnostics.retain(|_| is_own);
            Fault { code: failed.code, detail: format!("`{name}` refused the call: {reason}"), diagnostics }
        }
        // Those of the moment pass, and who ended the call knows why.
        Code::Overloaded | Code::Cancelled | Code::Internal => {
            fault(failed.code, format!("middleware `{name}`: {}", failed.detail))
        }
        code if is_own => Fault {
            code: Code::MiddlewareFailed,
            detail: format!("middleware `{name}` failed: {code}: {}", failed.detail),
            diagnostics: failed.diagnostics,
        },
        code => {
            let detail = format!("middleware `{name}` failed: {code}; the executor's log tells its operator more");
            fault(Code::MiddlewareFailed, detail)
        }
    }
}
