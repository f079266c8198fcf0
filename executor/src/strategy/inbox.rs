//! Where jobs wait for a worker, and where their answers go, whatever becomes of the worker.
//!
//! An inbox outlives the threads or child processes that serve it one after another, each of them a *life*. When one
//! is lost, those who wait for its answers are told, what had not begun is served by the next, and the late answers of
//! the lost one find nobody waiting.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use contract::TenantName;
use sandbox::Fault;
use tokio::sync::{Notify, oneshot};

use super::clock::now_ns;
use super::fair::{Bounds, FairQueue};
use super::job::{Job, Outcome};

/// Number of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life(u64);

/// Number of a job that has begun.
pub(crate) type Ticket = u64;

/// Why a job is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// Its tenant has too many waiting.
    Full,
    /// Nobody serves this inbox any more.
    Closed,
}

/// Jobs of one worker.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: FairQueue<Waiting>,
    running: HashMap<Ticket, Running>,
    next_ticket: Ticket,
    life: u64,
    closed: bool,
    used_at_ns: u64,
}

#[derive(Debug)]
struct Waiting {
    job: Job,
    reply: oneshot::Sender<Outcome>,
}

#[derive(Debug)]
struct Running {
    tenant: TenantName,
    reply: oneshot::Sender<Outcome>,
}

impl Inbox {
    /// Takes a job; its outcome comes by the channel.
    ///
    /// # Errors
    /// [`Rejected`].
    pub(crate) fn push(&self, job: Job) -> Result<oneshot::Receiver<Outcome>, Rejected> {
        let (reply, outcome) = oneshot::channel();
        let mut state = self.state();
        if state.closed {
            return Err(Rejected::Closed);
        }
        state.used_at_ns = now_ns();
        let tenant = job.script.tenant.clone();
        let (running, waiting) = job.siblings.terms.bounds();
        state.waiting.push(&tenant, Bounds { running, waiting }, Waiting { job, reply }).map_err(|_| Rejected::Full)?;
        drop(state);
        self.changed.notify_one();
        Ok(outcome)
    }

    /// Serves the inbox from now on; earlier lives get no more jobs.
    pub(crate) fn begin_life(&self) -> Life {
        let mut state = self.state();
        state.life += 1;
        // A worker that has only begun is not one that nobody needs.
        state.used_at_ns = now_ns();
        let life = Life(state.life);
        drop(state);
        self.changed.notify_waiters();
        life
    }

    /// The next job, whose tenant's turn it is; `None` when the inbox is closed and empty, or `life` is over. Nothing is
    /// lost when this is dropped before it is ready.
    pub(crate) async fn next(&self, life: Life) -> Option<(Ticket, Job)> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Counted as waiting from here on, so that no notification falls between the look and the wait.
            changed.as_mut().enable();
            {
                let mut state = self.state();
                if state.life != life.0 {
                    // Not for us: whoever is served now should look.
                    drop(state);
                    self.changed.notify_one();
                    return None;
                }
                if let Some(begun) = state.begin() {
                    return Some(begun);
                }
                if state.closed {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// The outcome of a job. Nobody waits for one that was failed meanwhile.
    pub(crate) fn answer(&self, ticket: Ticket, outcome: Outcome) {
        let mut state = self.state();
        let Some(running) = state.running.remove(&ticket) else { return };
        state.end(&running.tenant);
        drop(state);
        // A caller that hung up needs no answer.
        let _ = running.reply.send(outcome);
        self.changed.notify_one();
    }

    /// Answers all that runs with `fault`: the worker is lost.
    pub(crate) fn fail_running(&self, fault: &Fault) {
        let mut state = self.state();
        let lost: Vec<_> = state.running.drain().map(|(_, running)| running).collect();
        for running in &lost {
            state.end(&running.tenant);
        }
        drop(state);
        for running in lost {
            let _ = running.reply.send(Outcome::fault(fault.clone()));
        }
        self.changed.notify_one();
    }

    /// Answers all that waits with `fault`: there will be no worker for it in reasonable time.
    pub(crate) fn fail_waiting(&self, fault: &Fault) {
        let mut lost = Vec::new();
        {
            let mut state = self.state();
            while let Some(Waiting { job, reply }) = state.waiting.pop() {
                state.end(&job.script.tenant);
                lost.push(reply);
            }
        }
        for reply in lost {
            let _ = reply.send(Outcome::fault(fault.clone()));
        }
    }

    /// Takes no more jobs; what waits is still served.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    /// Closes the inbox if nothing waits or runs and nothing came since `since_ns`; tells whether it did.
    pub(crate) fn close_if_unused(&self, since_ns: u64) -> bool {
        let mut state = self.state();
        let unused = state.waiting.is_idle() && state.used_at_ns <= since_ns;
        state.closed |= unused;
        drop(state);
        if unused {
            self.changed.notify_one();
        }
        unused
    }

    /// When the last job came, on the clock of `clock.rs`; `None` while one waits or runs.
    pub(crate) fn unused_since_ns(&self) -> Option<u64> {
        let state = self.state();
        state.waiting.is_idle().then_some(state.used_at_ns)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begin(&mut self) -> Option<(Ticket, Job)> {
        loop {
            let Waiting { job, reply } = self.waiting.pop()?;
            let tenant = job.script.tenant.clone();
            if reply.is_closed() {
                // The caller hung up before it was its turn.
                self.end(&tenant);
                continue;
            }
            let ticket = self.next_ticket;
            self.next_ticket += 1;
            self.running.insert(ticket, Running { tenant, reply });
            return Some((ticket, job));
        }
    }

    fn end(&mut self, tenant: &TenantName) {
        self.waiting.done(tenant);
        self.used_at_ns = now_ns();
    }
}

#[cfg(test)]
mod tests {
    use contract::Code;
    use futures_util::FutureExt;

    use super::*;
    use crate::strategy::job::fault;
    use crate::strategy::testing::job;

    fn next(inbox: &Inbox, life: Life) -> Option<(Ticket, Job)> {
        inbox.next(life).now_or_never().expect("there is neither a job nor an end")
    }

    fn told(outcome: oneshot::Receiver<Outcome>) -> Option<Code> {
        outcome.now_or_never().expect("there is no answer").unwrap().result.err().map(|fault| fault.code)
    }

    #[test]
    fn the_answer_comes_to_who_asked() {
        let inbox = Inbox::default();
        let life = inbox.begin_life();
        let first = inbox.push(job("a")).unwrap();
        let second = inbox.push(job("b")).unwrap();
        let (ticket, _) = next(&inbox, life).unwrap();
        let (other, _) = next(&inbox, life).unwrap();

        inbox.answer(other, Outcome::fault(fault(Code::ScriptError, "b")));
        inbox.answer(ticket, Outcome::fault(fault(Code::MemoryExceeded, "a")));

        assert_eq!((told(first), told(second)), (Some(Code::MemoryExceeded), Some(Code::ScriptError)));
    }

    #[test]
    fn the_next_life_serves_what_had_not_begun_and_the_lost_one_is_ignored() {
        let inbox = Inbox::default();
        let lost = inbox.begin_life();
        let begun = inbox.push(job("a")).unwrap();
        let waiting = inbox.push(job("b")).unwrap();
        let (late, _) = next(&inbox, lost).unwrap();

        inbox.fail_running(&fault(Code::DeadlineExceeded, "stuck"));
        let life = inbox.begin_life();
        inbox.answer(late, Outcome::fault(fault(Code::ScriptError, "too late")));

        assert!(next(&inbox, lost).is_none());
        let (ticket, job) = next(&inbox, life).unwrap();
        assert_eq!(job.script.tenant.as_str(), "b");
        inbox.answer(ticket, Outcome::fault(fault(Code::ScriptError, "b")));
        assert_eq!((told(begun), told(waiting)), (Some(Code::DeadlineExceeded), Some(Code::ScriptError)));
    }

    #[test]
    fn jobs_of_callers_that_hung_up_do_not_begin() {
        let inbox = Inbox::default();
        let life = inbox.begin_life();
        drop(inbox.push(job("a")).unwrap());
        let _waits = inbox.push(job("b")).unwrap();

        assert_eq!(next(&inbox, life).unwrap().1.script.tenant.as_str(), "b");
    }

    #[test]
    fn a_closed_inbox_is_emptied_and_takes_nothing_more() {
        let inbox = Inbox::default();
        let life = inbox.begin_life();
        let _waits = inbox.push(job("a")).unwrap();
        assert!(!inbox.close_if_unused(u64::MAX));

        inbox.close();

        assert_eq!(inbox.push(job("a")).unwrap_err(), Rejected::Closed);
        assert!(next(&inbox, life).is_some());
        assert!(next(&inbox, life).is_none());
    }

    #[test]
    fn an_inbox_is_unused_only_some_time_after_its_worker_began() {
        let inbox = Inbox::default();
        let before = now_ns();
        inbox.begin_life();

        assert!(!inbox.close_if_unused(before.saturating_sub(1_000_000_000)));
        assert!(inbox.close_if_unused(now_ns()));
    }

    #[test]
    fn one_tenant_can_not_fill_it_for_others() {
        let inbox = Inbox::default();
        let kept: Vec<_> = (0..job("a").siblings.terms.bounds().1).map(|_| inbox.push(job("a")).unwrap()).collect();

        assert_eq!(inbox.push(job("a")).unwrap_err(), Rejected::Full);
        inbox.push(job("b")).unwrap();
        drop(kept);
    }

    #[tokio::test]
    async fn a_waiting_worker_hears_of_a_job() {
        let inbox = std::sync::Arc::new(Inbox::default());
        let life = inbox.begin_life();
        let worker = tokio::spawn({
            let inbox = std::sync::Arc::clone(&inbox);
            async move { inbox.next(life).await.map(|(_, job)| job.script.tenant.to_string()) }
        });
        tokio::task::yield_now().await;

        let _waits = inbox.push(job("a")).unwrap();

        assert_eq!(worker.await.unwrap().as_deref(), Some("a"));
    }
}
