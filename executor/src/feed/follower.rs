//! What the feed's messages mean: parts become an offer, an offer a staged release, a staged release the active one.
//!
//! No I/O and no waiting: [`Follower::take`] says what to do next, and compiling is handed out as [`Work`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use contract::feed::{self, FromExecutor, ToExecutor, from_executor, to_executor};

use super::wire;
use crate::release::{Active, Known, Offer, Refusal, Serving, Source, Trust, Verified, prepare};

/// Releases prepared and not yet activated. A manager has one or two under way; of more the oldest is forgotten.
const STAGED_MAX: usize = 4;

/// Sources of one release, all parts together: a thousand scripts of the largest size.
const RELEASE_BYTES_MAX: usize = 256 << 20;

/// What to do after a message.
pub(crate) enum Step {
    /// Nothing: more is to come.
    Wait,
    /// Send this.
    Answer(FromExecutor),
    /// Run this where it may take long, and bring the result to [`Follower::finish`].
    Prepare(Work),
}

/// A release to verify and compile.
pub(crate) struct Work {
    trust: Arc<Trust>,
    known: Known,
    offer: Offer,
    received: Instant,
}

impl Work {
    /// Number of the release.
    pub(crate) fn number(&self) -> u64 {
        self.offer.verified.statement().number
    }

    /// Compiles: on a thread with a large stack.
    pub(crate) fn run(self) -> Result<Prepared, Refusal> {
        let release = prepare(&self.trust, &self.known, self.offer)?;
        Ok(Prepared { release: Arc::new(release), received: self.received })
    }
}

/// A release that can be activated.
pub(crate) struct Prepared {
    release: Arc<Active>,
    received: Instant,
}

/// The parts of one release until the last is there.
struct Partial {
    statement: feed::SignedStatement,
    bytes: usize,
    /// `None` after a refusal: the parts that follow are only passed over.
    offer: Option<Offer>,
}

/// One stream's view of releases. A new stream begins with a new one: what was prepared for a manager that is gone may
/// never have been committed.
pub(crate) struct Follower {
    serving: Arc<Serving>,
    trust: Arc<Trust>,
    partial: Option<Partial>,
    staged: BTreeMap<u64, Arc<Active>>,
}

impl Follower {
    pub(crate) fn new(serving: Arc<Serving>, trust: Arc<Trust>) -> Self {
        Self { serving, trust, partial: None, staged: BTreeMap::new() }
    }

    /// Takes one message that came at `now`.
    pub(crate) fn take(&mut self, message: ToExecutor, now: Instant) -> Step {
        match message.kind {
            Some(to_executor::Kind::Prepare(part)) => self.part(part, now),
            Some(to_executor::Kind::Activate(feed::Activate { release })) => Step::Answer(self.activate(release, now)),
            Some(to_executor::Kind::Abandon(feed::Abandon { release })) => {
                self.staged.remove(&release);
                Step::Wait
            }
            // A kind that a later manager may have; it must not need one of us to act on it.
            None => Step::Wait,
        }
    }

    /// Takes the result of [`Work`] for release `number`; the answer is to be sent.
    pub(crate) fn finish(&mut self, number: u64, result: Result<Prepared, Refusal>) -> FromExecutor {
        match result {
            Ok(Prepared { release, received }) => {
                self.staged.insert(number, release);
                while self.staged.len() > STAGED_MAX {
                    self.staged.pop_first();
                }
                prepared(number, received)
            }
            Err(refusal) => self.refuse(number, &refusal),
        }
    }

    fn part(&mut self, part: feed::Prepare, now: Instant) -> Step {
        let feed::Prepare { statement, base, changes, last } = part;
        let statement = statement.unwrap_or_default();
        let number = wire::claimed_number(&statement);
        if self.partial.as_ref().is_none_or(|partial| partial.statement != statement) {
            // Verified before anything of it is kept.
            match Verified::check(wire::signed(&statement), &self.trust) {
                Ok(verified) => {
                    let offer = Some(Offer { verified, base, changes: Vec::new() });
                    self.partial = Some(Partial { statement, bytes: 0, offer });
                }
                Err(err) => {
                    self.partial = (!last).then_some(Partial { statement, bytes: 0, offer: None });
                    return Step::Answer(self.refuse(number, &err.into()));
                }
            }
        }
        if let Err(refusal) = self.add(number, changes) {
            if last {
                self.partial = None;
            }
            return Step::Answer(self.refuse(number, &refusal));
        }
        let complete = if last { self.partial.take() } else { None };
        complete.and_then(|partial| partial.offer).map_or(Step::Wait, |offer| self.offered(offer, now))
    }

    fn add(&mut self, number: u64, changes: Vec<feed::Change>) -> Result<(), Refusal> {
        let Some(partial) = &mut self.partial else { return Ok(()) };
        let Some(offer) = &mut partial.offer else { return Ok(()) };
        let added = changes.into_iter().try_for_each(|change| {
            partial.bytes += change.version.as_ref().map_or(0, |version| version.source.len());
            if partial.bytes > RELEASE_BYTES_MAX {
                return Err(Refusal::TooLarge { number, bytes_max: RELEASE_BYTES_MAX });
            }
            offer.changes.push(wire::change(number, change)?);
            Ok(())
        });
        if added.is_err() {
            partial.offer = None;
        }
        added
    }

    fn offered(&self, offer: Offer, now: Instant) -> Step {
        let statement = offer.verified.statement();
        let active = self.serving.active().clone();
        let staged = self.staged.get(&statement.number);
        if [active.as_ref(), staged]
            .into_iter()
            .flatten()
            .any(|held| held.number() == statement.number && held.statement().digest == statement.digest)
        {
            return Step::Answer(prepared(statement.number, now));
        }
        let known = Known { active, staged: self.staged.values().cloned().collect() };
        Step::Prepare(Work { trust: Arc::clone(&self.trust), known, offer, received: now })
    }

    fn activate(&mut self, number: u64, now: Instant) -> FromExecutor {
        let active = self.serving.active().as_ref().map_or(0, |active| active.number());
        if number != active {
            let Some(release) = self.staged.remove(&number).filter(|_| number > active) else {
                let detail = format!("it is not prepared here; release {active} runs");
                return self.refuse(number, &Refusal::Unprepared { number, detail });
            };
            self.serving.activate(release, Source::Feed);
            self.staged = self.staged.split_off(&number);
        }
        let micros = micros_since(now);
        wire::from(from_executor::Kind::Activated(feed::Activated { release: number, micros }))
    }

    fn refuse(&self, number: u64, refusal: &Refusal) -> FromExecutor {
        self.serving.metrics().refused_releases.inc();
        let active = self.serving.active().as_ref().map_or(0, |active| active.number());
        tracing::warn!(
            release = number,
            active,
            code = refusal.code(),
            error = telemetry::chain(refusal),
            "release refused; the active one stays"
        );
        wire::refused(number, refusal)
    }
}

fn prepared(release: u64, received: Instant) -> FromExecutor {
    wire::from(from_executor::Kind::Prepared(feed::Prepared { release, micros: micros_since(received) }))
}

fn micros_since(begin: Instant) -> u64 {
    u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use crate::release::Change;
    use crate::release::testing::{Signer, write};

    struct Desk {
        signer: Signer,
        serving: Arc<Serving>,
        follower: Follower,
    }

    impl Desk {
        fn new() -> Self {
            let signer = Signer::new();
            let serving = Arc::new(Serving::new(Arc::new(Metrics::default()), None));
            let follower = Follower::new(Arc::clone(&serving), Arc::new(signer.trust()));
            Self { signer, serving, follower }
        }

        /// The parts of a release, one for each change.
        fn parts(&self, number: u64, base: u64, changes: &[Change]) -> Vec<feed::Prepare> {
            let signed = self.signer.sign(number, base, changes).signed;
            let statement = Some(feed::SignedStatement {
                statement: signed.statement,
                key_id: signed.key_id,
                signature: data_encoding::BASE64.decode(signed.signature.as_bytes()).unwrap(),
            });
            let sent = changes.iter().enumerate().map(|(index, change)| feed::Prepare {
                statement: statement.clone(),
                base,
                changes: vec![feed::Change {
                    tenant: change.tenant.to_string(),
                    script: change.script.to_string(),
                    version: change.content.as_ref().map(|content| feed::ScriptVersion {
                        entry: serde_json::to_string(&content.entry).unwrap(),
                        source: content.source.to_vec(),
                    }),
                }],
                last: index + 1 == changes.len(),
            });
            sent.collect()
        }

        /// What is answered, in words.
        fn say(&mut self, kind: to_executor::Kind) -> String {
            let answer = match self.follower.take(ToExecutor { kind: Some(kind) }, Instant::now()) {
                Step::Wait => return "-".into(),
                Step::Answer(answer) => answer,
                Step::Prepare(work) => {
                    let number = work.number();
                    self.follower.finish(number, work.run())
                }
            };
            match answer.kind.unwrap() {
                from_executor::Kind::Prepared(it) => format!("prepared {}", it.release),
                from_executor::Kind::Activated(it) => format!("activated {}", it.release),
                from_executor::Kind::Refused(it) => format!("refused {} {}", it.release, it.code),
                other => panic!("{other:?}"),
            }
        }

        fn prepare(&mut self, number: u64, base: u64, changes: &[Change]) -> Vec<String> {
            let parts = self.parts(number, base, changes);
            parts.into_iter().map(|part| self.say(to_executor::Kind::Prepare(part))).collect()
        }

        fn activate(&mut self, release: u64) -> String {
            self.say(to_executor::Kind::Activate(feed::Activate { release }))
        }

        fn active(&self) -> u64 {
            self.serving.active().as_ref().map_or(0, |active| active.number())
        }
    }

    #[test]
    fn parts_become_a_release_that_answers_after_activation() {
        let mut desk = Desk::new();

        let answers = desk.prepare(1, 0, &[write("a", "x", "return 1"), write("b", "x", "return 2")]);

        assert_eq!(answers, ["-", "prepared 1"]);
        assert_eq!(desk.active(), 0);
        assert_eq!(desk.activate(1), "activated 1");
        assert_eq!(desk.active(), 1);
    }

    #[test]
    fn the_active_release_is_acknowledged_again_and_prepared_at_once() {
        let mut desk = Desk::new();
        desk.prepare(1, 0, &[write("a", "x", "return 1")]);
        desk.activate(1);

        assert_eq!(desk.activate(1), "activated 1");
        assert_eq!(desk.prepare(1, 0, &[write("a", "x", "return 1")]), ["prepared 1"]);
        assert_eq!(desk.prepare(1, 0, &[write("a", "x", "return 2")]), ["refused 1 conflict"]);
    }

    #[test]
    fn several_releases_may_wait_and_older_ones_fall_away() {
        let mut desk = Desk::new();
        for number in 1..=6 {
            assert_eq!(desk.prepare(number, 0, &[write("a", "x", "return 1")]), [format!("prepared {number}")]);
        }

        assert_eq!(desk.activate(2), "refused 2 unknown_version");
        assert_eq!(desk.activate(4), "activated 4");
        assert_eq!(desk.activate(3), "refused 3 unknown_version");
        assert_eq!(desk.activate(6), "activated 6");
    }

    #[test]
    fn an_abandoned_release_can_not_be_activated() {
        let mut desk = Desk::new();
        desk.prepare(1, 0, &[write("a", "x", "return 1")]);

        assert_eq!(desk.say(to_executor::Kind::Abandon(feed::Abandon { release: 1 })), "-");

        assert_eq!(desk.activate(1), "refused 1 unknown_version");
        assert_eq!(desk.active(), 0);
    }

    #[test]
    fn a_forged_release_is_refused_once_and_its_other_parts_are_passed_over() {
        let mut desk = Desk::new();
        let mut parts = desk.parts(1, 0, &[write("a", "x", "return 1"), write("a", "y", "return 2")]);
        for part in &mut parts {
            part.statement.as_mut().unwrap().signature[0] ^= 1;
        }

        let answers: Vec<_> = parts.into_iter().map(|part| desk.say(to_executor::Kind::Prepare(part))).collect();

        assert_eq!(answers, ["refused 1 bad_signature", "-"]);
        assert_eq!(desk.prepare(1, 0, &[write("a", "x", "return 1")]), ["prepared 1"]);
    }

    #[test]
    fn a_script_that_does_not_compile_leaves_the_active_release() {
        let mut desk = Desk::new();
        desk.prepare(1, 0, &[write("a", "x", "return 1")]);
        desk.activate(1);

        assert_eq!(desk.prepare(2, 0, &[write("a", "x", "return }")]), ["refused 2 script_refused"]);

        assert_eq!(desk.activate(2), "refused 2 unknown_version");
        assert_eq!(desk.active(), 1);
    }

    #[test]
    fn a_message_of_an_unknown_kind_is_passed_over() {
        let mut desk = Desk::new();
        assert!(matches!(desk.follower.take(ToExecutor { kind: None }, Instant::now()), Step::Wait));
    }
}
