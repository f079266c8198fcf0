//! The door to executions for who is no I/O thread: what would run on one runs on a thread of its own here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::common::Common;
use super::job::{Job, Outcome};
use super::ledger::Ledger;
use super::pool::Pool;
use super::vm_thread::{self, Manner};
use super::{Place, Strategy};

/// One more worker, and the door to it. May be used by several threads at once.
pub(crate) struct Annex {
    strategy: Arc<dyn Strategy>,
    own: Pool,
    ledger: Mutex<Ledger>,
}

impl Annex {
    /// Starts the thread `name`. Counts its executions as those of door `index`.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(crate) fn start(
        name: &str,
        index: usize,
        strategy: Arc<dyn Strategy>,
        common: Common,
    ) -> std::io::Result<Self> {
        let own = Pool::new(1);
        for inbox in own.inboxes() {
            vm_thread::spawn(name, inbox, &common, Manner::default())?;
        }
        Ok(Self { strategy, own, ledger: Mutex::new(Ledger::new(index, common)) })
    }

    /// Executes `job`, wherever that is, if its tenant's rate allows; counts it, and logs what the script logged.
    pub(crate) async fn execute(&self, job: Job) -> Outcome {
        let refused = self.ledger().refuse(&job);
        if let Some(refused) = refused {
            return refused;
        }
        let place = match self.strategy.place(&job) {
            Place::Here => self.own.submit(&job),
            elsewhere => elsewhere,
        };
        let outcome = match place {
            Place::There(handed_off) => handed_off.outcome().await,
            Place::Refused(fault) => {
                self.ledger().common().metrics().refuse(fault.code);
                return Outcome::fault(fault);
            }
            Place::Here => unreachable!("a pool never runs a job on the calling thread"),
        };
        self.ledger().note(&job, outcome)
    }

    /// No more jobs; the thread ends when it has ended what it has.
    pub(crate) fn close(&self) {
        self.own.close();
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
