//! Callers that never stop asking, and check every answer they get.
//!
//! Each connection asks again as soon as it has its answer. The script under load is one of a series: number `k` answers
//! `{"output":{"k":k}}`, so that an answer's body, its version header and the time it was asked at can be held against
//! each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use contract::Version;
use contract::api::HEADER_VERSION;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// An answer that takes longer counts as dropped.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// A series of scripts that differ only in the number they answer with.
#[derive(Debug)]
pub struct Series {
    versions: Vec<Version>,
}

impl Series {
    /// Scripts 0 to `count - 1`.
    pub fn new(count: usize) -> Self {
        Self { versions: (0..count).map(|number| Version::of(Self::source(number).as_bytes())).collect() }
    }

    /// The source of script `number`.
    pub fn source(number: usize) -> String {
        format!("return function(input)\n  return {{ output = {{ k = {number} }} }}\nend\n")
    }
}

/// What is asked, and whom.
#[derive(Debug, Clone)]
pub struct Target {
    /// Executors as `http://HOST:PORT`.
    pub urls: Vec<String>,
    /// The callers' token.
    pub token: Option<String>,
    /// Whose script.
    pub tenant: String,
    /// Which script.
    pub script: String,
    /// Connections to each executor.
    pub connections_each: usize,
}

/// What callers counted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Requests sent.
    pub requests: u64,
    /// Without an answer of status 200.
    pub dropped: u64,
    /// Answers whose body is of another version than their header says.
    pub mixed: u64,
    /// Answers older than a version whose push had returned (with `wait`) before the request was sent.
    pub old_after_wait: u64,
    /// The first few faults, for people.
    pub faults: Vec<String>,
}

/// Callers at work.
#[derive(Debug)]
pub struct Load {
    stop: CancellationToken,
    floor: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
    callers: JoinSet<Caller>,
    started: Instant,
}

/// What a finished load tells.
#[derive(Debug)]
pub struct Outcome {
    /// All callers' counts together.
    pub tally: Tally,
    /// Latency in microseconds.
    pub latency_micros: Histogram<u64>,
    /// How long they asked.
    pub duration: Duration,
}

#[derive(Debug)]
struct Caller {
    tally: Tally,
    latency_micros: Histogram<u64>,
}

impl Load {
    /// Connects and begins to ask.
    ///
    /// # Errors
    /// An executor can't be reached.
    pub async fn start(target: Target, series: Arc<Series>) -> Result<Self> {
        let (floor, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let stop = CancellationToken::new();
        let mut callers = JoinSet::new();
        for url in &target.urls {
            for _ in 0..target.connections_each {
                let connection = Connection::open(url, &target).await?;
                callers.spawn(ask(connection, series.clone(), floor.clone(), asked.clone(), stop.clone()));
            }
        }
        Ok(Self { stop, floor, asked, callers, started: Instant::now() })
    }

    /// From now on an answer of a script before `number` is an old one.
    pub fn raise_floor(&self, number: usize) {
        self.floor.store(number, Ordering::SeqCst);
    }

    /// Requests sent so far.
    pub fn requests(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Stops asking, after the answers under way.
    ///
    /// # Errors
    /// A caller panicked.
    pub async fn stop(mut self) -> Result<Outcome> {
        self.stop.cancel();
        let mut outcome =
            Outcome { tally: Tally::default(), latency_micros: histogram(), duration: self.started.elapsed() };
        while let Some(caller) = self.callers.join_next().await {
            let Caller { tally, latency_micros } = caller.context("join a caller")?;
            let total = &mut outcome.tally;
            total.requests += tally.requests;
            total.dropped += tally.dropped;
            total.mixed += tally.mixed;
            total.old_after_wait += tally.old_after_wait;
            total.faults.extend(tally.faults);
            outcome.latency_micros.add(latency_micros)?;
        }
        outcome.tally.faults.truncate(20);
        Ok(outcome)
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("constant bounds that the crate allows")
}

async fn ask(
    mut connection: Connection,
    series: Arc<Series>,
    floor: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
    stop: CancellationToken,
) -> Caller {
    let mut caller = Caller { tally: Tally::default(), latency_micros: histogram() };
    while !stop.is_cancelled() {
        // Read before the request is sent: a push that returns after this line may still be answered with the old one.
        let floor = floor.load(Ordering::SeqCst);
        let start = Instant::now();
        caller.tally.requests += 1;
        asked.fetch_add(1, Ordering::Relaxed);
        let answer = tokio::time::timeout(ANSWER_DEADLINE, connection.ask()).await;
        caller.latency_micros.saturating_record(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
        let tally = &mut caller.tally;
        let fault = match answer {
            Ok(Ok((number, version))) if series.versions.get(number) != Some(&version) => {
                tally.mixed += 1;
                format!("body of script {number} with the header of version {}", version.short())
            }
            Ok(Ok((number, _))) if number < floor => {
                tally.old_after_wait += 1;
                format!("script {number} answered after script {floor} was live")
            }
            Ok(Ok(_)) => continue,
            Ok(Err(err)) => {
                tally.dropped += 1;
                format!("{err:#}")
            }
            Err(_) => {
                tally.dropped += 1;
                format!("no answer in {ANSWER_DEADLINE:?}")
            }
        };
        if tally.faults.len() < 5 {
            tally.faults.push(fault);
        }
        if connection.reopen().await.is_err() {
            // The next round counts the refused connection as one more dropped request.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    caller
}

/// One HTTP/1.1 connection to an executor.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    target: Target,
}

impl Connection {
    async fn open(url: &str, target: &Target) -> Result<Self> {
        let host = url.strip_prefix("http://").context("executors are asked over http://")?.to_owned();
        let sender = connect(&host).await?;
        Ok(Self { sender, host, target: target.clone() })
    }

    async fn reopen(&mut self) -> Result<()> {
        self.sender = connect(&self.host).await?;
        Ok(())
    }

    /// One request; the number and version that answered.
    async fn ask(&mut self) -> Result<(usize, Version)> {
        #[derive(Deserialize)]
        struct Body {
            output: Output,
        }
        #[derive(Deserialize)]
        struct Output {
            k: usize,
        }

        let Target { tenant, script, token, .. } = &self.target;
        let mut request =
            http::Request::post(format!("/v1/run/{tenant}/{script}")).header(http::header::HOST, &self.host);
        if let Some(token) = token {
            request = request.header(http::header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from_static(b"{}")))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let version = response.headers().get(HEADER_VERSION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = response.into_body().collect().await?.to_bytes();
        anyhow::ensure!(status.is_success(), "status {status}: {}", String::from_utf8_lossy(&body));
        let version = Version::try_from(version.context("no version header")?)?;
        let body: Body = serde_json::from_slice(&body)?;
        Ok((body.output.k, version))
    }
}

async fn connect(host: &str) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(host).await.with_context(|| format!("connect to {host}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with its sender; what broke it is told by the request that was under way.
    tokio::spawn(connection);
    Ok(sender)
}
