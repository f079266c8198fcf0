//! What executions in a child process ask the executor for: other scripts of their tenant, and other services.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::message::{AskNumber, FromChild, Wanted};
use crate::release::Script;
use crate::strategy::job::Job;

/// What the executor gives.
#[derive(Debug)]
pub(super) enum Given {
    Script(Arc<Script>),
    Answer(Bytes),
}

type Reply = Result<Given, String>;

/// Asks the executor, and knows who waits for which answer. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    outgoing: mpsc::Sender<(FromChild, Bytes)>,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    last: AskNumber,
    waiting: HashMap<AskNumber, oneshot::Sender<Reply>>,
}

/// An ask that is forgotten when nobody waits for its answer any more.
struct Asked<'a> {
    open: &'a Mutex<Open>,
    number: AskNumber,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        lock(self.open).waiting.remove(&self.number);
    }
}

impl Asker {
    pub(super) fn new(outgoing: mpsc::Sender<(FromChild, Bytes)>) -> Self {
        Self { outgoing, open: Arc::default() }
    }

    /// Another script of the tenant whose `job` wants it.
    ///
    /// # Errors
    /// A sentence for the script.
    pub(crate) async fn sibling(&self, job: &Job, name: &str) -> Result<Arc<Script>, String> {
        match self.ask(job, Wanted::Script(name.to_owned()), Bytes::new()).await? {
            Given::Script(script) => Ok(script),
            Given::Answer(_) => Err("the executor answered something else".to_owned()),
        }
    }

    /// What a service answers to the request that the script of `job` makes.
    ///
    /// # Errors
    /// A sentence for the script.
    pub(crate) async fn request(&self, job: &Job, payload: Vec<u8>) -> Result<Vec<u8>, String> {
        let script = &job.script;
        let wanted = Wanted::Http { tenant: script.tenant.to_string(), script: script.name.to_string() };
        match self.ask(job, wanted, payload.into()).await? {
            Given::Answer(json) => Ok(json.into()),
            Given::Script(_) => Err("the executor answered something else".to_owned()),
        }
    }

    /// The executor's answer to ask `number` came.
    pub(super) fn answer(&self, number: AskNumber, reply: Reply) {
        let waiting = lock(&self.open).waiting.remove(&number);
        // The execution may have ended meanwhile.
        let _ = waiting.map(|waiting| waiting.send(reply));
    }

    async fn ask(&self, job: &Job, wanted: Wanted, payload: Bytes) -> Reply {
        const GONE: &str = "the executor does not answer any more; it ends";
        let ticket = job.ticket.ok_or(GONE)?;
        let (reply, replied) = oneshot::channel();
        let asked = {
            let mut open = lock(&self.open);
            open.last += 1;
            let number = open.last;
            open.waiting.insert(number, reply);
            Asked { open: &self.open, number }
        };
        let ask = FromChild::Ask { number: asked.number, ticket, wanted };
        self.outgoing.send((ask, payload)).await.map_err(|_| GONE)?;
        replied.await.map_err(|_| GONE)?
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}
