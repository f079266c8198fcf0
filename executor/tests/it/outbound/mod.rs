//! The way out for scripts, against servers on loopback that say what no good server says.

mod bounds;
mod reach;
mod server;
mod tls;

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use executor::outbound::{
    Counts, HttpBudget, HttpGrant, Networks, Outbound, OutboundError, OutboundSettings, Resolve, SystemResolver,
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

/// Far beyond what anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Scripts that may reach `opened` beside the internet.
fn settings(opened: &str) -> OutboundSettings {
    OutboundSettings { networks: Networks::new(vec![opened.parse().unwrap()]), ..OutboundSettings::default() }
}

/// A way out that reaches all of loopback.
fn outbound() -> Outbound<SystemResolver> {
    Outbound::new(settings("127.0.0.0/8"), Counts::default())
}

fn grant(hosts: &[&str]) -> HttpGrant {
    HttpGrant { hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(), ..HttpGrant::default() }
}

fn budget() -> HttpBudget {
    HttpBudget::new("acme", Instant::now() + PATIENCE)
}

/// A GET of `url` with a fresh budget and whatever host granted.
async fn get<R: Resolve + 'static>(outbound: &Outbound<R>, url: &str) -> Result<Value, OutboundError> {
    let host = url::Url::parse(url).unwrap();
    let host = &host[url::Position::BeforeHost..url::Position::AfterPort];
    ask(outbound, &grant(&[host]), &budget(), json!({ "url": url })).await
}

async fn ask<R: Resolve + 'static>(
    outbound: &Outbound<R>,
    grant: &HttpGrant,
    budget: &HttpBudget,
    ask: Value,
) -> Result<Value, OutboundError> {
    let answer = outbound.request(grant, budget, ask.to_string().as_bytes()).await?;
    Ok(serde_json::from_slice(&answer).unwrap())
}

#[track_caller]
fn said(answer: Result<Value, OutboundError>) -> String {
    answer.expect_err("the request should fail").to_string()
}

fn rendered(counts: &Counts) -> String {
    let mut registry = Registry::default();
    counts.register(&mut registry);
    telemetry::render(&registry)
}

/// Gives one prepared answer after the other; `None` = there is no such name. Clones share them.
#[derive(Clone, Default)]
struct Prepared {
    answers: Arc<Mutex<VecDeque<Option<Vec<IpAddr>>>>>,
    lookups: Arc<AtomicUsize>,
}

impl Prepared {
    fn new(answers: &[&[&str]]) -> Self {
        let answers = answers.iter().map(|answer| Some(answer.iter().map(|ip| ip.parse().unwrap()).collect()));
        Self { answers: Arc::new(Mutex::new(answers.collect())), ..Self::default() }
    }

    fn lookups(&self) -> usize {
        self.lookups.load(Ordering::Relaxed)
    }
}

impl Resolve for Prepared {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        self.answers.lock().unwrap().pop_front().flatten().ok_or_else(|| io::Error::other("no such name"))
    }
}
