//! What `ctx` offers, by capability, and what a narrower `ctx` does not.

use sandbox::{Ask, Call, Capability, Grants};

use crate::{Desk, answer, at_desk, call, fault, roomy};

/// The answer under `grants`.
#[track_caller]
fn granted(desk: &mut Desk, grants: Grants, expression: &str) -> String {
    let program = desk.compile(&format!("return function(input, ctx) return {expression} end"));
    let limits = desk.limits.clone();
    let execution = desk.vm.run(&program, &Call { grants: &grants, ..call(&limits, "") });
    crate::sorted(&execution.outcome.unwrap().into_json())
}

/// What a script asks the host for, and its answer when the host answers `"ok"`.
#[track_caller]
fn asked(expression: &str) -> (Ask, String) {
    let (mut ask, mut answer) = (None, None);
    at_desk(roomy(), |desk| {
        let program = desk.compile(&format!("return function(input, ctx)\n  return {expression}\nend"));
        let limits = desk.limits.clone();
        let mut host = |asked: Ask| {
            ask = Some(asked);
            Ok(br#""ok""#.to_vec())
        };
        answer = Some(desk.vm.run_with(&program, &call(&limits, ""), &mut host).outcome.unwrap().into_json());
    });
    (ask.unwrap(), crate::sorted(&answer.unwrap()))
}

#[test]
fn a_member_is_there_only_with_its_capability() {
    at_desk(roomy(), |desk| {
        for capability in Capability::ALL {
            let there = format!("ctx.{capability} ~= nil");
            assert_eq!(granted(desk, Grants::NONE.with(capability), &there), "true", "{capability}");
            assert_eq!(granted(desk, Grants::NONE, &there), "false", "{capability}");
        }
        assert_eq!(granted(desk, Grants::default(), "ctx.capabilities"), r#"["hash","json","log","random","time"]"#);
        assert_eq!(granted(desk, Grants::NONE, "ctx.capabilities"), "{}");
    });
}

#[test]
fn the_context_cannot_be_changed_whatever_it_offers() {
    at_desk(roomy(), |desk| {
        for attack in [
            "ctx.http = print",
            "ctx.http.get = print",
            "ctx.hash.sha256 = print",
            "table.insert(ctx.capabilities, 'http')",
            "getmetatable(ctx).__index = {}",
            "setmetatable(ctx, {})",
            "rawset(ctx, 'run', print)",
            "ctx:withlimits({}).x = 1",
        ] {
            let source = format!("return function(_, ctx) return (pcall(function() {attack} end)) end");
            assert_eq!(desk.answer(&source, ""), "false", "{attack}");
        }
    });
}

#[test]
fn a_narrower_context_has_less_and_the_same_texts() {
    at_desk(roomy(), |desk| {
        let narrow = "ctx:withlimits({ capabilities = { 'log', 'run' } })";
        assert_eq!(desk.value(&format!("{narrow}.capabilities")), r#"["log","run"]"#);
        assert_eq!(
            desk.value(&format!("(function(c) return {{ c.tenant, c.execution_id, c.deadline() > 0, c.http == nil, c.run ~= nil }} end)({narrow})")),
            r#"["acme","e1",true,true,true]"#
        );
        assert_eq!(desk.value("#ctx:withlimits({}).capabilities == #ctx.capabilities"), "true");
    });
}

#[test]
fn a_context_is_never_made_wider() {
    at_desk(roomy(), |desk| {
        let mut told =
            |expression: &str| desk.fault(&format!("return function(_, ctx)\n  return {expression}\nend"), "").detail;

        insta::assert_snapshot!(
            told("ctx:withlimits({ capabilities = { 'log' } }):withlimits({ capabilities = { 'http' } })"),
            @"rule.luau:2: ctx:withlimits cannot grant `http`, which this ctx does not have"
        );
        insta::assert_snapshot!(
            told("ctx:withlimits({ capabilities = { 'files' } })"),
            @"rule.luau:2: ctx:withlimits cannot grant `files`, which this ctx does not have"
        );
        insta::assert_snapshot!(
            told("ctx:withlimits({ memory = 1 })"),
            @"rule.luau:2: ctx:withlimits can narrow `capabilities`, not `memory`"
        );
    });
}

#[test]
fn a_context_of_an_earlier_execution_does_not_lend_its_capabilities() {
    at_desk(roomy(), |desk| {
        let source =
            "kept = nil return function(_, ctx) local c = kept or ctx kept = c return { pcall(c.run, 'x') } end";
        let (program, limits) = (desk.compile(source), desk.limits.clone());
        let run = |desk: &mut Desk, grants: &Grants| {
            let call = Call { grants, state: sandbox::State::Tenant, ..call(&limits, "") };
            let mut host = |_| Ok(b"1".to_vec());
            crate::sorted(&desk.vm.run_with(&program, &call, &mut host).outcome.unwrap().into_json())
        };

        assert_eq!(run(desk, &Grants::ALL), "[true,1]");
        insta::assert_snapshot!(
            run(desk, &Grants::default()),
            @r#"[false,"this execution lacks the capability `run`"]"#
        );
    });
}

#[test]
fn without_the_capability_a_log_goes_nowhere() {
    at_desk(roomy(), |desk| {
        let (program, limits) = (desk.compile("return function() print('x') end"), desk.limits.clone());

        let execution = desk.vm.run(&program, &Call { grants: &Grants::NONE, ..call(&limits, "") });

        assert_eq!(execution.log, []);
        assert_eq!(execution.log_dropped, 0);
    });
}

#[test]
fn run_asks_for_a_script_with_an_input() {
    let (ask, answer) = asked("ctx.run('price', { sku = 7 })");
    assert_eq!(
        (ask.capability, crate::sorted(&ask.payload)),
        (Capability::Run, r#"{"input":{"sku":7},"script":"price"}"#.to_owned())
    );
    assert_eq!(answer, r#""ok""#);

    let (ask, _) = asked("ctx.run('price')");
    assert_eq!(ask.payload, br#"{"script":"price"}"#);
}

#[test]
fn http_asks_for_a_request() {
    let payload = |expression| {
        let (ask, answer) = asked(expression);
        assert_eq!((ask.capability, answer.as_str()), (Capability::Http, r#""ok""#));
        crate::sorted(&ask.payload)
    };

    assert_eq!(payload("ctx.http.get('http://a')"), r#"{"method":"GET","url":"http://a"}"#);
    assert_eq!(
        payload("ctx.http.get('http://a', { timeout = 2, headers = { accept = 'x' }, url = 'http://b' })"),
        r#"{"headers":{"accept":"x"},"method":"GET","timeout":2,"url":"http://a"}"#
    );
    assert_eq!(payload("ctx.http.post('http://a', 'b')"), r#"{"body":"b","method":"POST","url":"http://a"}"#);
    assert_eq!(
        payload("ctx.http.request({ url = 'http://a', method = 'PUT', body = '' })"),
        r#"{"body":"","method":"PUT","url":"http://a"}"#
    );
}

#[test]
fn a_malformed_call_is_refused_before_the_host_hears_of_it() {
    let told = |expression: &str| fault(&format!("return function(_, ctx)\n  return {expression}\nend"), "");

    insta::assert_snapshot!(told("ctx.run(1)"), @"script_error: rule.luau:2: invalid argument #1 to 'run' (string expected, got number)");
    insta::assert_snapshot!(told("ctx.run('x', print)"), @"script_error: rule.luau:2: ctx.run.input is a function, which JSON has no form for");
    insta::assert_snapshot!(told("ctx.run('x', ('x'):rep(2e6))"), @"script_error: rule.luau:2: ctx.run is more than 1 MiB of JSON");
    insta::assert_snapshot!(told("ctx.http.request({})"), @"script_error: rule.luau:2: http.request: `url` is missing");
    insta::assert_snapshot!(told("ctx.http.get('x', { cert = 'y' })"), @"script_error: rule.luau:2: http.get: unknown field `cert`; there are url, method, headers, body and timeout");
    insta::assert_snapshot!(told("ctx.http.post('x', {})"), @"script_error: rule.luau:2: invalid argument #2 to 'post' (string expected, got table)");
    insta::assert_snapshot!(told("ctx.http.get('x', { timeout = 0 })"), @"script_error: rule.luau:2: http.get: `timeout` is 0, expected seconds above 0");
    insta::assert_snapshot!(told("ctx.http.get('x', { headers = { 1 } })"), @"script_error: rule.luau:2: http.get: `headers` has a number with a number, expected texts with texts");
}

#[test]
fn hashes_are_those_of_the_standards() {
    at_desk(roomy(), |desk| {
        // FIPS 180-4 example, RFC 4231 case 2, and the check value of CRC-32/ISO-HDLC.
        for (expression, expected) in [
            ("ctx.hash.sha256('abc')", r#""ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad""#),
            (
                "ctx.hash.hmac_sha256('Jefe', 'what do ya want for nothing?')",
                r#""5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843""#,
            ),
            ("ctx.hash.crc32('123456789')", "3421780262"),
        ] {
            assert_eq!(desk.value(expression), expected);
        }
        insta::assert_snapshot!(
            desk.fault("return function(_, ctx)\n return ctx.hash.crc32(('x'):rep(2^20 + 1)) end", "").detail,
            @"rule.luau:2: hash.crc32: a text of 1048577 bytes; at most 1048576 are hashed"
        );
        insta::assert_snapshot!(
            desk.fault("return function(_, ctx)\n return ctx.hash.hmac_sha256('x') end", "").detail,
            @"rule.luau:2: invalid argument #2 to 'hmac_sha256' (string expected, got nil)"
        );
    });
}

#[test]
fn time_and_random_are_there() {
    assert_eq!(
        answer(
            "return function(_, ctx)
                local now, n, i = ctx.time.now(), ctx.random.number(), ctx.random.integer(1, 6)
                return { math.abs(now - os.time()) < 2, ctx.time.clock() > 0, n >= 0 and n < 1, i >= 1 and i <= 6, ctx.json == json }
            end",
            ""
        ),
        "[true,true,true,true,true]"
    );
}

#[test]
fn unanswered_calls_are_bounded() {
    at_desk(roomy(), |desk| {
        let source = "return function(_, ctx)
            for i = 1, 65 do task.spawn(ctx.run, 'x') end
            task.wait()
        end";
        let (program, limits) = (desk.compile(source), desk.limits.clone());

        let waits = crate::waiting(desk.vm.begin(&program, &call(&limits, "")));

        assert_eq!(waits.asks.len(), 64);
        let execution = desk.vm.cancel(waits.run);
        insta::assert_snapshot!(
            execution.log[0].message,
            @"a task failed: 64 calls of `run` and `http` are unanswered; wait for one before the next"
        );
    });
}
