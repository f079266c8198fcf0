//! The gate: what a source must pass before it can be in a release.
//!
//! The judgement is the sandbox's: size, encoding, syntax, what the script declares, its own tests, and of a policy script
//! what it answers. Here it is asked for off the threads that serve.

use std::sync::Arc;

use bytes::Bytes;
use contract::ids::{Form, object_of, script_of};
use contract::policy::Document;
use contract::{Code, Diagnostic, ScriptName, TenantName};
use sandbox::{Engine, Limits, Manifest};
use tokio::sync::Semaphore;
use tokio::task::JoinError;

/// A source that the gate or an executor does not let pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `too_large`, `script_refused`, or what an executor said.
    pub code: Code,
    /// One sentence, for people.
    pub detail: String,
    /// Where in the script.
    pub diagnostics: Vec<Diagnostic>,
}

/// What came of a judgement about `what`.
fn judgement<T>(what: &str, judged: Result<Result<T, sandbox::Refusal>, JoinError>) -> Result<T, Refusal> {
    match judged {
        Ok(Ok(passed)) => Ok(passed),
        Ok(Err(refused)) => {
            Err(Refusal { code: refused.code, detail: refused.detail, diagnostics: refused.diagnostics })
        }
        Err(err) => {
            tracing::error!(script = what, err = %err, "the gate did not come to a judgement");
            let detail = "the gate failed on this script; the log has more".to_owned();
            Err(Refusal { code: Code::Internal, detail, diagnostics: Vec::new() })
        }
    }
}

/// Judges sources. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    engine: Arc<Engine>,
    limits: Arc<Limits>,
    /// As many judgements at once as there are cores; more would only wait for each other.
    places: Arc<Semaphore>,
}

impl Gate {
    /// A gate with these limits.
    ///
    /// # Errors
    /// See [`Engine::start`].
    pub fn start(limits: Limits) -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { engine: Engine::start()?, limits: Arc::new(limits), places: Arc::new(Semaphore::new(cores)) })
    }

    /// The most bytes that a source may have, as text or as package.
    pub fn source_bytes_max(&self) -> usize {
        self.limits.stored_bytes()
    }

    /// Judges `source`; `object` is where it lies in the bucket, its last part names it in diagnostics.
    ///
    /// # Errors
    /// [`Refusal`], with code, sentence and places.
    pub async fn check(&self, object: &str, source: Bytes) -> Result<(), Refusal> {
        let file = object.rsplit('/').next().unwrap_or(object).to_owned();
        let (engine, limits) = (Arc::clone(&self.engine), Arc::clone(&self.limits));
        let _place = self.places.acquire().await.expect("the semaphore is never closed");
        // A compiler may recurse deeply: `main` gives the threads of this pool 8 MiB of stack.
        let policy_of = match script_of(object) {
            Ok(Some((tenant, script))) if script.as_str() == ScriptName::POLICY => Some(tenant),
            _ => None,
        };
        let judged = tokio::task::spawn_blocking(move || {
            let checked = sandbox::check(&engine, &file, &source, &limits)?;
            if let Some(tenant) = policy_of {
                sandbox::policy(&engine, &checked.program, &tenant, &limits)?;
            }
            Ok(())
        });
        judgement(object, judged.await)
    }

    /// What a policy script that passed says; `tenant` is whose it is.
    ///
    /// # Errors
    /// As [`Gate::check`].
    pub async fn policy(&self, tenant: TenantName, source: Bytes) -> Result<Document, Refusal> {
        let object = object_of(&tenant, &ScriptName::policy(), Form::of(&source));
        let gate = self.clone();
        let _place = self.places.acquire().await.expect("the semaphore is never closed");
        let read = tokio::task::spawn_blocking(move || {
            let program = sandbox::compile(ScriptName::POLICY, &source, &gate.limits)?;
            sandbox::policy(&gate.engine, &program, &tenant, &gate.limits)
        });
        judgement(&object, read.await)
    }

    /// What a script that passed declares.
    ///
    /// # Errors
    /// As [`Gate::check`].
    pub async fn manifest(&self, script: ScriptName, source: Bytes) -> Result<Manifest, Refusal> {
        let gate = self.clone();
        let _place = self.places.acquire().await.expect("the semaphore is never closed");
        let read = tokio::task::spawn_blocking({
            let script = script.clone();
            move || {
                let program = sandbox::compile(script.as_str(), &source, &gate.limits)?;
                sandbox::inspect(&gate.engine, &program, &gate.limits)
            }
        });
        judgement(script.as_str(), read.await)
    }
}
