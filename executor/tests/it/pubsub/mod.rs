//! Pub/Sub as a front door, with Google's own client between the executor's part and a Pub/Sub that obeys the test.

mod ends;
mod fake;
mod streams;
mod whole;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::{Code, Problem};
use executor::pubsub::{Counts, Delivery, Door, FrontDoor, PubsubSettings, Verdict};
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use fake::{Fake, PATIENCE};

/// A door that answers what it was told to, and `Done` when it was told nothing.
#[derive(Clone)]
struct Told {
    verdicts: Arc<Mutex<VecDeque<Verdict>>>,
    deliveries: Arc<watch::Sender<Vec<Delivery>>>,
    /// Executions that may end.
    may_end: Arc<Semaphore>,
}

impl Told {
    fn new(verdicts: impl IntoIterator<Item = Verdict>) -> Self {
        let told = Self::held();
        told.may_end.add_permits(1000);
        told.verdicts.lock().unwrap().extend(verdicts);
        told
    }

    /// Executions run until the test lets them end.
    fn held() -> Self {
        let (verdicts, deliveries) = (Arc::default(), Arc::new(watch::channel(Vec::new()).0));
        Self { verdicts, deliveries, may_end: Arc::new(Semaphore::new(0)) }
    }

    fn ids(&self) -> Vec<String> {
        self.deliveries.borrow().iter().map(|delivery| delivery.message_id.clone()).collect()
    }

    async fn until_deliveries(&self, count: usize) {
        let mut deliveries = self.deliveries.subscribe();
        let waited = timeout(PATIENCE, deliveries.wait_for(|seen| seen.len() >= count)).await.is_ok();
        assert!(waited, "waited for {count} deliveries; there are {:?}", self.ids());
    }
}

impl Door for Told {
    async fn deliver(&self, delivery: Delivery) -> Verdict {
        self.deliveries.send_modify(|seen| seen.push(delivery));
        self.may_end.acquire().await.unwrap().forget();
        let verdict = self.verdicts.lock().unwrap().pop_front();
        verdict.unwrap_or(Verdict::Done)
    }
}

fn refused(code: Code) -> Verdict {
    Verdict::Refused(Problem::new(code, "the test says so"))
}

/// With room for all that a test sends.
fn settings(url: &str) -> PubsubSettings {
    PubsubSettings {
        subscription: "projects/p/subscriptions/rules".into(),
        endpoint: Some(url.to_owned()),
        at_once: 64,
        tenant_at_once: 64,
    }
}

/// A front door that follows the fake's subscription.
struct Following {
    counts: Counts,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Following {
    async fn start(fake: &Fake, door: impl Door) -> Self {
        Self::start_with(settings(&fake.url), door, PATIENCE).await
    }

    async fn start_with(settings: PubsubSettings, door: impl Door, drain: Duration) -> Self {
        let (counts, stop) = (Counts::default(), CancellationToken::new());
        let front = FrontDoor::open(settings, door, counts.clone(), 1 << 20, drain).await.unwrap();
        let task = tokio::spawn(front.follow(stop.clone()));
        Self { counts, stop, task }
    }

    async fn stopped(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.expect("it did not stop").unwrap();
    }

    fn rendered(&self) -> String {
        let mut registry = Registry::default();
        self.counts.register(&mut registry);
        telemetry::render(&registry)
    }

    async fn until_held(&self, messages: usize) {
        let held = format!("pubsub_held {messages}\n");
        let reached = async {
            while !self.rendered().contains(&held) {
                tokio::task::yield_now().await
            }
        };
        let waited = timeout(PATIENCE, reached).await.is_ok();
        assert!(waited, "waited for {messages} messages held; now there is\n{}", self.rendered());
    }

    #[track_caller]
    fn counted(&self, lines: &[&str]) {
        let text = self.rendered();
        for line in lines {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
