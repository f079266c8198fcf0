//! A manager, its bucket, and words for what happens between them.

use std::fmt::Display;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use contract::Token;
use contract::api::{ChangeAnswer, Health, Status};
use contract::bundle::Bundle;
use contract::release::{PublicKeys, SigningKey};
use manager::gate::Gate;
use manager::hints::{Hint, Kind, Outcome};
use manager::metrics::Metrics;
use manager::reconcile::{self, ReconcileError};
use manager::rolling::Rolling;
use manager::run::{Manager, Setup};
use reqwest::Method;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::bucket::MemoryBucket;
use crate::executor::{Follower, Manners};

const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `probe` gives a value; shows the last state it saw if that takes too long.
#[track_caller]
pub(crate) fn until<T, E: Display>(what: &str, mut probe: impl FnMut() -> Result<T, E>) -> impl Future<Output = T> {
    let begun = Instant::now();
    let what = what.to_owned();
    let caller = std::panic::Location::caller();
    async move {
        loop {
            match probe() {
                Ok(value) => return value,
                Err(state) if begun.elapsed() > PATIENCE => panic!("{caller}: waited until {what}; last seen: {state}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }
}

/// A Swarm that does what it is told to.
#[derive(Default)]
pub(crate) struct PaperSwarm {
    pub(crate) fails: Mutex<Option<&'static str>>,
    pub(crate) rolled: Mutex<Vec<Bundle>>,
    /// Held while a roll is to go on.
    pub(crate) gate: tokio::sync::Mutex<()>,
}

#[tonic::async_trait]
impl Rolling for PaperSwarm {
    async fn health(&self) -> Health {
        Health { ok: true, detail: "a swarm of paper".to_owned() }
    }

    async fn roll(&self, bundle: &Bundle, _release: u64, _deadline: Duration) -> Result<(), String> {
        self.rolled.lock().unwrap().push(bundle.clone());
        drop(self.gate.lock().await);
        self.fails.lock().unwrap().map_or(Ok(()), |message| Err(message.to_owned()))
    }

    async fn collect(&self) {}
}

pub(crate) struct Options {
    pub(crate) token: Option<&'static str>,
    pub(crate) feed_token: Option<&'static str>,
    pub(crate) prepare_deadline: Duration,
    pub(crate) lost_after: Duration,
    pub(crate) swarm: Option<Arc<PaperSwarm>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            token: None,
            feed_token: None,
            prepare_deadline: Duration::from_secs(5),
            lost_after: Duration::from_secs(60),
            swarm: None,
        }
    }
}

pub(crate) struct World {
    pub(crate) bucket: Arc<MemoryBucket>,
    pub(crate) url: String,
    pub(crate) keys: PublicKeys,
    key: String,
    manager: Option<Manager>,
    stop: CancellationToken,
    client: reqwest::Client,
    token: Option<&'static str>,
}

/// An answer of the API.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body as `T`; the answer must be a success.
    #[track_caller]
    pub(crate) fn body<T: serde::de::DeserializeOwned>(&self) -> T {
        assert!(self.status < 300, "{} {}", self.status, self.text);
        serde_json::from_str(&self.text).unwrap()
    }

    /// The problem in a few lines, without its request id.
    #[track_caller]
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{} {}", self.status, self.text);
        let problem: contract::Problem = serde_json::from_str(&self.text).unwrap();
        assert_eq!(problem.status, self.status);
        assert_eq!(problem.request_id, self.headers["x-request-id"].to_str().unwrap());
        let mut text = format!("{} {}: {}", problem.status, problem.code, problem.detail);
        problem.hint.iter().for_each(|hint| text.push_str(&format!("\nhint: {hint}")));
        problem.diagnostics.iter().for_each(|place| text.push_str(&format!("\nat {place}")));
        text
    }
}

impl World {
    /// A manager over an empty bucket.
    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        Self::over(Arc::new(MemoryBucket::default()), &SigningKey::generate(), options).await
    }

    /// A manager over a bucket that may have a past, with this key.
    pub(crate) async fn over(bucket: Arc<MemoryBucket>, key: &str, options: Options) -> Self {
        // The HTTP client wants one, though nothing here is encrypted. A second installation is none.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let setup = Setup {
            stack: "dev".to_owned(),
            key: SigningKey::parse(key).unwrap(),
            bucket: Arc::clone(&bucket) as Arc<dyn manager::bucket::Bucket>,
            rolling: options.swarm.map(|swarm| swarm as Arc<dyn Rolling>),
            metrics: Arc::new(Metrics::default()),
            token: options.token.map(|token| Token::parse(token).unwrap()),
            feed_token: options.feed_token.map(|token| Token::parse(token).unwrap()),
            // Tests look at the bucket when they want to.
            gate: Gate::start(sandbox::Limits::default()).unwrap(),
            reconcile: Duration::from_secs(3600),
            prepare_deadline: options.prepare_deadline,
            lost_after: options.lost_after,
        };
        let keys = PublicKeys::from(SigningKey::parse(key).unwrap().public());
        let manager = Manager::start(setup, listener, stop.clone()).await;
        if manager.context.now().is_some() {
            until("the first look at the bucket is over", || {
                let seen = manager.context.bucket_health.health();
                if seen.detail.contains("read the release pointer") { Err(seen.detail) } else { Ok(()) }
            })
            .await;
        }
        let manager = Some(manager);
        let client = reqwest::Client::new();
        Self { bucket, url, keys, key: key.to_owned(), manager, stop, client, token: options.token }
    }

    /// Another manager over the same bucket.
    pub(crate) async fn neighbour(&self) -> Self {
        Self::over(Arc::clone(&self.bucket), &self.key, Options::default()).await
    }

    pub(crate) fn manager(&self) -> &Manager {
        self.manager.as_ref().unwrap()
    }

    /// Tells the manager to stop and waits until it has.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        self.manager.take().unwrap().ended().await;
    }

    /// Stops the manager and starts another one over the same bucket.
    pub(crate) async fn restart(mut self) -> Self {
        self.stop().await;
        self.neighbour().await
    }

    pub(crate) async fn follower(&self, id: &str) -> Follower {
        self.follower_with(id, Manners::default()).await
    }

    /// An executor that the manager knows of when this returns.
    pub(crate) async fn follower_with(&self, id: &str, manners: Manners) -> Follower {
        let follower = Follower::connect(&self.url, id, self.keys.clone(), manners).await;
        let registry = &self.manager().context.registry;
        until("the executor is known", || {
            let executors = registry.executors();
            let known = executors.iter().any(|executor| executor.id == id && executor.connected);
            known.then_some(()).ok_or_else(|| format!("{executors:?}"))
        })
        .await;
        follower
    }

    /// An executor that runs the current release: only such are asked about the next one.
    pub(crate) async fn voter(&self, id: &str, manners: Manners) -> Follower {
        let follower = self.follower_with(id, manners).await;
        follower.runs(self.release()).await;
        follower
    }

    /// Executors that run the current release.
    pub(crate) async fn followers<const N: usize>(&self, ids: [&str; N]) -> [Follower; N] {
        let mut followers = Vec::new();
        for id in ids {
            followers.push(self.voter(id, Manners::default()).await);
        }
        followers.try_into().ok().unwrap()
    }

    /// An executor that runs the current release and then falls silent.
    pub(crate) async fn silent_follower(&self, id: &str) -> Follower {
        let [follower] = self.followers([id]).await;
        follower.be_silent();
        follower
    }

    /// The number of the current release.
    pub(crate) fn release(&self) -> u64 {
        self.manager().context.now().map_or(0, |current| current.release.number())
    }

    /// A look at the whole bucket.
    pub(crate) async fn reconcile(&self) -> Result<reconcile::Outcome, ReconcileError> {
        reconcile::pass(&self.manager().context, &mut std::collections::BTreeSet::new()).await
    }

    /// A notification.
    pub(crate) async fn hint(&self, object: &str, generation: i64, kind: Kind) -> Outcome {
        let hint = Hint { object: object.to_owned(), generation, kind };
        manager::hints::handle(&self.manager().context, &hint).await
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &[], "").await
    }

    /// Pushes by `ada`; `tail` is what follows the name in the path.
    pub(crate) async fn put(&self, name: &str, tail: &str, source: &str) -> Answer {
        let (tenant, script) = name.split_once('/').unwrap();
        let path = format!("/v1/tenants/{tenant}/scripts/{script}{tail}");
        self.call(Method::PUT, &path, &[("x-moonswarm-author", "ada")], source.to_owned()).await
    }

    /// Pushes and waits until it is live; it must work.
    #[track_caller]
    pub(crate) fn push(&self, name: &str, source: &str) -> impl Future<Output = ChangeAnswer> {
        let caller = std::panic::Location::caller();
        async move {
            let answer = self.put(name, "?wait=5s", source).await;
            assert!(answer.status < 300, "{caller}: {} {}", answer.status, answer.text);
            answer.body()
        }
    }

    pub(crate) async fn rollback(&self, name: &str, to: Option<&str>) -> Answer {
        let (tenant, script) = name.split_once('/').unwrap();
        let body = to.map_or_else(String::new, |to| format!(r#"{{"to":"{to}"}}"#));
        let path = format!("/v1/tenants/{tenant}/scripts/{script}:rollback?wait=5s");
        self.call(Method::POST, &path, &[("x-moonswarm-author", "eve")], body).await
    }

    pub(crate) async fn status(&self) -> Status {
        self.get("/v1/status").await.body()
    }
}

pub(crate) const RISK: &str = "tenants/acme/scripts/risk.luau";
