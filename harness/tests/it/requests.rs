//! What is no request, or hardly one, is answered or hung up on, and the executor goes on.

use containment::mutate::{Random, mutate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{DEADLINE, stack};

/// Requests that are changed before they are sent.
const REQUESTS: &[&[u8]] = &[
    b"POST /v1/run/acme/risk HTTP/1.1\r\nhost: x\r\ncontent-length: 7\r\n\r\n{\"k\":1}",
    b"POST /v1/run/ac%6De/risk?x=1#y HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"GET /readyz HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\nconnection: close\r\n\r\n",
    b"GET /metrics HTTP/1.0\r\n\r\n",
    b"HEAD /v1/release HTTP/1.1\r\nhost: x\r\naccept: */*\r\ncookie: a=b\r\nexpect: 100-continue\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    b"POST /v1/run/acme/risk HTTP/1.1\r\ncontent-length: 99999999999\r\ncontent-length: 1\r\n\r\n1",
];

/// How many are sent, and after how many the executor must answer a rule.
const SENT: usize = 600;
const LOOK_EVERY: usize = 50;

#[tokio::test]
async fn requests_that_are_none_do_no_harm() {
    let stack = stack(1).await;
    stack.push_rule().await;
    let address = stack.laptop.executor_urls[0].trim_start_matches("http://").to_owned();
    let mut random = Random::from_system();

    for round in 1..=SENT {
        let bytes = mutate(&mut random, REQUESTS);
        let answer = timeout(DEADLINE, send(&address, &bytes)).await;
        let told = || format!("seed {}, round {round}: {}", random.seed(), bytes.escape_ascii());
        let answer = answer.unwrap_or_else(|_| panic!("neither an answer nor a hang-up\n{}", told()));
        let start = answer.get(..9).unwrap_or(&answer);
        // An HTTP/2 preface is answered in HTTP/2, which begins with a frame of settings (RFC 9113 §3.4).
        let is_http = [&b""[..], b"HTTP/1.1 ", b"HTTP/1.0 "].contains(&start) || start.get(3) == Some(&4);
        assert!(is_http, "answered {}\n{}", answer.escape_ascii(), told());
        if round % LOOK_EVERY == 0 {
            stack.rule_still_runs().await;
        }
    }
}

/// Sends the bytes and no more; all that comes back until the executor hangs up.
async fn send(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut answer = Vec::new();
    // It may hang up while we still write; what it said before counts.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let _ = stream.read_to_end(&mut answer).await;
    answer
}
