//! Jobs that a child process has, and what the executor gives it for them: nothing that is not the job's.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use contract::TenantName;
use tokio_util::sync::CancellationToken;

use super::message::{AskNumber, Wanted};
use crate::outbound::{HttpBudget, Outbound};
use crate::release::{Around, Script, Tenant, Terms};
use crate::strategy::asks::sibling;
use crate::strategy::inbox::Ticket;
use crate::strategy::job::Job;
use crate::strategy::terms::http;

/// Requests of one child that may be under way at once. Its VMs have bounds of their own; this one is for a child that
/// does not keep to them.
const REQUESTS_MAX: usize = 4096;

/// An ask as it came.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) number: AskNumber,
    pub(super) ticket: Ticket,
    pub(super) wanted: Wanted,
    pub(super) payload: Bytes,
}

/// What becomes of an ask.
pub(super) enum Due {
    /// The child gets this script.
    Script(Arc<Script>),
    /// It is answered later.
    Request(Request),
}

/// A request to another service, in the name of a script.
pub(super) struct Request {
    flight: Rc<Flight>,
    script: Arc<Script>,
    payload: Bytes,
}

/// All jobs that a child has.
#[derive(Default)]
pub(super) struct Flights {
    flights: RefCell<HashMap<Ticket, Rc<Flight>>>,
}

/// One of them.
struct Flight {
    script: Arc<Script>,
    siblings: Arc<Tenant>,
    layers: Option<Around>,
    /// Made at the first request, so that it lasts as long as the execution.
    budget: OnceCell<HttpBudget>,
    ended: CancellationToken,
}

impl Flights {
    /// The child gets `job`. What is returned is ready when it is to be cancelled there.
    pub(super) fn begin(&self, ticket: Ticket, job: &Job) -> impl Future<Output = Option<Ticket>> + use<> {
        let flight = Flight {
            script: Arc::clone(&job.script),
            siblings: Arc::clone(&job.siblings),
            layers: job.layers.clone(),
            budget: OnceCell::new(),
            ended: CancellationToken::new(),
        };
        let (cancel, ended) = (job.cancel.clone(), flight.ended.clone());
        self.flights.borrow_mut().insert(ticket, Rc::new(flight));
        async move {
            tokio::select! {
                () = cancel.cancelled() => Some(ticket),
                () = ended.cancelled() => None,
            }
        }
    }

    /// The child has ended a job; what it still asked for is not wanted any more.
    pub(super) fn end(&self, ticket: Ticket) {
        if let Some(flight) = self.flights.borrow_mut().remove(&ticket) {
            flight.ended.cancel();
        }
    }

    /// What to do about `ask`, while `requests` others are under way.
    ///
    /// # Errors
    /// A sentence for the script.
    pub(super) fn due(&self, ask: &Ask, requests: usize) -> Result<Due, String> {
        let flight = self.flights.borrow().get(&ask.ticket).cloned();
        let flight = flight.ok_or("the execution has ended")?;
        match &ask.wanted {
            Wanted::Script(name) => {
                sibling(&flight.script.tenant, &flight.siblings, name).map(|script| Due::Script(Arc::clone(script)))
            }
            Wanted::Http { .. } if requests >= REQUESTS_MAX => {
                Err(format!("the worker process has {REQUESTS_MAX} requests under way, which is all it may have"))
            }
            Wanted::Http { tenant, script } => {
                let script = flight.script_named(tenant, script).ok_or("the call does not lead to the script")?;
                Ok(Due::Request(Request { flight, script, payload: ask.payload.clone() }))
            }
        }
    }
}

impl Flight {
    /// A script that the job may lead to.
    fn script_named(&self, tenant: &str, name: &str) -> Option<Arc<Script>> {
        if tenant != TenantName::STACK {
            let own = tenant == self.script.tenant.as_str();
            let script =
                if name == self.script.name.as_str() { Some(&self.script) } else { self.siblings.script(name) };
            return script.filter(|_| own).cloned();
        }
        let mut layers = self.layers.iter().flat_map(|layers| layers.iter());
        layers.find(|layer| layer.tenant.is_stack() && layer.name.as_str() == name).cloned()
    }
}

impl Request {
    /// Makes it. `None` if the job has ended meanwhile.
    pub(super) async fn answer(self, outbound: &Outbound) -> Option<Result<Bytes, String>> {
        let Self { flight, script, payload } = self;
        let budget = flight.budget.get_or_init(|| {
            HttpBudget::new(flight.script.tenant.as_str(), Instant::now() + flight.siblings.terms.limits.wall)
        });
        let built_in = Terms::built_in();
        let terms = if script.tenant.is_stack() { &built_in } else { &flight.siblings.terms };
        let grant = http(&script, terms);
        let requested = tokio::select! {
            requested = outbound.request(&grant, budget, &payload) => requested,
            () = flight.ended.cancelled() => return None,
        };
        Some(requested.map(Bytes::from).map_err(|err| err.to_string()))
    }
}
