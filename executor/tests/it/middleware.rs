//! Middleware: calls go through it, whichever way they came in and wherever scripts run; and it fails closed.

use contract::Code;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::releases::Script;
use crate::strategies::all;
use crate::world::{World, running};

const ECHO: &str = "return { handle = function(input) return { got = input } end, \
                    on = { tick = function(event) return { got = event.data } end } }";

/// Writes its name and what it was told onto what goes in and comes out.
fn marks(name: &str, rest: &str) -> String {
    format!(
        "return {{ {rest}
            before = function(ctx, input, call)
                table.insert(input.marks, '{name}:' .. call.tenant .. '/' .. call.script .. (call.event or ''))
                return input
            end,
            after = function(ctx, result, input, call)
                table.insert(result.got.marks, '{name}')
                return result
            end,
        }}"
    )
}

/// Refuses, or does worse, as the input says.
const WEAK: &str = "return {
    before = function(ctx, input)
        if input == 'refuse' then error('not you', 0) end
        if input == 'error' then return nil + 1 end
        if input == 'loop' then while true do end end
        if input == 'hoard' then local all = {} while true do all[#all + 1] = string.rep('x', 1e5) .. #all end end
        if input == 'odd' then return function() end end
    end,
    after = function(ctx, result, input)
        if input == 'after' then error('not this') end
    end,
}";

async fn post(caller: &mut Caller, path: &str, input: Value) -> Value {
    let reply = caller.post(path, &input.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    serde_json::from_str(&reply.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_through_the_layers_from_outside_in_and_back_whatever_the_strategy() {
    let (inner, outer) = (marks("inner", ""), marks("outer", "middleware = { order = 1 },"));
    let base = marks("base", "middleware = { order = 5 },");
    let scripts: [Script<'_>; 4] =
        [("acme", "echo", ECHO), ("acme", "inner", &inner), ("acme", "outer", &outer), ("@stack", "base", &base)];
    for strategy in all() {
        let name = strategy.as_str();
        let executor = World::with_release(&scripts).drilling(strategy).start();
        let mut caller = Caller::connect(executor.address()).await;

        let answer = post(&mut caller, "/v1/run/acme/echo", json!({ "marks": [] })).await;
        let through = |callee: &str| {
            let before = ["outer", "inner", "base"].map(|layer| format!("{layer}:{callee}"));
            let all: Vec<_> = before.into_iter().chain(["base", "inner", "outer"].map(str::to_owned)).collect();
            json!({ "marks": all })
        };
        assert_eq!(answer["got"], through("acme/echo"), "{name}");

        let answer = post(&mut caller, "/v1/events/acme/tick", json!({ "marks": [] })).await;
        assert_eq!(answer["outcomes"]["echo"]["result"]["got"], through("acme/echotick"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_refuses_or_fails_lets_nothing_pass() {
    for strategy in all() {
        let name = strategy.as_str();
        let scripts = [("acme", "echo", ECHO), ("acme", "weak", WEAK)];
        let executor = World::with_release(&scripts).drilling(strategy).start();
        let mut caller = Caller::connect(executor.address()).await;

        let mut told = Vec::new();
        for input in ["refuse", "error", "loop", "hoard", "odd", "after"] {
            let reply = caller.post("/v1/run/acme/echo", &json!(input).to_string()).await;
            let problem = reply.problem();
            told.push(format!("{input}: {} {}: {}", reply.status, problem.code, problem.detail));
            assert!(!reply.header("x-moonswarm-version").is_empty());
        }
        assert_eq!(post(&mut caller, "/v1/run/acme/echo", json!("fine")).await, json!({ "got": "fine" }), "{name}");

        insta::allow_duplicates! {
            insta::assert_snapshot!(told.join("\n"), @r"
            refuse: 403 rejected_by_middleware: `weak` refused the call: not you
            error: 403 rejected_by_middleware: `weak` refused the call: attempt to perform arithmetic (add) on nil and number
            loop: 422 middleware_failed: middleware `weak` failed: deadline_exceeded: `weak.luau` used more than 50 ms of CPU time
            hoard: 422 middleware_failed: middleware `weak` failed: memory_exceeded: `weak.luau` needed more than 20 MiB of memory
            odd: 422 middleware_failed: middleware `weak` failed: result_invalid: result is a function, which JSON has no form for
            after: 422 middleware_failed: middleware `weak` failed: script_error: weak.luau:10: not this
            ");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_operators_layers_callers_learn_their_name_and_reason_only() {
    let scripts = [("acme", "echo", ECHO), ("@stack", "weak", WEAK)];
    let (_world, mut caller) = running(&scripts).await;

    let mut told = Vec::new();
    for input in ["refuse", "error", "loop", "odd", "after"] {
        let problem = caller.post("/v1/run/acme/echo", &json!(input).to_string()).await.problem();
        told.push(format!("{input}: {}: {} {:?}", problem.code, problem.detail, problem.diagnostics));
    }

    insta::assert_snapshot!(told.join("\n"), @r"
    refuse: rejected_by_middleware: `@stack/weak` refused the call: not you []
    error: rejected_by_middleware: `@stack/weak` refused the call: attempt to perform arithmetic (add) on nil and number []
    loop: middleware_failed: middleware `@stack/weak` failed: deadline_exceeded; the executor's log tells its operator more []
    odd: middleware_failed: middleware `@stack/weak` failed: result_invalid; the executor's log tells its operator more []
    after: middleware_failed: middleware `@stack/weak` failed: script_error; the executor's log tells its operator more []
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_calls_the_operators_scripts_or_sends_events_of_the_life_cycle() {
    let (_world, mut caller) = running(&[("acme", "echo", ECHO), ("@stack", "base", ECHO)]).await;

    for path in ["/v1/run/@stack/base", "/v1/run/%40stack/base", "/v1/events/@stack/tick"] {
        assert_eq!(caller.post(path, "1").await.problem().code, Code::UnknownTenant, "{path}");
    }
    let problem = caller.post("/v1/events/acme/OnStartup", "").await.problem();
    assert_eq!(problem.code, Code::BadRequest);
    insta::assert_snapshot!(problem.detail, @"event `OnStartup` is one of the life cycle of scripts, which nobody can send");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_is_around_calls_from_outside_and_not_around_those_between_scripts() {
    let caller_script = "return { capabilities = { 'run' }, \
                         handle = function(input, ctx) return ctx.run('echo', { n = input.n + 1 }) end }";
    let adds = "return { before = function(ctx, input) input.n += 10 return input end }";
    for strategy in all() {
        let name = strategy.as_str();
        let scripts = [("acme", "echo", ECHO), ("acme", "caller", caller_script), ("acme", "adds", adds)];
        let executor = World::with_release(&scripts).drilling(strategy).start();
        let mut caller = Caller::connect(executor.address()).await;

        let answer = post(&mut caller, "/v1/run/acme/caller", json!({ "n": 0 })).await;

        assert_eq!(answer, json!({ "got": { "n": 11 } }), "{name}");
    }
}

/// Remembers in every way that a script might, and tells what it remembers.
const REMEMBERS: &str = "
    seen = seen or 0
    local kept = {}
    return { STATE
        before = function(ctx, input)
            seen += 1
            kept[#kept + 1] = input
            string_seen = (string_seen or '') .. tostring(input)
            local ok = pcall(function() string.leak = input end)
            return { seen = seen, kept = #kept, text = string_seen, leak = string.leak, open = ok, tenant = ctx.tenant }
        end,
    }";

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_layers_keep_nothing_between_calls_and_tenants_even_if_they_say_so() {
    for state in ["", "state = 'tenant',", "state = 'pooled',"] {
        for strategy in all() {
            let (name, base) = (strategy.as_str(), REMEMBERS.replace("STATE", state));
            let scripts = [("acme", "echo", ECHO), ("zoo", "echo", ECHO), ("@stack", "base", &base)];
            let mut world = World::with_release(&scripts).drilling(strategy);
            world.settings.threads = 1;
            let executor = world.start();
            let mut caller = Caller::connect(executor.address()).await;

            for (tenant, secret) in [("acme", "a"), ("zoo", "z"), ("acme", "b")] {
                let answer = post(&mut caller, &format!("/v1/run/{tenant}/echo"), json!(secret)).await;
                let fresh = json!({ "seen": 1, "kept": 1, "text": secret, "open": false, "tenant": "@stack" });
                assert_eq!(answer["got"], fresh, "{name} {state}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_script_does_not_see_what_layers_leave_and_they_not_what_it_leaves() {
    let rule = "left = left or 'nothing' return { state = 'tenant', handle = function(input, ctx)
        local was = left
        left = 'by rule'
        return { was = was, marker = marker, ctx_tenant = ctx.tenant } end }";
    let base = "return { before = function(ctx, input) marker = 'base' left = 'by base' return { l = left } end,
                after = function(ctx, result) result.base_sees = { left = left, marker = marker } return result end }";
    for strategy in all() {
        let name = strategy.as_str();
        let scripts = [("acme", "rule", rule), ("@stack", "base", base)];
        let mut world = World::with_release(&scripts).drilling(strategy);
        world.settings.threads = 1;
        let executor = world.start();
        let mut caller = Caller::connect(executor.address()).await;

        for was in ["nothing", "by rule"] {
            let answer = post(&mut caller, "/v1/run/acme/rule", json!({})).await;
            assert_eq!(answer, json!({ "was": was, "ctx_tenant": "acme", "base_sees": {} }), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_and_its_layers_share_one_deadline() {
    let slow = "return { before = function() task.wait(0.9) end }";
    let rule = "return function() task.wait(0.9) return 1 end";
    for strategy in all() {
        let name = strategy.as_str();
        let scripts = [("acme", "rule", rule), ("acme", "a", slow), ("@stack", "b", slow)];
        let executor = World::with_release(&scripts).drilling(strategy).start();

        let problem = Caller::connect(executor.address()).await.post("/v1/run/acme/rule", "1").await.problem();

        assert_eq!(problem.code, Code::DeadlineExceeded, "{name}: {}", problem.detail);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_do_what_they_say() {
    let example = |name: &str| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/middleware");
        fs_err::read_to_string(folder.join(name)).unwrap()
    };
    let (auth, add, mask) = (example("auth-check.luau"), example("add-field.luau"), example("mask-field.luau"));
    let rule = "return function(input) return { total = input.amount * 2, card_number = input.card, token = 't' } end";
    let (_world, mut caller) = running(&[
        ("acme", "pricing", rule),
        ("acme", "auth-check", &auth),
        ("acme", "add-field", &add),
        ("@stack", "mask-field", &mask),
    ])
    .await;

    let body = json!({ "amount": 21, "card": "4111111111111111" });
    let mut answer = post(&mut caller, "/v1/run/acme/pricing", json!({ "key": "open sesame", "body": body })).await;
    assert!(answer["priced"]["at"].take().is_string());
    insta::assert_snapshot!(
        answer,
        @r#"{"card_number":"************1111","priced":{"at":null,"by":"pricing@7c2d6f5e3af9"},"token":"***","total":42}"#
    );

    let refused = caller.post("/v1/run/acme/pricing", &body.to_string()).await;
    assert_eq!((refused.status, refused.problem().code), (403, Code::RejectedByMiddleware));
    assert_eq!(refused.problem().detail, "`auth-check` refused the call: no key");
}
