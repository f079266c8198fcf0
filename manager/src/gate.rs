//! The gate: what a source must pass before it can be in a release.
//!
//! The judgement is the sandbox's: size, encoding, syntax, what the script declares, its own tests. Here it is asked for
//! off the threads that serve.

use std::sync::Arc;

use bytes::Bytes;
use contract::{Code, Diagnostic};
use sandbox::{Engine, Limits};
use tokio::sync::Semaphore;

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
        let judged = tokio::task::spawn_blocking(move || sandbox::check(&engine, &file, &source, &limits)).await;
        match judged {
            Ok(Ok(_checked)) => Ok(()),
            Ok(Err(refused)) => {
                Err(Refusal { code: refused.code, detail: refused.detail, diagnostics: refused.diagnostics })
            }
            Err(err) => {
                tracing::error!(object, err = %err, "the gate did not come to a judgement");
                let detail = "the gate failed on this script; the log has more".to_owned();
                Err(Refusal { code: Code::Internal, detail, diagnostics: Vec::new() })
            }
        }
    }
}
