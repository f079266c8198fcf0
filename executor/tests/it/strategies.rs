//! Where scripts run: the same answers everywhere, and what becomes of neighbours when a worker is lost.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use contract::Code;
use executor::strategy::{Kind, Processes};

use crate::caller::{Caller, Reply};
use crate::world::World;

const ECHO: &str = "return function(input) return { output = input } end";
const BUSY: &str = "return function() while true do end end";
const FAILS: &str = "return function(input, ctx)\n  ctx.log.warn('soon')\n  error('no luck')\nend";

/// Longer than a thread or process needs to be found stuck, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn processes(count: usize) -> Kind {
    Kind::ProcessPool(Processes { count, program: env!("CARGO_BIN_EXE_moonswarm-executor").into() })
}

pub(crate) fn all() -> [Kind; 3] {
    [Kind::ThreadPool { workers: 2 }, Kind::ThreadPerTenant { threads_max: 8 }, processes(2)]
}

fn world(strategy: Kind) -> World {
    World::with_release(&[
        ("acme", "echo", ECHO),
        ("acme", "busy", BUSY),
        ("acme", "fails", FAILS),
        ("zoo", "echo", ECHO),
        ("tree", "echo", ECHO),
    ])
    .drilling(strategy)
}

async fn drill(address: SocketAddr, tenant: &str, drill: &'static str) -> Reply {
    let mut caller = Caller::connect(address).await.with_drill(drill);
    caller.post(&format!("/v1/run/{tenant}/echo"), "1").await
}

async fn echo(address: SocketAddr, tenant: &str) -> Reply {
    Caller::connect(address).await.post(&format!("/v1/run/{tenant}/echo"), r#"{"n":1}"#).await
}

/// Until `/metrics` has `line`.
pub(crate) async fn metric(address: SocketAddr, line: &str) {
    let deadline = Instant::now() + PATIENCE;
    let mut last = String::new();
    loop {
        let ask = async { Caller::connect(address).await.try_ask(http::Method::GET, "/metrics", "").await };
        // A worker that is stuck does not answer at all, and one that is lost loses the connections it had.
        if let Ok(Ok(reply)) = tokio::time::timeout(Duration::from_secs(1), ask).await {
            last = reply.body;
        }
        if last.lines().any(|found| found == line) {
            return;
        }
        assert!(Instant::now() < deadline, "`{line}` does not come in\n{last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_strategy_gives_the_same_answers() {
    for strategy in all() {
        let name = strategy.as_str();
        let executor = world(strategy).start();
        let mut caller = Caller::connect(executor.address()).await;

        let reply = caller.post("/v1/run/acme/echo", r#"{"n":1}"#).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"output":{"n":1}}"#), "{name}");

        let problem = caller.post("/v1/run/acme/fails", "null").await.problem();
        assert_eq!((problem.code, problem.diagnostics[0].line), (Code::ScriptError, 3), "{name}");

        let problem = caller.post("/v1/run/acme/busy", "null").await.problem();
        assert_eq!(problem.code, Code::DeadlineExceeded, "{name}");
        assert_eq!(caller.post("/v1/run/acme/echo", "[").await.problem().code, Code::BadJson, "{name}");

        let text = caller.get("/metrics").await.body;
        for code in ["ok", "script_error", "deadline_exceeded", "bad_json"] {
            let line = format!(r#"moonswarm_executions_total{{tenant="acme",code="{code}"}} 1"#);
            assert!(text.contains(&line), "{name}: `{line}` is not in\n{text}");
        }
        tokio::task::spawn_blocking(|| executor.drain()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_input_and_a_large_result_go_through_every_strategy() {
    let text = format!("\"{}\"", "x".repeat(1_000_000));
    for strategy in all() {
        let name = strategy.as_str();
        let executor = world(strategy).start();
        let reply = Caller::connect(executor.address()).await.post("/v1/run/acme/echo", &text).await;
        assert_eq!((reply.status, reply.body.len()), (200, r#"{"output":}"#.len() + text.len()), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_whose_vms_there_are() {
    for strategy in all() {
        let name = strategy.as_str();
        let executor = world(strategy).start();
        let address = executor.address();
        echo(address, "acme").await;
        echo(address, "zoo").await;

        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = Caller::connect(address).await.get("/v1/vms").await.body;
            let status: serde_json::Value = serde_json::from_str(&text).unwrap();
            let vms: Vec<_> =
                status["workers"].as_object().unwrap().values().flat_map(|vms| vms.as_array().unwrap()).collect();
            let mut tenants: Vec<_> = vms.iter().map(|vm| vm["tenant"].as_str().unwrap()).collect();
            tenants.sort_unstable();
            if tenants == ["acme", "zoo"] {
                assert_eq!(vms[0]["limit_bytes"], 20 << 20, "{name}");
                assert!(vms[0]["bytes"].as_u64().unwrap() > 100_000, "{name}: {text}");
                break;
            }
            assert!(Instant::now() < deadline, "{name}: {text}");
        }
        let text = Caller::connect(address).await.get("/metrics").await.body;
        assert!(text.contains(r#"moonswarm_vm_tenant_bytes{tenant="acme"} "#), "{name}: {text}");
        assert!(text.contains("moonswarm_vms 2\n"), "{name}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_its_caller_the_answer_and_the_worker_its_vms() {
    for strategy in all() {
        let name = strategy.as_str();
        let executor = world(strategy).start();
        let address = executor.address();
        echo(address, "acme").await;

        let reply = drill(address, "acme", "panic").await;

        assert_eq!((reply.status, reply.problem().code), (500, Code::Internal), "{name}");
        assert_eq!(echo(address, "acme").await.status, 200, "{name}");
        assert_eq!(echo(address, "zoo").await.status, 200, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_an_io_worker_loses_no_connection_that_comes_after() {
    let mut world = world(Kind::ThreadPool { workers: 1 });
    world.settings.threads = 1;
    let executor = world.start();
    let address = executor.address();

    let mut caller = Caller::connect(address).await.with_drill("panic-worker");
    let _lost_or_answered = caller.try_ask(http::Method::POST, "/v1/run/acme/echo", "1").await;

    metric(address, r#"moonswarm_worker_restarts_total{cause="panic"} 2"#).await;
    for _ in 0..20 {
        assert_eq!(echo(address, "acme").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_that_does_not_come_back_is_replaced_while_others_serve() {
    let mut world = world(Kind::ThreadPerTenant { threads_max: 8 });
    world.settings.drain = Duration::from_millis(100);
    let executor = world.start();
    let address = executor.address();
    let stuck = tokio::spawn(async move { drill(address, "acme", "stick").await });

    for _ in 0..20 {
        assert_eq!(echo(address, "zoo").await.status, 200);
    }
    let reply = stuck.await.unwrap();

    assert_eq!(reply.problem().code, Code::DeadlineExceeded);
    assert_eq!(echo(address, "acme").await.status, 200);
    metric(address, "moonswarm_stuck_workers 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_an_io_worker_that_does_not_come_back_go_to_another() {
    let mut world = world(Kind::ThreadPool { workers: 1 });
    world.settings.threads = 1;
    let executor = world.start();
    let address = executor.address();
    tokio::spawn(async move { drill(address, "acme", "stick").await });

    metric(address, r#"moonswarm_worker_restarts_total{cause="stuck"} 1"#).await;

    assert_eq!(echo(address, "acme").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_or_sticks_is_replaced_and_its_callers_are_told() {
    let executor = world(processes(1)).start();
    let address = executor.address();

    let reply = drill(address, "acme", "exit").await;
    assert_eq!((reply.status, reply.problem().code), (500, Code::Internal));
    assert_eq!(echo(address, "zoo").await.status, 200);
    metric(address, r#"moonswarm_worker_restarts_total{cause="exit"} 1"#).await;

    let reply = drill(address, "acme", "stick").await;
    assert_eq!((reply.status, reply.problem().code), (500, Code::Internal));
    metric(address, r#"moonswarm_worker_restarts_total{cause="stuck"} 1"#).await;
    assert_eq!(echo(address, "zoo").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contained_process_can_do_nothing_but_compute() {
    let executor = world(processes(1)).start();

    let reply = drill(executor.address(), "acme", "escape").await;

    let told: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    let told: Vec<_> = told.as_object().unwrap().iter().map(|(attempt, how)| format!("{attempt}: {how}")).collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    environment: 0
    exec: "Operation not permitted (os error 1)"
    kill parent: "Operation not permitted (os error 1)"
    open: "Operation not permitted (os error 1)"
    open self: "Operation not permitted (os error 1)"
    ptrace: "Operation not permitted (os error 1)"
    socket: "Operation not permitted (os error 1)"
    thread: "Operation not permitted (os error 1)"
    write: "Operation not permitted (os error 1)"
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_executor_may_do_without_containment_shows_that_the_attempts_are_real() {
    let executor = world(Kind::ThreadPool { workers: 1 }).start();

    let reply = drill(executor.address(), "acme", "escape").await;

    let told: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    for attempt in ["open self", "write", "exec", "thread", "kill parent"] {
        assert_eq!(told[attempt], "done", "{told}");
    }
    assert!(told["socket"].as_str().unwrap().contains("refused"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_computes_long_goes_to_the_slow_lane() {
    let mut world = world(Kind::ThreadPool { workers: 1 });
    world.settings.threads = 1;
    let executor = world.start();
    let mut caller = Caller::connect(executor.address()).await;
    assert_eq!(caller.post("/v1/run/acme/busy", "null").await.problem().code, Code::DeadlineExceeded);

    caller.post("/v1/run/acme/echo", "1").await;
    caller.post("/v1/run/zoo/echo", "1").await;

    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = caller.get("/v1/vms").await.body;
        let status: serde_json::Value = serde_json::from_str(&text).unwrap();
        let tenant = |worker: &str| status["workers"][worker][0]["tenant"].as_str().unwrap_or("-").to_owned();
        if (tenant("slow-0").as_str(), tenant("worker-0").as_str()) == ("acme", "zoo") {
            return;
        }
        assert!(Instant::now() < deadline, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_too_much_under_way_is_told_to_come_back() {
    let executor = world(Kind::ThreadPerTenant { threads_max: 1 }).start();
    let address = executor.address();
    let stuck = tokio::spawn(async move { drill(address, "acme", "stick").await });
    metric(address, "moonswarm_in_flight 2").await;

    // The only thread is busy with another tenant.
    let reply = echo(address, "zoo").await;

    assert_eq!((reply.status, reply.problem().code), (429, Code::Overloaded));
    assert_eq!(reply.header("retry-after"), "1");
    insta::assert_snapshot!(reply.problem().detail, @"each of the 1 threads for tenants is busy with another tenant");
    stuck.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_may_ask_for_drills_unless_they_were_allowed() {
    let executor = World::with_release(&[("acme", "echo", ECHO)]).start();

    let reply = drill(executor.address(), "acme", "panic").await;

    assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"output":1}"#));
}
