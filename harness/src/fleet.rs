//! Callers behind a load balancer: each request goes to an executor that is ready, and executors come and go.
//!
//! What a good balancer does is done here and no more: it looks who is ready, keeps connections, leaves one whose answer
//! says `close`, and goes on to another executor where a connection can't be made or a request was provably never
//! written. A request that was written and not answered with 200 is dropped; nothing is sent twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::load::Tally;

/// A request that is not answered by then is dropped.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// A balancer gives up on an address that does not take a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// Between two tries where nobody is ready.
const PAUSE: Duration = Duration::from_millis(10);

/// What is asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// `/v1/run/acme/risk`.
    pub path: String,
    /// The callers' token.
    pub token: Option<String>,
    /// What the answer's body must be.
    pub expected: String,
}

/// Callers at work.
#[derive(Debug)]
pub struct Fleet {
    stop: CancellationToken,
    ready: watch::Sender<Vec<String>>,
    asked: Arc<AtomicUsize>,
    callers: JoinSet<Tally>,
}

impl Fleet {
    /// Begins to ask, `per_second` times in all, over `connections` connections; `ready` are the executors that are
    /// ready now, as `HOST:PORT`.
    pub fn start(request: Request, ready: Vec<String>, connections: u32, per_second: u32) -> Self {
        let (stop, asked) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let (sender, receiver) = watch::channel(ready);
        let every = Duration::from_secs(1) * connections / per_second;
        let mut callers = JoinSet::new();
        for number in 0..connections {
            let caller = Caller {
                request: request.clone(),
                ready: receiver.clone(),
                turn: number as usize,
                connection: None,
                asked: Arc::clone(&asked),
            };
            callers.spawn(caller.ask(every, stop.clone()));
        }
        Self { stop, ready: sender, asked, callers }
    }

    /// Tells callers who is ready now.
    pub fn balance(&self, ready: Vec<String>) {
        self.ready.send_replace(ready);
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Stops asking, after the answers under way.
    ///
    /// # Errors
    /// A caller panicked.
    pub async fn stop(mut self) -> Result<Tally> {
        self.stop.cancel();
        let mut total = Tally::default();
        while let Some(tally) = self.callers.join_next().await {
            let tally = tally.context("join a caller")?;
            total.requests += tally.requests;
            total.dropped += tally.dropped;
            total.mixed += tally.mixed;
            total.faults.extend(tally.faults);
        }
        total.faults.truncate(20);
        Ok(total)
    }
}

struct Caller {
    request: Request,
    ready: watch::Receiver<Vec<String>>,
    turn: usize,
    connection: Option<(String, SendRequest<Full<Bytes>>)>,
    asked: Arc<AtomicUsize>,
}

impl Caller {
    async fn ask(mut self, every: Duration, stop: CancellationToken) -> Tally {
        let mut tally = Tally::default();
        let mut pace = tokio::time::interval(every);
        // On a busy machine requests are not made up for in a burst.
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return tally,
                _ = pace.tick() => {}
            }
            tally.requests += 1;
            self.asked.fetch_add(1, Ordering::Relaxed);
            match tokio::time::timeout(ANSWER_DEADLINE, self.once()).await {
                Ok(Ok(body)) if body == self.request.expected => continue,
                Ok(Ok(body)) => {
                    tally.mixed += 1;
                    tally.faults.push(format!("answered {body}"));
                }
                Ok(Err(err)) => {
                    tally.dropped += 1;
                    tally.faults.push(format!("{err:#}"));
                }
                Err(_) => {
                    tally.dropped += 1;
                    tally.faults.push(format!("no answer in {ANSWER_DEADLINE:?}"));
                }
            }
            tally.faults.truncate(5);
            self.connection = None;
        }
    }

    /// One request; the body of its answer.
    async fn once(&mut self) -> Result<String> {
        let begun = Instant::now();
        loop {
            let (host, mut sender) = match self.connection.take() {
                Some(connection) => connection,
                None => self.connect().await,
            };
            let mut request = http::Request::post(&self.request.path).header(http::header::HOST, &host);
            if let Some(token) = &self.request.token {
                request = request.header(http::header::AUTHORIZATION, format!("Bearer {token}"));
            }
            let request = request.body(Full::new(Bytes::from_static(b"{}")))?;
            let answer = match sender.try_send_request(request).await {
                Ok(answer) => answer,
                Err(mut err) => {
                    // It comes back when nothing of it was written: the connection had ended before.
                    if err.take_message().is_some() {
                        continue;
                    }
                    let waited = begun.elapsed();
                    return Err(err.into_error()).with_context(|| format!("{host} broke off after {waited:?}"));
                }
            };
            let status = answer.status();
            let closes = answer.headers().get(http::header::CONNECTION).is_some_and(|value| value == "close");
            let body = answer.into_body().collect().await.with_context(|| format!("read what {host} answers"))?;
            let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            ensure!(status.is_success(), "{host} answers {status}: {body}");
            let is_ready = self.ready.borrow().contains(&host);
            if !closes && is_ready {
                self.connection = Some((host, sender));
            }
            return Ok(body);
        }
    }

    /// A connection to the next executor that is ready and takes one. The caller's deadline ends the search.
    async fn connect(&mut self) -> (String, SendRequest<Full<Bytes>>) {
        loop {
            let next = {
                let ready = self.ready.borrow();
                self.turn = self.turn.wrapping_add(1);
                let turn = self.turn.checked_rem(ready.len());
                turn.map(|turn| ready[turn].clone())
            };
            if let Some(host) = next
                && let Ok(Ok(stream)) = tokio::time::timeout(CONNECT_DEADLINE, TcpStream::connect(&host)).await
                && stream.set_nodelay(true).is_ok()
                && let Ok((sender, connection)) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await
            {
                // It ends with its sender; what broke it is told by the request that was under way.
                tokio::spawn(connection);
                return (host, sender);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
