//! Policies: what tenants and the operator say about the terms on which scripts run.

use std::time::Duration;

use contract::Code;
use executor::strategy::{Kind, Processes};

use crate::caller::{Caller, Reply};
use crate::world::{World, running};

const ONE: &str = "return function() return 1 end";
const ENDLESS: &str = "return function() while true do end end";

fn all() -> [Kind; 3] {
    let program = env!("CARGO_BIN_EXE_moonswarm-executor").into();
    let processes = Kind::ProcessPool(Processes { count: 2, program });
    [Kind::ThreadPool { workers: 2 }, Kind::ThreadPerTenant { threads_max: 8 }, processes]
}

#[track_caller]
fn refused(reply: &Reply, status: u16, code: Code) -> String {
    let problem = reply.problem();
    assert_eq!((reply.status, problem.code), (status, code), "{problem:?}");
    format!("{}\n{}", problem.detail, problem.hint.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_a_policy_hold_in_every_strategy_and_errors_tell_who_set_them() {
    let own = r#"return function() return { limits = { cpu = "5ms", memory = "2MiB", output = "1KiB", input = "1KiB" } } end"#;
    let scripts = [
        ("@stack", "@policy", r#"return function() return { defaults = { limits = { wall = "9s" } } } end"#),
        ("acme", "@policy", own),
        ("acme", "endless", ENDLESS),
        (
            "acme",
            "greedy",
            r#"return { handle = function() return #string.rep("x", 4000000) end, limits = { cpu = "1s" } }"#,
        ),
        ("acme", "wordy", r#"return function() return string.rep("x", 2000) end"#),
        ("zoo", "greedy", r#"return function() return #string.rep("x", 4000000) end"#),
        ("zoo", "endless", ENDLESS),
    ];
    let large = format!("\"{}\"", "x".repeat(2000));
    for strategy in all() {
        let name = format!("{strategy:?}");
        let world = World::with_release(&scripts).drilling(strategy);
        let mut caller = Caller::connect(world.start().address()).await;

        let told = refused(&caller.post("/v1/run/acme/endless", "").await, 422, Code::DeadlineExceeded);
        assert!(told.contains("more than 5 ms of CPU time"), "{name}: {told}");
        assert!(told.contains("5ms (the tenant's policy) of CPU time and 9s (the stack's defaults) in all"), "{told}");
        let told = refused(&caller.post("/v1/run/acme/greedy", "").await, 422, Code::MemoryExceeded);
        assert!(told.contains("2MiB (the tenant's policy)"), "{name}: {told}");
        let told = refused(&caller.post("/v1/run/acme/wordy", "").await, 422, Code::OutputExceeded);
        assert!(told.contains("1KiB (the tenant's policy)"), "{name}: {told}");
        let told = refused(&caller.post("/v1/run/acme/wordy", &large).await, 413, Code::TooLarge);
        assert!(told.contains("1KiB (the tenant's policy)"), "{name}: {told}");

        assert_eq!(caller.post("/v1/run/zoo/greedy", &large).await.body, "4000000", "{name}");
        let told = refused(&caller.post("/v1/run/zoo/endless", "").await, 422, Code::DeadlineExceeded);
        assert!(told.contains("50ms (built in)"), "{name}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_widens_and_a_tenant_only_narrows() {
    let stack = r#"return function() return {
        defaults = { limits = { cpu = "20ms" } },
        tenants = { acme = { limits = { cpu = "3s", wall = "20s", input = "4MiB", output = "4MiB", memory = "64MiB" } } },
    } end"#;
    let wide = r#"return function() return { limits = { cpu = "10s", memory = "256MiB" } } end"#;
    let busy =
        "return function(seconds) local begun = os.clock() while os.clock() - begun < seconds do end return true end";
    let scripts = [
        ("@stack", "@policy", stack),
        ("acme", "@policy", wide),
        ("acme", "busy", busy),
        ("acme", "echo", "return function(input) return input end"),
        ("zoo", "@policy", wide),
        ("zoo", "endless", ENDLESS),
        ("zoo", "one", ONE),
    ];
    let large = format!("\"{}\"", "x".repeat(3 << 20));
    for strategy in all() {
        let name = format!("{strategy:?}");
        let world = World::with_release(&scripts).drilling(strategy);
        let mut caller = Caller::connect(world.start().address()).await;

        assert_eq!(caller.post("/v1/run/acme/busy", "0.3").await.body, "true", "{name}");
        assert_eq!(caller.post("/v1/run/acme/echo", &large).await.body, large, "{name}");
        let told = refused(&caller.post("/v1/run/zoo/endless", "").await, 422, Code::DeadlineExceeded);
        assert!(told.contains("20ms (the stack's defaults)"), "{name}: {told}");
        refused(&caller.post("/v1/run/zoo/one", &large).await, 413, Code::TooLarge);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_too_fast_is_told_when_to_come_back_and_nobody_else_is_concerned() {
    let policy = r#"return function() return { rate = { per_second = 0.01, burst = 2 } } end"#;
    let (_world, mut caller) = running(&[("acme", "@policy", policy), ("acme", "one", ONE), ("zoo", "one", ONE)]).await;
    for _ in 0..2 {
        assert_eq!(caller.post("/v1/run/acme/one", "").await.status, 200);
    }

    let reply = caller.post("/v1/run/acme/one", "").await;

    let told = refused(&reply, 429, Code::Overloaded);
    assert!(
        told.starts_with("callers of tenant `acme` may begin 0.01 executions per second here, 2 at once"),
        "{told}"
    );
    assert!(told.contains("(the tenant's policy)"), "{told}");
    let after: u64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=100).contains(&after), "{after}");
    assert_eq!(caller.post("/v1/run/zoo/one", "").await.status, 200);
    let metrics = caller.get("/metrics").await.body;
    assert!(metrics.contains("moonswarm_rate_limited_total{tenant=\"acme\"} 1\n"), "{metrics}");
    assert!(metrics.contains("moonswarm_refused_requests_total{code=\"overloaded\"} 1\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_script_may_have_a_rate_of_its_own_and_runs_of_scripts_are_not_counted() {
    let policy = r#"return function() return { scripts = { one = { rate = { per_second = 0.01, burst = 1 } } } } end"#;
    let twice =
        r#"return { capabilities = { "run" }, handle = function(_, ctx) return ctx.run("one") + ctx.run("one") end }"#;
    let (_world, mut caller) =
        running(&[("acme", "@policy", policy), ("acme", "one", ONE), ("acme", "twice", twice)]).await;

    assert_eq!(caller.post("/v1/run/acme/one", "").await.status, 200);
    let told = refused(&caller.post("/v1/run/acme/one", "").await, 429, Code::Overloaded);
    assert!(told.starts_with("callers of script `acme/one`"), "{told}");
    assert_eq!(caller.post("/v1/run/acme/twice", "").await.body, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_of_executions_at_once_holds_over_all_threads() {
    let policy = "return function() return { concurrency = 1 } end";
    let waits = "return function() task.wait(30) return 1 end";
    let (world, mut first) = {
        let scripts = [
            ("@stack", "@policy", r#"return function() return { defaults = { limits = { wall = "40s" } } } end"#),
            ("acme", "@policy", policy),
            ("acme", "waits", waits),
            ("acme", "one", ONE),
        ];
        running(&scripts).await
    };
    let reply = first.post("/v1/run/acme/waits?wait=0", "").await;
    assert_eq!(reply.status, 202);
    let location = reply.header("location").to_owned();

    let told = refused(&first.post("/v1/run/acme/one", "").await, 429, Code::Overloaded);
    assert!(told.starts_with("tenant `acme` may have 1 (the tenant's policy) at once"), "{told}");

    assert_eq!(first.ask(http::Method::DELETE, &location, "").await.status, 204);
    let ends = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let reply = first.post("/v1/run/acme/one", "").await;
        if reply.status == 200 {
            break;
        }
        assert!(tokio::time::Instant::now() < ends, "the place is never given back: {}", reply.body);
        tokio::task::yield_now().await;
    }
    drop(world);
}

#[tokio::test(flavor = "multi_thread")]
async fn capabilities_and_states_are_taken_away() {
    let policy = r#"return function() return { capabilities = { "log" }, states = {} } end"#;
    let names = "return { capabilities = { \"run\" }, handle = function(_, ctx) return { ctx.capabilities, ctx.run == nil } end }";
    let counts = "local n = 0 return { state = \"tenant\", handle = function() n += 1 return n end }";
    let scripts = [("acme", "names", names), ("acme", "counts", counts)];
    let narrowed = [&scripts[..], &[("acme", "@policy", policy)]].concat();

    let (_world, mut caller) = running(&narrowed).await;

    assert_eq!(caller.post("/v1/run/acme/names", "").await.body, r#"[["log"],true]"#);
    for _ in 0..4 {
        assert_eq!(caller.post("/v1/run/acme/counts", "").await.body, "1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_those_that_every_policy_has() {
    let stack = r#"return function() return { defaults = { hosts = { "*.example.com" } } } end"#;
    let own = r#"return function() return { hosts = { "api.example.com", "evil.example" } } end"#;
    let asks = r#"return {
        capabilities = { "http" }, http = { hosts = { "db.example.com", "evil.example" } },
        handle = function(host, ctx) return select(2, pcall(ctx.http.get, "https://" .. host .. "/")) end,
    }"#;
    let mut world =
        World::with_release(&[("@stack", "@policy", stack), ("acme", "@policy", own), ("acme", "asks", asks)]);
    world.settings.outbound.hosts = executor::outbound::Opened::All;
    let mut caller = Caller::connect(world.start().address()).await;

    let said = caller.post("/v1/run/acme/asks", "\"db.example.com\"").await.body;
    assert!(said.contains("is not among those of the tenant's policy"), "{said}");
    let said = caller.post("/v1/run/acme/asks", "\"evil.example\"").await.body;
    assert!(said.contains("is not among those of the stack's defaults"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_sent_away_when_its_tenants_wait_is_over() {
    let policy = r#"return function() return { wait = "1ms" } end"#;
    let (_world, mut caller) =
        running(&[("acme", "@policy", policy), ("acme", "waits", "return function() task.wait(1) return 1 end")]).await;

    assert_eq!(caller.post("/v1/run/acme/waits", "").await.status, 202);
    assert_eq!(caller.post("/v1/run/acme/waits?wait=50s", "").await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_run_what_has_a_reserved_name() {
    let policy = "return { handle = function() return {} end, on = { [\"x\"] = function() return 1 end } }";
    let runs = "return { capabilities = { \"run\" }, handle = function(_, ctx) return select(2, pcall(ctx.run, \"@policy\")) end }";
    let (_world, mut caller) = running(&[
        ("@stack", "@policy", policy),
        ("@stack", "one", ONE),
        ("acme", "@policy", policy),
        ("acme", "runs", runs),
    ])
    .await;

    assert_eq!(caller.post("/v1/run/@stack/@policy", "").await.problem().code, Code::UnknownTenant);
    assert_eq!(caller.post("/v1/run/@stack/one", "").await.problem().code, Code::UnknownTenant);
    assert_eq!(caller.post("/v1/run/acme/%40policy", "").await.problem().code, Code::UnknownScript);
    assert_eq!(caller.post("/v1/events/@stack/x", "").await.problem().code, Code::UnknownTenant);
    let event = caller.post("/v1/events/acme/x", "").await.body;
    assert!(event.contains(r#""outcomes":{}"#), "{event}");
    let said = caller.post("/v1/run/acme/runs", "").await.body;
    assert!(said.contains("has no script `@policy`"), "{said}");
}
