//! What a script declares about itself, and its own tests.

use sandbox::{Capability, Engine, Limits, Manifest, Refusal, State, check};

use crate::packages::tar;
use crate::roomy;

fn checked(file: &str, source: &[u8], limits: &Limits) -> Result<Manifest, Refusal> {
    let check = || check(&Engine::start().unwrap(), file, source, limits).map(|checked| checked.manifest);
    std::thread::scope(|scope| {
        std::thread::Builder::new().stack_size(8 << 20).spawn_scoped(scope, check).unwrap().join().unwrap()
    })
}

#[track_caller]
fn manifest(source: &str) -> Manifest {
    checked("rule.luau", source.as_bytes(), &roomy()).unwrap()
}

/// Sentence and places.
#[track_caller]
fn refusal(source: &str) -> String {
    told(checked("rule.luau", source.as_bytes(), &roomy()))
}

#[track_caller]
fn told(checked: Result<Manifest, Refusal>) -> String {
    let refusal = checked.unwrap_err();
    let places: Vec<String> = refusal.diagnostics.iter().map(ToString::to_string).collect();
    format!("{}: {}\n{}", refusal.code, refusal.detail, places.join("\n"))
}

#[test]
fn a_script_that_declares_nothing_is_a_handler() {
    for source in [
        "return function(input) return input.a.b end",
        "result = { output = input.a.b }",
        "result = { output = 1 }",
        "error('no input')",
        "while true do end",
        "return 7",
    ] {
        let limits = Limits { cpu: std::time::Duration::from_millis(50), ..roomy() };
        assert_eq!(checked("rule.luau", source.as_bytes(), &limits).unwrap(), Manifest::default(), "{source}");
    }
}

#[test]
fn a_table_is_read_to_its_last_field() {
    let manifest = manifest(
        r#"
        local function f() end
        return {
            handle = f, before = f, after = f, on = { ["order.paid"] = f, OnReload = f, ["order.created"] = f },
            tests = { second = f, first = f },
            capabilities = { "run", "http" }, http = { hosts = { "b.example.com", "a.example.com" } },
            state = "tenant", limits = { cpu = "20ms", wall = "1s 500ms", memory = "8MiB", output = "64KiB", concurrency = 4 },
            version = "1.2", helper = f, [1] = "own", [f] = 2,
        }"#,
    );

    assert!(manifest.handle && manifest.before && manifest.after);
    assert_eq!(
        manifest.events.iter().map(|event| event.as_str()).collect::<Vec<_>>(),
        ["OnReload", "order.created", "order.paid"]
    );
    assert_eq!(manifest.tests, ["first", "second"]);
    assert_eq!(manifest.capabilities.into_iter().collect::<Vec<_>>(), [Capability::Run, Capability::Http]);
    assert_eq!(manifest.http_hosts, ["a.example.com", "b.example.com"]);
    assert_eq!(manifest.state, State::Tenant);
    insta::assert_debug_snapshot!(manifest.limits, @"
    OwnLimits {
        cpu: Some(
            20ms,
        ),
        wall: Some(
            1.5s,
        ),
        memory_bytes: Some(
            8388608,
        ),
        output_bytes: Some(
            65536,
        ),
        concurrency: Some(
            4,
        ),
    }
    ");
}

#[test]
fn a_script_of_events_alone_has_no_handle() {
    assert!(!manifest("return { on = { tick = function() end } }").handle);
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    insta::assert_snapshot!(refusal(r#"
        return {
            handle = "f",
            on = { ["a b"] = print, tick = 7, OnStart = print, [1] = print },
            tests = { print, [2] = 3, [{}] = print },
            capabilities = { "https", 5, x = "run" },
            http = { hosts = { "https://example.com", "a..b" }, ports = { 80 } },
            state = "warm",
            limits = { cpu = 20, wall = "soon", memory = "8", output = "1B", concurrency = 1.5, disk = "1GiB" },
        }"#), @r#"
    script_refused: rule.luau: `capabilities[2]` is the number 5; expected a text; and 18 more
    rule.luau: `capabilities[2]` is the number 5; expected a text
    rule.luau: `capabilities` has "https", which is none; there are log, time, random, json, hash, run, http
    rule.luau: `capabilities` has "x" as key; expected a list such as `{ "http", "run" }`
    rule.luau: `handle` is "f"; expected a function
    rule.luau: `http.hosts` has "a..b"; expected the name of a host in lower case, without scheme, port and path, such as "api.example.com"
    rule.luau: `http.hosts` has "https://example.com"; expected the name of a host in lower case, without scheme, port and path, such as "api.example.com"
    rule.luau: `http` has "ports" as key; expected a table such as `{ hosts = { "api.example.com" } }`
    rule.luau: `limits.concurrency` is the number 1.5; expected a whole number from 1 to 1000
    rule.luau: `limits.cpu` is the number 20; expected a text such as "20ms" or "1s", at least 1ms
    rule.luau: `limits.memory` is "8"; expected a text such as "512KiB" or "8MiB", at least 1 MiB
    rule.luau: `limits.wall` is "soon"; expected a text such as "20ms" or "1s", at least 1ms
    rule.luau: `limits` has "disk" as key; expected some of `cpu`, `wall`, `memory`, `output`, `concurrency`
    rule.luau: `on["OnStart"]` is no event of the life cycle; there are OnReload, OnShutdown, OnStartup
    rule.luau: `on["a b"]` is no event: event name `a b` has ' ' at position 2; names are letters, digits, `.`, `_`, `-`, and start with a letter or digit
    rule.luau: `on["tick"]` is the number 7; expected a function
    rule.luau: `on` has the number 1 as key; expected a table of functions by event, such as `["order.created"] = function(event, ctx) … end`
    rule.luau: `state` is "warm"; expected "fresh", "pooled" or "tenant"
    rule.luau: `tests["2"]` is the number 3; expected a function
    rule.luau: `tests` has a table as key; expected a name of at most 100 bytes
    "#);
}

#[test]
fn a_slip_in_the_name_of_a_field_is_told() {
    insta::assert_snapshot!(refusal("return { handler = print, test = {}, limits = {}, limit = {} }"), @"
    script_refused: rule.luau: `handler` means nothing; is it meant to be `handle`?; and 1 more
    rule.luau: `handler` means nothing; is it meant to be `handle`?
    rule.luau: `test` means nothing; is it meant to be `tests`?
    ");
    assert!(manifest("return { handle = print, handler = print }").handle);
}

#[test]
fn hosts_without_the_capability_are_refused() {
    insta::assert_snapshot!(refusal("return { handle = print, http = { hosts = { 'a.example.com' } } }"), @r#"
    script_refused: rule.luau: `http` names hosts, but `capabilities` has no "http"
    rule.luau: `http` names hosts, but `capabilities` has no "http"
    "#);
}

#[test]
fn a_declaration_of_any_size_is_read_in_bounded_time() {
    let source = "local t = {} for i = 1, 1e5 do t['test ' .. i] = print end return { handle = print, tests = t }";
    insta::assert_snapshot!(refusal(source), @r#"
    script_refused: rule.luau: `tests` is too long or nested too deeply; expected a table of functions by name, such as `["no price, no total"] = function(t) … end`; and 1 more
    rule.luau: `tests` is too long or nested too deeply; expected a table of functions by name, such as `["no price, no total"] = function(t) … end`
    rule.luau: the table has more values than a manifest may have
    "#);
    let source = "local t = {} for i = 1, 65 do t['test ' .. i] = print end return { handle = print, tests = t }";
    insta::assert_snapshot!(refusal(source), @"
    script_refused: rule.luau: `tests` has 65 tests, the most allowed is 64
    rule.luau: `tests` has 65 tests, the most allowed is 64
    ");
    let source = "local t = {} t.http = t t.on = t return setmetatable(t, { __index = error, __iter = error })";
    assert!(refusal(source).starts_with("script_refused: "));
}

#[test]
fn tests_call_the_handler_with_input_and_ctx() {
    manifest(
        r#"
        local function handle(input, ctx)
            ctx.log.info("called")
            if input.n < 0 then error("n is below 0") end
            return { output = input.n * 2 }
        end
        return { handle = handle, tests = {
            doubles = function(t) t.equal(handle({ n = 2 }, t.ctx), { output = 4 }) end,
            refuses = function(t) assert(t.name == "refuses") t.raises(function() handle({ n = -1 }, t.ctx) end, "below 0") end,
        } }"#,
    );
}

#[test]
fn every_test_that_fails_is_named_with_its_line() {
    insta::assert_snapshot!(refusal(
r#"local function handle(input) return { output = input.a.b } end
return { handle = handle, tests = {
  ["1 is 2"] = function(t)
    t.equal({ 1, { x = 1 } }, { 1, { x = 2 } }, "sum")
  end,
  ["raises"] = function() handle({}) end,
  ["no raise"] = function(t)
    t.raises(function() end)
  end,
  ["other"] = function(t)
    t.raises(function() error("red") end, "blue")
  end,
  ["good"] = function(t) t.equal(0 / 0, 0 / 0) end,
} }"#), @r#"
    script_refused: rule.luau:4: test "1 is 2" failed: sum: got [1,{"x":1}], expected [1,{"x":2}]; and 3 more
    rule.luau:4: test "1 is 2" failed: sum: got [1,{"x":1}], expected [1,{"x":2}]
    rule.luau:8: test "no raise" failed: expected an error, and nothing was raised
    rule.luau:11: test "other" failed: expected an error with "blue" in it, got "rule.luau:11: red"
    rule.luau:1: test "raises" failed: attempt to index nil with 'b'
    "#);
}

#[test]
fn a_list_of_tests_runs_in_its_order() {
    let many =
        "local t = {} for i = 1, 11 do t[i] = function() error(i, 0) end end return { handle = print, tests = t }";

    let refusal = checked("rule.luau", many.as_bytes(), &roomy()).unwrap_err();

    assert_eq!(refusal.diagnostics[1].message, "test \"2\" failed: 2");
    assert_eq!(refusal.diagnostics[10].message, "test \"11\" failed: 11");
}

#[test]
fn tests_have_the_limits_of_executions_and_a_fresh_environment_each() {
    let source = "return { handle = print, limits = { cpu = '20ms', memory = '2MiB' }, tests = {
        a_loop = function() while true do end end,
        b_hungry = function() local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end end,
        c_leaves = function() left = 1 end,
        d_finds = function() assert(left == nil) end,
    } }";

    insta::assert_snapshot!(refusal(source), @r#"
    script_refused: rule.luau:2: test "a_loop" failed: `rule.luau` used more than 20 ms of CPU time; and 1 more
    rule.luau:2: test "a_loop" failed: `rule.luau` used more than 20 ms of CPU time
    rule.luau:3: test "b_hungry" failed: `rule.luau` needed more than 2 MiB of memory
    "#);
}

#[test]
fn a_script_may_wait_while_it_loads_and_in_its_tests() {
    let manifest = manifest(
        "task.wait()
        return { before = print, tests = {
            waits = function(t) t.equal(task.wait() > 0, true) end,
            spawns = function() local done task.spawn(function() task.wait() done = true end) task.wait(0.1) assert(done) end,
        } }",
    );
    assert!(manifest.before && manifest.tests.len() == 2, "{manifest:?}");

    insta::assert_snapshot!(refusal("return { before = print, tests = {\n late = function()\n task.wait()\n error({}) end } }"), @r#"
    script_refused: rule.luau:4: test "late" failed: raised a table without a text `message`
    rule.luau:4: test "late" failed: raised a table without a text `message`
    "#);
}

#[test]
fn a_test_has_nobody_to_ask() {
    let source = "return { before = print, capabilities = { 'run' }, tests = {
        asks = function(t)
            assert(t.ctx.hash and t.ctx.http == nil)
            t.ctx.run('other', {})
        end,
    } }";

    insta::assert_snapshot!(refusal(source), @r#"
    script_refused: rule.luau:4: test "asks" failed: `run` is not available in tests; call the handler with a `ctx` of your own
    rule.luau:4: test "asks" failed: `run` is not available in tests; call the handler with a `ctx` of your own
    "#);
}

#[test]
fn tests_of_a_package_may_lie_in_a_module() {
    let files: [(&str, &[u8]); 2] = [
        ("init.luau", b"return { handle = print, tests = require('./tests') }"),
        ("tests.luau", b"return {\n  fails = function(t) t.equal(1, 2) end }"),
    ];

    insta::assert_snapshot!(told(checked("risk.tar", &tar(&files), &roomy())), @r#"
    script_refused: tests.luau:2: test "fails" failed: got 1, expected 2
    tests.luau:2: test "fails" failed: got 1, expected 2
    "#);
}

#[test]
fn a_middleware_says_where_it_stands_and_what_it_looks_at() {
    let middleware = manifest(
        "return { before = print, middleware = { order = -3, scripts = { 'risk', 'loan-*' }, tenants = { 'a*' } } }",
    );
    assert_eq!((middleware.is_middleware(), middleware.layer.order), (true, -3));
    assert!(middleware.layer.covers("acme", "risk") && middleware.layer.covers("acme", "loan-eu"));
    assert!(!middleware.layer.covers("acme", "risk2") && !middleware.layer.covers("zoo", "risk"));
    assert!(manifest("return { after = print }").layer.covers("zoo", "risk"));

    insta::assert_snapshot!(refusal(
        "return { after = print, middleware = { order = 1.5, scripts = { 'a*b', 7 }, tenants = {}, events = {} } }"
    ), @r#"
    script_refused: rule.luau: `middleware.order` is the number 1.5; expected a whole number from -1000 to 1000; and 4 more
    rule.luau: `middleware.order` is the number 1.5; expected a whole number from -1000 to 1000
    rule.luau: `middleware.scripts[2]` is the number 7; expected a text
    rule.luau: `middleware.scripts` has "a*b"; expected a name, or the begin of names and `*`, such as "loan-*"
    rule.luau: `middleware.tenants` is empty, so nothing would be looked at; leave it out to look at all
    rule.luau: `middleware` has "events" as key; expected some of `order`, `scripts`, `tenants`
    "#);
    insta::assert_snapshot!(refusal("return { handle = print, middleware = 3 }"), @"
    script_refused: rule.luau: `middleware` is the number 3; expected some of `order`, `scripts`, `tenants`; and 1 more
    rule.luau: `middleware` is the number 3; expected some of `order`, `scripts`, `tenants`
    rule.luau: `middleware` says what is looked at, but there is neither `before` nor `after`
    ");
}
