//! Following managers: prepare, activate, refuse, lose, come back; and what callers see meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use contract::Token;
use contract::Version;
use contract::feed::{from_executor, to_executor};
use tokio::net::TcpListener;

use crate::caller::Caller;
use crate::manager::Manager;
use crate::world::World;

fn answering(word: &str) -> String {
    format!("return function() return {{ output = '{word}' }} end")
}

async fn following(manager: &Manager) -> (World, executor::Executor, Caller) {
    let mut world = World::new();
    world.settings.feed = vec![manager.url.clone()];
    let executor = world.start();
    let caller = Caller::connect(executor.address()).await;
    (world, executor, caller)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_answers_when_it_is_acknowledged() {
    let mut manager = Manager::start().await;
    let (world, _executor, mut caller) = following(&manager).await;
    let (mut stream, hello) = manager.next().await;
    assert_eq!((hello.node.as_str(), hello.active, hello.active_digest.as_str()), ("here", 0, ""));

    for number in [1, 2] {
        let source = answering(&format!("release {number}"));
        stream.release(world.signer.prepare(number, &[("acme", "x", &source)])).await;

        let reply = caller.post("/v1/run/acme/x", "null").await;
        assert_eq!(reply.body, format!(r#"{{"output":"release {number}"}}"#), "{reply:?}");
        assert_eq!(reply.header("x-moonswarm-release"), number.to_string());
    }
    let status: serde_json::Value = serde_json::from_str(&caller.get("/v1/release").await.body).unwrap();
    assert_eq!((&status["source"], &status["feed_connected"]), (&"feed".into(), &true.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_release_leaves_the_one_that_runs() {
    let mut manager = Manager::start().await;
    let (world, _executor, mut caller) = following(&manager).await;
    let (mut stream, _) = manager.next().await;
    stream.release(world.signer.prepare(1, &[("acme", "x", &answering("good"))])).await;

    stream.say(to_executor::Kind::Prepare(world.signer.prepare(2, &[("acme", "x", "return }")]))).await;

    let Some(from_executor::Kind::Refused(refused)) = stream.hear().await else { panic!("expected Refused") };
    assert_eq!((refused.release, refused.code.as_str()), (2, "script_refused"));
    assert_eq!((refused.tenant.as_str(), refused.script.as_str()), ("acme", "x"));
    assert!(refused.detail.contains("x.luau:1:"), "{}", refused.detail);
    assert_eq!(caller.post("/v1/run/acme/x", "null").await.body, r#"{"output":"good"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_of_a_stranger_is_refused() {
    let mut manager = Manager::start().await;
    let (_world, _executor, mut caller) = following(&manager).await;
    let (mut stream, _) = manager.next().await;

    let stranger = World::new().signer;
    stream.say(to_executor::Kind::Prepare(stranger.prepare(1, &[("acme", "x", &answering("evil"))]))).await;

    let Some(from_executor::Kind::Refused(refused)) = stream.hear().await else { panic!("expected Refused") };
    assert_eq!(refused.code, "bad_signature");
    assert_eq!(caller.post("/v1/run/acme/x", "null").await.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_manager_is_sought_again_while_the_release_answers() {
    let mut manager = Manager::start().await;
    let (world, _executor, mut caller) = following(&manager).await;
    let (mut stream, hello) = manager.next().await;
    stream.release(world.signer.prepare(1, &[("acme", "x", &answering("one"))])).await;

    drop(stream);

    assert_eq!(caller.post("/v1/run/acme/x", "null").await.body, r#"{"output":"one"}"#);
    let (mut stream, again) = manager.next().await;
    assert_eq!((again.executor, again.active), (hello.executor, 1));
    assert!(!again.active_digest.is_empty());
    stream.release(world.signer.prepare(2, &[("acme", "x", &answering("two"))])).await;
    assert_eq!(caller.post("/v1/run/acme/x", "null").await.body, r#"{"output":"two"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_manager_is_followed_when_the_first_is_silent_or_refuses() {
    // Takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let foreign = Manager::start_with_token(Some("other")).await;
    let mut manager = Manager::start_with_token(Some("s3cret")).await;
    let mut world = World::new();
    world.settings.feed_token = Token::parse("s3cret").ok();
    world.settings.feed =
        vec![format!("http://{}", silent.local_addr().unwrap()), foreign.url.clone(), manager.url.clone()];

    let executor = world.start();
    let (mut stream, _) = manager.next().await;

    assert_eq!(stream.authorization.as_deref(), Some("Bearer s3cret"));
    stream.release(world.signer.prepare(1, &[("acme", "x", &answering("one"))])).await;
    let mut caller = Caller::connect(executor.address()).await;
    assert_eq!(caller.get("/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_without_a_manager_answers_from_the_disk() {
    let mut manager = Manager::start().await;
    let mut world = World::new();
    world.settings.feed = vec![manager.url.clone()];
    world.settings.cache_dir = Some(world.dir.path().join("cache"));
    let executor = world.start();
    let (mut stream, _) = manager.next().await;
    stream.release(world.signer.prepare(7, &[("acme", "x", &answering("kept"))])).await;
    drop((stream, manager));
    tokio::task::spawn_blocking(|| executor.drain()).await.unwrap();

    let mut caller = Caller::connect(world.start().address()).await;

    let reply = caller.post("/v1/run/acme/x", "null").await;
    assert_eq!((reply.body.as_str(), reply.header("x-moonswarm-release")), (r#"{"output":"kept"}"#, "7"));
    assert!(caller.get("/v1/release").await.body.contains(r#""source":"cache""#));
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_every_answer_is_of_one_release_and_none_is_old_after_the_acknowledgement() {
    const RELEASES: u64 = 60;
    let mut manager = Manager::start().await;
    let (world, executor, mut caller) = following(&manager).await;
    let (mut stream, _) = manager.next().await;
    let source = |number: u64| answering(&format!("release {number}"));
    stream.release(world.signer.prepare(1, &[("acme", "x", &source(1))])).await;

    let (over, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(1)));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (over, acknowledged, address) = (Arc::clone(&over), Arc::clone(&acknowledged), executor.address());
            tokio::spawn(async move {
                let (mut caller, mut answers) = (Caller::connect(address).await, 0_u64);
                while !over.load(Ordering::Relaxed) {
                    let oldest = acknowledged.load(Ordering::SeqCst);
                    let reply = caller.post("/v1/run/acme/x", "null").await;
                    let number: u64 = reply.header("x-moonswarm-release").parse().unwrap();
                    assert!(number >= oldest, "release {number} answered after {oldest} was acknowledged");
                    assert_eq!(reply.body, format!(r#"{{"output":"release {number}"}}"#));
                    let version = Version::of(answering(&format!("release {number}")).as_bytes());
                    assert_eq!(reply.header("x-moonswarm-version"), version.as_str());
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    for number in 2..=RELEASES {
        stream.release(world.signer.prepare(number, &[("acme", "x", &source(number))])).await;
        acknowledged.store(number, Ordering::SeqCst);
        // The callers take turns with us, so that swaps fall between and into their requests.
        assert_eq!(caller.post("/v1/run/acme/x", "null").await.header("x-moonswarm-release"), number.to_string());
    }
    over.store(true, Ordering::Relaxed);

    for caller in callers {
        let answers = tokio::time::timeout(Duration::from_secs(10), caller).await.unwrap().unwrap();
        assert!(answers > RELEASES / 10, "only {answers} answers");
    }
}
