//! What scripts ask for: others of their tenant, other services, and time. The same wherever they run.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::Duration;

use contract::Code;
use executor::outbound::{Networks, Opened, OutboundSettings};
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::caller::Caller;
use crate::strategies::{all, metric, processes};
use crate::world::World;

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_declares_it_runs_others_of_its_tenant() {
    let total = r#"return {
        capabilities = { "run" },
        handle = function(input, ctx)
            local rate = ctx.run("rate", { country = input.country })
            return { total = input.amount * rate.factor }
        end,
    }"#;
    let rate = "return function(input) print('rated', input.country) return { factor = 2 } end";
    for strategy in all() {
        let name = strategy.as_str();
        let executor =
            World::with_release(&[("acme", "total", total), ("acme", "rate", rate)]).drilling(strategy).start();
        let mut caller = Caller::connect(executor.address()).await;

        let reply = caller.post("/v1/run/acme/total", r#"{"amount":21,"country":"DE"}"#).await;

        assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"total":42}"#), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_in_another_script_is_raised_where_it_was_run() {
    let run = |what: &str| {
        format!(
            "return {{ capabilities = {{ \"run\" }}, handle = function(input, ctx) \
             local ok, why = pcall(ctx.run, {what}, 1) return why end }}"
        )
    };
    let (fails, gone, itself) = (run("\"broken\""), run("\"gone\""), run("\"itself\""));
    let itself =
        itself.replace("local ok, why = pcall(ctx.run, \"itself\", 1) return why", "return ctx.run(\"itself\", 1)");
    let undeclared = "return function(_, ctx) return { type(ctx.run) } end";
    let scripts = [
        ("acme", "fails", &*fails),
        ("acme", "gone-caller", &gone),
        ("acme", "itself", &itself),
        ("acme", "undeclared", undeclared),
        ("acme", "broken", "return function() error(\"no rate\") end"),
        ("zoo", "gone", "return function() return 'of another tenant' end"),
    ];
    for strategy in all() {
        let executor = World::with_release(&scripts).drilling(strategy).start();
        let mut caller = Caller::connect(executor.address()).await;

        let mut told = Vec::new();
        for script in ["fails", "gone-caller", "itself", "undeclared"] {
            let reply = caller.post(&format!("/v1/run/acme/{script}"), "1").await;
            told.push(if reply.status == 200 { reply.body } else { reply.problem().detail });
        }

        insta::allow_duplicates! { insta::assert_snapshot!(told.join("\n"), @r#"
    "script `broken` failed: script_error: broken.luau:1: no rate"
    "tenant `acme` has no script `gone`"
    itself.luau:1: script `itself` failed: script_error: itself.luau:1: script `itself` failed: script_error: itself.luau:1: script `itself` failed: script_error: itself.luau:1: script `itself` failed: script_error: itself.luau:1: scripts may run each other 4 deep, this is one more
    ["nil"]
    "#); }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_can_be_cancelled_wherever_it_runs() {
    let slow = "return { capabilities = { 'run' }, handle = function(_, ctx) return ctx.run('sleeps') end }";
    let sleeps = "return function() task.wait(1.9) return 1 end";
    for strategy in all() {
        let name = strategy.as_str();
        let executor =
            World::with_release(&[("acme", "slow", slow), ("acme", "sleeps", sleeps)]).drilling(strategy).start();
        let mut caller = Caller::connect(executor.address()).await;
        let path = caller.post("/v1/run/acme/slow?wait=0", "").await.header("location").to_owned();

        assert_eq!(caller.ask(Method::DELETE, &path, "").await.status, 204, "{name}");

        let reply = caller.get(&format!("{path}?wait=10s")).await;
        assert_eq!((reply.status, reply.problem().code), (409, Code::Cancelled), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_executions_of_a_tenant_wait_and_ask_at_once() {
    let asks = "return { capabilities = { 'run' }, handle = function(input, ctx)
        local got, count = {}, 0
        for n = 1, 4 do
            task.spawn(function()
                got[n] = ctx.run('adds', { n = input, m = n })
                count += 1
            end)
        end
        repeat task.wait(0.05) until count == 4
        return got
    end }";
    let adds = "return function(input) task.wait(0.05) return input.n * 10 + input.m end";
    for strategy in all() {
        let name = strategy.as_str();
        let executor =
            World::with_release(&[("acme", "asks", asks), ("acme", "adds", adds)]).drilling(strategy).start();
        let address = executor.address();

        let calls = (0..12).map(|n| async move {
            Caller::connect(address).await.post("/v1/run/acme/asks", &n.to_string()).await.body
        });
        let answers: BTreeSet<_> = futures_util::future::join_all(calls).await.into_iter().collect();

        let expected = (0..12).map(|n| format!("[{},{},{},{}]", n * 10 + 1, n * 10 + 2, n * 10 + 3, n * 10 + 4));
        assert_eq!(answers, expected.collect(), "{name}");
    }
}

/// An executor whose scripts reach loopback. They name hosts without a port, so servers are on port 80.
fn open(mut world: World) -> World {
    let networks = Networks::new(vec!["127.0.0.0/8".parse().unwrap()]);
    world.settings.outbound = OutboundSettings { hosts: Opened::All, networks, ..OutboundSettings::default() };
    world
}

const ASKS: &str = "return { capabilities = { 'http' }, http = { hosts = { '127.0.0.80' } },
    handle = function(input, ctx)
        local ok, answer = pcall(ctx.http.get, input)
        return if ok then { answer.status, answer.body } else answer
    end }";

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_reached_is_told_in_the_same_words_everywhere() {
    for strategy in all() {
        let executor = World::with_release(&[("acme", "asks", ASKS)]).drilling(strategy).start();
        let mut caller = Caller::connect(executor.address()).await;

        let mut told = Vec::new();
        for url in ["http://127.0.0.80/", "http://example.com/", "nonsense"] {
            told.push(caller.post("/v1/run/acme/asks", &format!("{url:?}")).await.body);
        }

        insta::allow_duplicates! { insta::assert_snapshot!(told.join("\n"), @r#"
        "host `127.0.0.80` is not open to scripts here; an operator opens hosts with `--outbound-hosts`"
        "host `example.com` is not in this script's list (127.0.0.80)"
        "URL `nonsense` begins with neither `http://` nor `https://`"
        "#); }
    }
}

/// On port 80 of an address of ours; `None`, and said so, where that is not to be had.
#[expect(clippy::print_stderr, reason = "a test that shows nothing here says so")]
async fn server(address: &str) -> Option<TcpListener> {
    match TcpListener::bind((address, 80)).await {
        Ok(listener) => Some(listener),
        Err(err) => {
            assert!(matches!(err.kind(), ErrorKind::PermissionDenied), "{err}");
            eprintln!("skipped: port 80 is not to be had: {err}");
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_answers_scripts_wherever_they_run() {
    let Some(listener) = server("127.0.0.80").await else { return };
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello").await;
        }
    });
    for strategy in all() {
        let name = strategy.as_str();
        let executor = open(World::with_release(&[("acme", "asks", ASKS)])).drilling(strategy).start();
        let mut caller = Caller::connect(executor.address()).await;
        for _ in 0..3 {
            let answer = caller.post("/v1/run/acme/asks", "\"http://127.0.0.80/\"").await.body;
            assert_eq!(answer, r#"[200,"hello"]"#, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_asked_for_ends_with_it() {
    let Some(listener) = server("127.0.0.81").await else { return };
    let asks = ASKS.replace("127.0.0.80", "127.0.0.81");
    let scripts = [("acme", "asks", &*asks), ("acme", "echo", "return function() return 1 end")];
    let executor = open(World::with_release(&scripts)).drilling(processes(1)).start();
    let address = executor.address();
    let asked = tokio::spawn(async move {
        Caller::connect(address).await.post("/v1/run/acme/asks", "\"http://127.0.0.81/\"").await
    });
    let (mut stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    assert_ne!(stream.read(&mut [0; 1024]).await.unwrap(), 0);

    let mut other = Caller::connect(address).await.with_drill("exit");
    assert_eq!(other.post("/v1/run/acme/echo", "").await.status, 500);

    // The connection is closed before the server ever answers.
    assert_eq!(timeout(PATIENCE, stream.read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0);
    assert_eq!(asked.await.unwrap().problem().code, Code::Internal);
    metric(address, r#"moonswarm_worker_restarts_total{cause="exit"} 1"#).await;
}
