//! What servers and scripts can't make this program do.

use std::time::{Duration, Instant};

use executor::outbound::{Counts, HttpBudget, HttpGrant, Outbound, OutboundSettings, Resolve};
use serde_json::json;
use tokio::time::timeout;

use super::server::{Manner, Server};
use super::{PATIENCE, ask, budget, get, grant, outbound, rendered, said, settings};

/// For what takes as long as it may.
const SHORT: Duration = Duration::from_millis(100);

/// What a server that behaves like this leads to.
async fn told(manner: Manner) -> String {
    told_within(PATIENCE, manner).await
}

async fn told_within(timeout: Duration, manner: Manner) -> String {
    let server = Server::start(manner).await;
    let hosts = grant(&[&server.address.to_string()]);
    let hosts = HttpGrant { timeout, ..hosts };
    let said = said(ask(&outbound(), &hosts, &budget(), json!({ "url": server.url("/") })).await);
    said.replace(&server.address.to_string(), "HOST")
}

#[tokio::test]
async fn a_server_that_says_nothing_or_never_ends_is_left_when_time_is_over() {
    let expected = "host `HOST` did not answer within 100ms, the longest that a request of this script may take";

    assert_eq!(told_within(SHORT, Manner::Hang("".into())).await, expected);
    assert_eq!(
        told_within(SHORT, Manner::Hang("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhal".into())).await,
        expected
    );
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(told_within(SHORT, Manner::Hang(head.into())).await, expected);
    assert_eq!(told_within(SHORT, Manner::Repeat("".into(), "HTTP/1.1 100 Continue\r\n\r\n".into())).await, expected);
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_whether_it_is_announced_or_not() {
    let expected = "the answer of host `HOST` has a body above 1048576 bytes";

    assert_eq!(told(Manner::Hang("HTTP/1.1 200 OK\r\ncontent-length: 1048577\r\n\r\n".into())).await, expected);
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(told(Manner::Repeat(head.into(), chunk.into())).await, expected);
    assert_eq!(told(Manner::Repeat("HTTP/1.1 200 OK\r\n\r\n".into(), vec![b'x'; 4096])).await, expected);
}

#[tokio::test]
async fn a_body_at_the_limit_is_taken() {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 1 << 20);
    let server = Server::start(Manner::Say([head.into_bytes(), vec![b'x'; 1 << 20]].concat())).await;

    let answer = get(&outbound(), &server.url("/")).await.unwrap();

    assert_eq!(answer["body"].as_str().unwrap().len(), 1 << 20);
}

#[tokio::test]
async fn endless_headers_are_refused() {
    let expected = "the answer of host `HOST` has a head above 100 headers or 65536 bytes";

    assert_eq!(told(Manner::Repeat("HTTP/1.1 200 OK\r\n".into(), "x: y\r\n".into())).await, expected);
    assert_eq!(told(Manner::Repeat("HTTP/1.1 200 OK\r\nx: ".into(), vec![b'y'; 4096])).await, expected);
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(101));
    assert_eq!(told(Manner::Say(many.into())).await, expected);
}

#[tokio::test]
async fn what_is_not_http_is_told() {
    let answers = [
        "",
        "SSH-2.0-x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhal",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    ];
    let mut said = Vec::new();
    for answer in answers {
        said.push(told(Manner::Say(answer.into())).await);
    }

    insta::assert_snapshot!(said.join("\n"), @"
    host `HOST` gave no proper answer: connection closed before message completed
    host `HOST` gave no proper answer: invalid HTTP version parsed
    host `HOST` gave no proper answer: error reading a body from connection
    host `HOST` gave no proper answer: invalid content-length parsed
    ");
}

#[tokio::test]
async fn a_request_never_outlives_its_execution() {
    let server = Server::start(Manner::Hang(Vec::new())).await;
    let hosts = grant(&[&server.address.to_string()]);
    let over = HttpBudget::new("acme", Instant::now());

    let said = said(ask(&outbound(), &hosts, &over, json!({ "url": server.url("/"), "timeout": 5 })).await);

    assert!(said.ends_with("did not answer within 0s, which was left of the execution"), "{said}");
}

#[tokio::test]
async fn a_dropped_request_closes_its_connection_and_counts_as_cancelled() {
    let (mut server, counts) = (Server::start(Manner::Hang(Vec::new())).await, Counts::default());
    let outbound = Outbound::new(settings("127.0.0.0/8"), counts.clone());
    let url = server.url("/");

    tokio::select! {
        answer = get(&outbound, &url) => panic!("{answer:?}"),
        () = server.until_connections(1) => {}
    }

    server.until_clients_left(1).await;
    assert!(rendered(&counts).contains(r#"outbound_requests_total{outcome="cancelled"} 1"#));
}

#[tokio::test]
async fn an_execution_has_its_number_of_requests_and_those_refused_count() {
    let server = Server::say("HTTP/1.1 204 No Content\r\n\r\n").await;
    let hosts = HttpGrant { requests_max: 2, ..grant(&[&server.address.to_string()]) };
    let (outbound, budget) = (outbound(), budget());
    let asked = async |url: String| ask(&outbound, &hosts, &budget, json!({ "url": url })).await;

    assert_eq!(asked(server.url("/")).await.unwrap()["status"], 204);
    asked("http://evil.com".into()).await.unwrap_err();

    assert_eq!(said(asked(server.url("/")).await), "an execution of this script may make 2 requests, this is one more");
    assert_eq!(server.connections(), 1);
}

/// Never finds anything.
struct Endless;

impl Resolve for Endless {
    async fn resolve(&self, _: &str) -> std::io::Result<Vec<std::net::IpAddr>> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_lookup_that_hangs_keeps_the_place_of_its_tenant_and_of_nobody_else() {
    let server = Server::say("HTTP/1.1 204 No Content\r\n\r\n").await;
    let bounds = OutboundSettings { tenant_at_once: 1, ..settings("127.0.0.0/8") };
    let outbound = Outbound::with_resolver(bounds, Counts::default(), Endless);
    let hosts = grant(&["hangs.example", &server.address.to_string()]);
    let asked = async |tenant: &str, url: &str, timeout: f64| {
        let budget = HttpBudget::new(tenant, Instant::now() + PATIENCE);
        ask(&outbound, &hosts, &budget, json!({ "url": url, "timeout": timeout })).await
    };

    said(asked("acme", "http://hangs.example/", 0.05).await);
    said(asked("acme", &server.url("/"), 0.05).await);
    assert_eq!(server.connections(), 0);
    asked("beta", &server.url("/"), 10.0).await.unwrap();
}

#[tokio::test]
async fn requests_of_one_tenant_wait_for_each_other_and_not_for_another_tenant() {
    let mut server = Server::start(Manner::Hang(Vec::new())).await;
    let bounds = OutboundSettings { tenant_at_once: 1, ..settings("127.0.0.0/8") };
    let outbound = Outbound::new(bounds, Counts::default());
    let hosts = grant(&[&server.address.to_string()]);
    let url = server.url("/");
    let asked = |tenant, timeout: f64| {
        let (outbound, hosts, url) = (&outbound, &hosts, &url);
        let budget = HttpBudget::new(tenant, Instant::now() + PATIENCE);
        async move { ask(outbound, hosts, &budget, json!({ "url": url, "timeout": timeout })).await }
    };
    let (first, second, other) = (asked("acme", 10.0), asked("acme", 0.05), asked("beta", 10.0));

    tokio::select! {
        // In this order the first of them takes the place.
        biased;
        answer = first => panic!("{answer:?}"),
        answer = other => panic!("{answer:?}"),
        // Its time runs while it waits, and it never reached the server.
        answer = timeout(PATIENCE, async { (second.await, server.until_connections(2).await) }) => {
            let (answer, ()) = answer.unwrap();
            assert!(said(answer).ends_with("did not answer within 50ms, the request's timeout"));
        }
    }
    assert_eq!(server.connections(), 2);
}
