//! How waiting changes become one release, and what happens to them if it does not come about.

use contract::Code;
use contract::api::Activation;
use contract::release::{self, Entry, Scripts};
use tokio_util::sync::CancellationToken;

use super::lane::Ask;
use super::{CommitError, Committed, REBASES_MAX, ReleaseError, Releaser, Request};
use crate::feed::registry::ExecutorRefusal;
use crate::gate::Refusal;
use crate::plan::{Change, Standing, standing};
use crate::releases::Current;

/// Changes in one release. More wait for the next.
const BATCH_MAX: usize = 1000;

/// What is left to do with a batch.
enum Next {
    Nothing,
    /// Put it on top of what is current now.
    Rebase(Vec<Request>),
    /// Do these one after the other.
    Divide(Vec<Vec<Request>>),
}

impl Releaser {
    /// Releases `requests`, together with what else waits and may be in the same release.
    pub(super) async fn release(&mut self, mut requests: Vec<Request>, stop: &CancellationToken) {
        let (rolling, live): (Vec<_>, Vec<_>) =
            requests.drain(..).partition(|request| request.activation == Activation::Rolling);
        let mut batch = live;
        while !batch.is_empty() && rolling.is_empty() && batch.len() < BATCH_MAX && self.next_is_live() {
            if let Some(Ask::Release(more)) = self.waiting.pop_front() {
                batch.extend(more);
            }
        }
        // INVARIANT: a rolling activation is alone in its release, so that taking it back takes back nothing else.
        let mut work: Vec<Vec<Request>> = rolling.into_iter().rev().map(|request| vec![request]).collect();
        work.push(batch);
        while let Some(mut batch) = work.pop() {
            let mut rebases = 0;
            while !batch.is_empty() {
                match self.attempt(batch, stop).await {
                    Next::Nothing => break,
                    Next::Rebase(again) if rebases < REBASES_MAX => batch = again,
                    Next::Rebase(again) => {
                        answer(again, &ReleaseError::Contended);
                        break;
                    }
                    Next::Divide(parts) => {
                        work.extend(parts.into_iter().rev());
                        break;
                    }
                }
                rebases += 1;
            }
        }
    }

    fn next_is_live(&self) -> bool {
        matches!(self.waiting.front(), Some(Ask::Release(requests))
            if requests.iter().all(|request| request.activation == Activation::Live))
    }

    async fn attempt(&mut self, batch: Vec<Request>, stop: &CancellationToken) -> Next {
        let Some(base) = self.now() else {
            answer(batch, &ReleaseError::Closed);
            return Next::Nothing;
        };
        let (mut scripts, mut sources) = (base.release.scripts().clone(), base.release.sources.clone());
        let mut pending = Vec::new();
        for request in batch {
            let running = entry(&scripts, &request);
            let removed_at = self.tombstones.get(&(request.tenant.clone(), request.script.clone())).copied();
            match standing(&request.change, running, removed_at) {
                Standing::New => {
                    apply(&mut scripts, &request);
                    if let Change::Set(entry) = &request.change {
                        sources.insert(entry.version.clone(), request.source.clone());
                    }
                    pending.push(request);
                }
                Standing::Already => {
                    let committed = Committed { release: base.release.number(), rolled: None };
                    // Who asked may have gone; the release stands all the same.
                    let _ = request.reply.send(Ok(committed));
                }
                Standing::Superseded(by) => {
                    let _ = request.reply.send(Err(ReleaseError::Superseded(by.map(Box::new))));
                }
            }
        }
        let Some(first) = pending.first() else { return Next::Nothing };
        let (activation, reason) = (first.activation, reason_of(&pending));
        match self.commit(&base, scripts.clone(), &sources, reason, activation).await {
            Ok(release) if activation == Activation::Rolling => {
                for request in pending {
                    self.roll(request, &base, &release, stop).await;
                }
                Next::Nothing
            }
            Ok(release) => {
                self.succeed(pending, &scripts, release.number());
                Next::Nothing
            }
            Err(CommitError::Refused(refusal)) => self.blame(pending, refusal),
            Err(CommitError::LostRace) => Next::Rebase(pending),
            Err(CommitError::Bucket(err)) => {
                answer(pending, &ReleaseError::Bucket(err));
                Next::Nothing
            }
            Err(CommitError::Pointer(err)) => {
                answer(pending, &ReleaseError::Pointer(err));
                Next::Nothing
            }
        }
    }

    fn succeed(&self, requests: Vec<Request>, scripts: &Scripts, release: u64) {
        for request in requests {
            let now = entry(scripts, &request);
            let outcome = match (&request.change, now) {
                (Change::Set(entry), Some(now)) if now.generation == entry.generation => {
                    self.tools.refusals.clear(&entry.object, entry.generation);
                    Ok(Committed { release, rolled: None })
                }
                (Change::Remove { .. }, None) => Ok(Committed { release, rolled: None }),
                // A newer change of the same script was in the same batch.
                (_, now) => Err(ReleaseError::Superseded(now.cloned().map(Box::new))),
            };
            let _ = request.reply.send(outcome);
        }
    }

    /// A refused release: if one change is at fault it is told so, else the fault is sought by division.
    fn blame(&self, mut requests: Vec<Request>, refusal: ExecutorRefusal) -> Next {
        if requests.len() == 1 {
            let request = requests.remove(0);
            if let Change::Set(entry) = &request.change {
                self.tools.refusals.insert(&entry.object, entry.generation, refusal_of(&refusal));
            }
            tracing::warn!(
                tenant = %request.tenant,
                script = %request.script,
                executor = refusal.executor,
                code = refusal.refused.code,
                "an executor refused the change; the release stays"
            );
            let _ = request.reply.send(Err(ReleaseError::Refused(Box::new(refusal))));
            return Next::Nothing;
        }
        let named = |request: &Request| {
            request.tenant.as_str() == refusal.refused.tenant && request.script.as_str() == refusal.refused.script
        };
        let (culprits, mut rest): (Vec<_>, Vec<_>) = requests.into_iter().partition(named);
        if culprits.is_empty() {
            let second = rest.split_off(rest.len() / 2);
            return Next::Divide(vec![rest, second]);
        }
        let mut parts = vec![rest];
        parts.extend(culprits.into_iter().map(|culprit| vec![culprit]));
        Next::Divide(parts)
    }
}

/// An executor's refusal as the gate would have said it.
pub(crate) fn refusal_of(refusal: &ExecutorRefusal) -> Refusal {
    let said = &refusal.refused;
    let code = Code::ALL.iter().copied().find(|code| code.as_str() == said.code).unwrap_or(Code::ActivationFailed);
    let detail = format!("executor `{}` on `{}` refused it: {}", refusal.executor, refusal.node, said.detail);
    Refusal { code, detail, diagnostics: Vec::new() }
}

fn answer(requests: Vec<Request>, err: &ReleaseError) {
    for request in requests {
        let _ = request.reply.send(Err(err.clone()));
    }
}

fn entry<'a>(scripts: &'a Scripts, request: &Request) -> Option<&'a Entry> {
    scripts.get(&request.tenant)?.get(&request.script)
}

fn apply(scripts: &mut Scripts, request: &Request) {
    match &request.change {
        Change::Set(entry) => {
            release::set(scripts, request.tenant.clone(), request.script.clone(), entry.clone());
        }
        Change::Remove { .. } => release::remove(scripts, &request.tenant, &request.script),
    }
}

/// What the release says of why it was made.
fn reason_of(requests: &[Request]) -> String {
    match requests {
        [only] => only.reason.clone(),
        [first, rest @ ..] => format!("{} and {} more", first.reason, rest.len()),
        [] => String::new(),
    }
}

/// What a release ran before, for taking a change back.
pub(super) fn before(base: &Current, request: &Request) -> Option<Entry> {
    entry(base.release.scripts(), request).cloned()
}
