//! The door to executions on one I/O thread: gives each job its place, and accounts for what came of it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::common::Common;
use super::host::{Beat, VmHost};
use super::job::{Job, Outcome};
use super::ledger::Ledger;
use super::{Place, Strategy};

/// Where jobs of one I/O thread go in, and outcomes come out.
pub(crate) struct Dispatcher {
    name: String,
    strategy: Arc<dyn Strategy>,
    here: Rc<VmHost>,
    ledger: RefCell<Ledger>,
}

impl Dispatcher {
    /// For I/O thread `index`, which must be the calling one.
    pub(crate) fn new(index: usize, strategy: Arc<dyn Strategy>, common: Common) -> Self {
        let here = Rc::new(common.host());
        Self { name: format!("worker-{index}"), strategy, here, ledger: RefCell::new(Ledger::new(index, common)) }
    }

    /// Executes `job`, wherever that is, if its tenant's rate allows; counts it, and logs what the script logged.
    pub(crate) async fn execute(&self, job: Job) -> Outcome {
        let refused = self.ledger.borrow_mut().refuse(&job);
        if let Some(refused) = refused {
            return refused;
        }
        let outcome = match self.strategy.place(&job) {
            Place::Here => {
                let outcome = self.here.execute(&job).await;
                if self.here.has_retired() {
                    // Behind the answer, which is written when this task waits next.
                    let here = Rc::clone(&self.here);
                    tokio::task::spawn_local(async move { here.bury() });
                }
                outcome
            }
            Place::There(handed_off) => handed_off.outcome().await,
            Place::Refused(fault) => {
                self.ledger.borrow().common().metrics().refuse(fault.code);
                return Outcome::fault(fault);
            }
        };
        self.ledger.borrow_mut().note(&job, outcome)
    }

    /// To be called about once a second.
    pub(crate) fn upkeep(&self) {
        let mut ledger = self.ledger.borrow_mut();
        ledger.common().upkeep(&self.name, &self.here);
        ledger.upkeep();
    }

    /// To be called when no more jobs come.
    pub(crate) async fn shut_down(&self) {
        let common = self.ledger.borrow().common().clone();
        common.shut_down(&self.here).await;
    }

    /// Tells whether this thread comes back from scripts.
    pub(crate) fn beat(&self) -> Arc<Beat> {
        self.here.beat()
    }
}
