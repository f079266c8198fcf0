//! `OnStartup`, `OnReload` and `OnShutdown`, and what they do not do.

use std::time::{Duration, Instant};

use contract::Version;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::manager::Manager;
use crate::program;
use crate::strategies::all;
use crate::world::World;

const PATIENCE: Duration = Duration::from_secs(60);

/// Until `/metrics` has `line`.
async fn metric(caller: &mut Caller, line: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = caller.get("/metrics").await.body;
        if text.lines().any(|found| found == line) {
            return;
        }
        assert!(Instant::now() < deadline, "`{line}` does not come in\n{text}");
        tokio::task::yield_now().await;
    }
}

fn counted(event: &str, code: &str, times: u32) -> String {
    format!(r#"moonswarm_life_cycle_total{{event="{event}",code="{code}"}} {times}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_hears_once_per_executor_that_it_starts_and_that_it_replaces_another() {
    const LIVES: &str = "return { handle = function() return 1 end, on = {
        OnStartup = function(event) assert(event.data.reason == 'boot') end,
        OnReload = function(event) assert(#event.data.old == 64 and event.data.old ~= event.data.new) end,
    } }";
    for strategy in all() {
        let mut manager = Manager::start().await;
        let mut world = World::new().drilling(strategy);
        world.settings.feed = vec![manager.url.clone()];
        let executor = world.start();
        let mut caller = Caller::connect(executor.address()).await;
        let (mut stream, _) = manager.next().await;

        stream.release(world.signer.prepare(1, &[("acme", "x", LIVES)])).await;
        metric(&mut caller, &counted("OnStartup", "ok", 1)).await;
        for _ in 0..5 {
            caller.post("/v1/run/acme/x", "").await;
        }
        stream.release(world.signer.prepare(2, &[("acme", "x", &format!("{LIVES} "))])).await;
        metric(&mut caller, &counted("OnReload", "ok", 1)).await;

        stream.release(world.signer.prepare(3, &[("acme", "x", &format!("{LIVES} ")), ("zoo", "y", "return 1")])).await;
        let text = caller.get("/metrics").await.body;
        assert!(
            text.contains(&counted("OnStartup", "ok", 1)) && text.contains(&counted("OnReload", "ok", 1)),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_or_takes_long_is_counted_and_holds_nothing_up() {
    let fails = "return { handle = function() return 1 end, on = { OnStartup = function() error('no') end } }";
    let loops = "return { handle = function() return 2 end, on = { OnStartup = function() while true do end end } }";
    for strategy in all() {
        let scripts = [("acme", "fails", fails), ("zoo", "loops", loops)];
        let executor = World::with_release(&scripts).drilling(strategy).start();
        let mut caller = Caller::connect(executor.address()).await;

        assert_eq!(caller.post("/v1/run/acme/fails", "").await.body, "1");
        assert_eq!(caller.post("/v1/run/zoo/loops", "").await.body, "2");

        metric(&mut caller, &counted("OnStartup", "script_error", 1)).await;
        metric(&mut caller, &counted("OnStartup", "deadline_exceeded", 1)).await;
    }
}

/// Keeps what it was told before its first call.
const KEEPS: &str = "
    told = {}
    calls = 0
    return { state = 'tenant', capabilities = { 'run' },
        on = {
            OnStartup = function(event, ctx) table.insert(told, event) task.wait(0.05) told.set_up = ctx.run('rate') end,
            OnReload = function(event) table.insert(told, event) end,
            OnShutdown = function() print('calls', calls) end,
        },
        handle = function() calls += 1 return { told = told[1], set_up = told.set_up, calls = calls } end,
    }";
const RATE: &str = "return function() return 7 end";

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_keeps_state_sets_itself_up_before_its_first_call_in_a_vm() {
    for strategy in all() {
        let name = strategy.as_str();
        let mut manager = Manager::start().await;
        let mut world = World::new().drilling(strategy);
        (world.settings.feed, world.settings.threads) = (vec![manager.url.clone()], 1);
        let executor = world.start();
        let (mut stream, _) = manager.next().await;
        stream.release(world.signer.prepare(1, &[("acme", "keeps", KEEPS), ("acme", "rate", RATE)])).await;

        // Two at once: both find it set up.
        let (mut one, mut other) =
            (Caller::connect(executor.address()).await, Caller::connect(executor.address()).await);
        let (first, second) = tokio::join!(one.post("/v1/run/acme/keeps", ""), other.post("/v1/run/acme/keeps", ""));
        let mut calls = Vec::new();
        for reply in [first, second] {
            let answer: Value = serde_json::from_str(&reply.body).unwrap();
            assert_eq!(answer["told"], json!({ "name": "OnStartup", "data": { "reason": "vm" } }), "{name} {answer}");
            assert_eq!(answer["set_up"], 7, "{name}");
            calls.push(answer["calls"].as_u64().unwrap());
        }
        calls.sort_unstable();
        assert_eq!(calls, [1, 2], "{name}");

        let new = format!("{KEEPS} ");
        stream.release(world.signer.prepare(2, &[("acme", "keeps", &new), ("acme", "rate", RATE)])).await;
        let answer: Value = serde_json::from_str(&one.post("/v1/run/acme/keeps", "").await.body).unwrap();
        let versions = [KEEPS, &new].map(|source| Version::of(source.as_bytes()));
        let data = json!({ "old": versions[0], "new": versions[1] });
        assert_eq!(answer, json!({ "told": { "name": "OnReload", "data": data }, "calls": 1 }), "{name}");
        metric(&mut one, &counted("OnStartup", "ok", 1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_every_script_may_put_things_in_order() {
    let once = "return { on = { OnShutdown = function() print('once') end } }";
    for flags in [&["--strategy", "thread-pool"], &["--strategy", "thread-per-tenant"], &["--strategy", "process-pool"]]
    {
        let scripts = [("acme", "keeps", KEEPS), ("acme", "rate", RATE), ("acme", "once", once), ("zoo", "once", once)];
        let more = [&flags[..], &["--threads", "1"]].concat();
        let mut program = program::start(World::with_release(&scripts), &more);
        let mut caller = Caller::connect(program.address).await;
        for _ in 0..3 {
            assert_eq!(caller.post("/v1/run/acme/keeps", "").await.status, 200);
        }
        drop(caller);

        let log = tokio::task::spawn_blocking(move || program.terminate()).await.unwrap();

        let said = |line: &Value| {
            let said = line["source"] == "lua_script";
            said.then(|| format!("{} {}", line["script"].as_str().unwrap(), line["message"].as_str().unwrap()))
        };
        let mut said: Vec<_> = log.lines().filter_map(|line| said(&serde_json::from_str(line).unwrap())).collect();
        said.sort_unstable();
        assert_eq!(said, ["keeps calls\t3", "once once", "once once"], "{flags:?}\n{log}");
    }
}
