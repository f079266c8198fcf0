//! The end: what runs is finished, what comes is sent elsewhere, and the manager knows.

use std::time::Duration;

use contract::feed::from_executor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::caller::Caller;
use crate::manager::Manager;
use crate::world::World;

const ECHO: &str = "return function(input) return { output = input } end";

/// Until nobody listens at `address`.
async fn closed(address: std::net::SocketAddr) {
    let gone = async { while TcpStream::connect(address).await.is_ok() {} };
    timeout(Duration::from_secs(5), gone).await.expect("the socket is still open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_has_begun_is_answered() {
    let world = World::with_release(&[("acme", "echo", ECHO)]);
    let executor = world.start();
    let address = executor.address();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"POST /v1/run/acme/echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n\"ab").await.unwrap();
    let mut probe = Caller::connect(address).await;
    while !probe.get("/metrics").await.body.contains("moonswarm_in_flight 2") {}

    let drained = tokio::task::spawn_blocking(|| executor.drain());
    closed(address).await;
    stream.write_all(b"c\"").await.unwrap();
    let mut answer = String::new();
    timeout(Duration::from_secs(5), stream.read_to_string(&mut answer)).await.unwrap().unwrap();

    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(r#"{"output":"abc"}"#), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    timeout(Duration::from_secs(5), drained).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keep_alive_caller_gets_one_more_answer_and_is_sent_away() {
    let world = World::with_release(&[("acme", "echo", ECHO)]);
    let executor = world.start();
    let address = executor.address();
    let (mut caller, mut probe) = (Caller::connect(address).await, Caller::connect(address).await);
    for caller in [&mut caller, &mut probe] {
        assert_eq!(caller.get("/readyz").await.status, 200);
    }

    let drained = tokio::task::spawn_blocking(|| executor.drain());
    closed(address).await;

    let reply = caller.post("/v1/run/acme/echo", "1").await;
    assert_eq!((reply.status, reply.header("connection")), (200, "close"));
    let reply = probe.get("/readyz").await;
    assert_eq!((reply.status, reply.problem().code), (503, contract::Code::NotReady));
    timeout(Duration::from_secs(5), drained).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manager_hears_goodbye() {
    let mut manager = Manager::start().await;
    let mut world = World::new();
    world.settings.feed = vec![manager.url.clone()];
    let executor = world.start();
    let (mut stream, _) = manager.next().await;

    let drained = tokio::task::spawn_blocking(|| executor.drain());

    assert!(matches!(stream.hear().await, Some(from_executor::Kind::Goodbye(_))));
    drop(stream);
    timeout(Duration::from_secs(5), drained).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_is_left_at_the_deadline() {
    let mut world = World::with_release(&[("acme", "echo", ECHO)]);
    world.settings.drain = Duration::from_millis(300);
    let executor = world.start();
    let mut stream = TcpStream::connect(executor.address()).await.unwrap();
    stream.write_all(b"POST /v1/run/acme/echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n").await.unwrap();

    let drained = tokio::task::spawn_blocking(|| executor.drain());

    timeout(Duration::from_secs(5), drained).await.expect("the drain has no deadline").unwrap();
}
