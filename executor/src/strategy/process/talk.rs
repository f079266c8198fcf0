//! What the executor says to a child: its jobs, and what they ask for.

use std::collections::HashMap;
use std::future::pending;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use contract::TenantName;
use contract::policy::Effective;
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::interval;

use super::flights::{Ask, Due, Flights};
use super::message::{AskNumber, ScriptNumber, ToChild};
use super::supervise::{End, Vms, Writer};
use crate::release::{Script, Terms};
use crate::strategy::asks::Services;
use crate::strategy::common::Common;
use crate::strategy::entry::UPKEEP_EVERY;
use crate::strategy::inbox::{Inbox, Life, Ticket};
use crate::strategy::job::{Entry, Job};

/// An ask that was answered; `None` if nobody wants the answer any more.
type Answered = (AskNumber, Option<Result<Bytes, String>>);

type Several<'a, T> = FuturesUnordered<Pin<Box<dyn Future<Output = T> + 'a>>>;

/// Gives a child its jobs, and answers what they ask for. What is under way ends with this.
pub(super) struct Talker<'a> {
    writer: Writer,
    inbox: &'a Inbox,
    common: &'a Common,
    vms: &'a Vms<'a>,
    flights: &'a Flights,
    asks: mpsc::Receiver<Ask>,
    requests: Several<'a, Answered>,
    cancels: Several<'a, Option<Ticket>>,
    sent: Sent,
}

impl<'a> Talker<'a> {
    pub(super) fn new(
        writer: Writer,
        inbox: &'a Inbox,
        common: &'a Common,
        vms: &'a Vms<'a>,
        flights: &'a Flights,
        asks: mpsc::Receiver<Ask>,
    ) -> Self {
        let (requests, cancels, sent) = (Several::new(), Several::new(), Sent::default());
        Self { writer, inbox, common, vms, flights, asks, requests, cancels, sent }
    }

    /// Talks until there are no more jobs for this child.
    pub(super) async fn talk(mut self, life: Life) -> End {
        let mut ticks = interval(UPKEEP_EVERY);
        loop {
            let told = tokio::select! {
                next = self.inbox.next(life) => match next {
                    Some((ticket, job)) => self.run(ticket, job).await,
                    None => {
                        let _ = self.send(ToChild::End, Bytes::new()).await;
                        return End::Told;
                    }
                },
                Some(ask) = self.asks.recv() => self.take(ask).await,
                Some((number, answer)) = self.requests.next(), if !self.requests.is_empty() => match answer {
                    Some(answer) => self.answer(number, answer).await,
                    None => Ok(()),
                },
                Some(ticket) = self.cancels.next(), if !self.cancels.is_empty() => match ticket {
                    Some(ticket) => self.send(ToChild::Cancel { ticket }, Bytes::new()).await,
                    None => Ok(()),
                },
                _ = ticks.tick() => self.forget().await,
            };
            match told {
                Ok(()) => {}
                // It does not listen; what it said last, and that it ended, is for the reader.
                Err(err) if err.kind() == ErrorKind::BrokenPipe => return pending().await,
                Err(err) => return End::broken(err),
            }
        }
    }

    async fn run(&mut self, ticket: Ticket, job: Job) -> io::Result<()> {
        let cancelled = self.flights.begin(ticket, &job);
        self.cancels.push(Box::pin(cancelled));
        self.agree(&job.script.tenant, &job.siblings.terms).await?;
        let script = self.introduce(&job.script).await?;
        let mut layers = Vec::new();
        for layer in job.layers.iter().flat_map(|layers| layers.iter()) {
            layers.push(self.introduce(layer).await?);
        }
        let event = match job.entry {
            Entry::Event(event) => Some(event),
            Entry::Handle => None,
            Entry::Before(_) | Entry::After(..) => {
                unreachable!("middleware runs where the call does that it is around")
            }
        };
        let run = ToChild::Run { ticket, script, event, layers, id: job.id.to_string(), drill: job.drill };
        self.send(run, job.input).await
    }

    async fn take(&mut self, ask: Ask) -> io::Result<()> {
        match self.flights.due(&ask, self.requests.len()) {
            Ok(Due::Script(script)) => {
                let script = Some(self.introduce(&script).await?);
                self.send(ToChild::Answer { number: ask.number, script }, Bytes::new()).await
            }
            Ok(Due::Request(request)) => {
                if let Services::Own(outbound) = &self.common.services {
                    self.requests.push(Box::pin(async move { (ask.number, request.answer(outbound).await) }));
                }
                Ok(())
            }
            Err(why) => self.answer(ask.number, Err(why)).await,
        }
    }

    async fn answer(&mut self, number: AskNumber, answer: Result<Bytes, String>) -> io::Result<()> {
        match answer {
            Ok(json) => self.send(ToChild::Answer { number, script: None }, json).await,
            Err(why) => self.send(ToChild::Refuse { number, why }, Bytes::new()).await,
        }
    }

    async fn forget(&mut self) -> io::Result<()> {
        let mut tenants = self.vms.of_gone_tenants(self.common);
        let scripts = self.sent.forget(self.common, &mut tenants);
        if scripts.is_empty() && tenants.is_empty() {
            return Ok(());
        }
        self.send(ToChild::Forget { scripts, tenants }, Bytes::new()).await
    }

    /// Tells the child of a tenant's terms, as far as it does not know them.
    async fn agree(&mut self, tenant: &TenantName, terms: &Arc<Terms>) -> io::Result<()> {
        if !self.sent.are_new(tenant, terms) {
            return Ok(());
        }
        let effective = Box::new(terms.effective.clone());
        self.send(ToChild::Terms { tenant: tenant.to_string(), effective }, Bytes::new()).await
    }

    /// The number of a script, which the child knows from now on.
    async fn introduce(&mut self, script: &Arc<Script>) -> io::Result<ScriptNumber> {
        let (number, is_new) = self.sent.number(script);
        if is_new {
            let message = ToChild::Script {
                number,
                tenant: script.tenant.to_string(),
                name: script.name.to_string(),
                file: script.program.file().to_owned(),
            };
            self.send(message, Bytes::copy_from_slice(&script.source)).await?;
        }
        Ok(number)
    }

    async fn send(&mut self, message: ToChild, body: Bytes) -> io::Result<()> {
        self.writer.send((message, body)).await
    }
}

/// Which scripts and terms a child has.
#[derive(Default)]
struct Sent {
    terms: HashMap<TenantName, Arc<Terms>>,
    /// By address, which is nobody else's while the weak reference is kept.
    numbers: HashMap<*const Script, (ScriptNumber, Weak<Script>)>,
    next: ScriptNumber,
}

impl Sent {
    /// The script's number, and whether it is a new one.
    fn number(&mut self, script: &Arc<Script>) -> (ScriptNumber, bool) {
        if let Some((number, _)) = self.numbers.get(&Arc::as_ptr(script)) {
            return (*number, false);
        }
        let number = self.next;
        self.next += 1;
        self.numbers.insert(Arc::as_ptr(script), (number, Arc::downgrade(script)));
        (number, true)
    }

    /// Whether these are other terms than the child has of the tenant.
    fn are_new(&mut self, tenant: &TenantName, terms: &Arc<Terms>) -> bool {
        match self.terms.get(tenant) {
            Some(known) if Arc::ptr_eq(known, terms) => false,
            None if terms.effective == Effective::default() => false,
            _ => {
                self.terms.insert(tenant.clone(), Arc::clone(terms));
                true
            }
        }
    }

    /// Numbers of scripts that no release has any more; adds tenants that the release does not have any more.
    fn forget(&mut self, common: &Common, tenants: &mut Vec<String>) -> Vec<ScriptNumber> {
        let active = common.serving.active();
        let gone = |tenant: &TenantName| active.as_ref().is_none_or(|active| !active.has_tenant(tenant.as_str()));
        tenants.extend(self.terms.extract_if(|tenant, _| gone(tenant)).map(|(tenant, _)| tenant.to_string()));
        let gone = self.numbers.extract_if(|_, (_, script)| script.strong_count() == 0);
        gone.map(|(_, (number, _))| number).collect()
    }
}
