//! Policy scripts: what they answer, and what is no policy.

use std::path::Path;

use contract::policy::{Document, Layers};
use sandbox::{Refusal, policy};

use crate::{at_desk, roomy};

fn read(tenant: &str, source: &str) -> Result<Document, Refusal> {
    let mut read = None;
    at_desk(roomy(), |desk| {
        let program = desk.compile(source);
        read = Some(policy(&desk.engine, &program, &tenant.parse().unwrap(), &desk.limits));
    });
    read.unwrap()
}

#[track_caller]
fn refusal(source: &str) -> String {
    let refusal = read("acme", source).unwrap_err();
    let diagnostics: Vec<_> = refusal.diagnostics.iter().map(ToString::to_string).collect();
    format!("{}: {}\n{}", refusal.code, refusal.detail, diagnostics.join("\n"))
}

#[test]
fn the_examples_say_what_they_are_meant_to() {
    let example = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/policy").join(name);
        fs_err::read_to_string(path).unwrap()
    };
    let stack = read("@stack", &example("stack.luau")).unwrap();
    let own = read("acme", &example("tenant.luau")).unwrap();
    let terms = |tenant: &str, own: Option<&Document>| {
        let layers = Layers { stack: stack.as_stack(), own: own.and_then(Document::as_tenant) };
        let terms = layers.merge(&tenant.parse().unwrap());
        format!(
            "{tenant}: cpu {}, wall {}, rate {}, at once {}",
            terms.cpu,
            terms.wall,
            terms.rate.unwrap(),
            terms.concurrency
        )
    };

    let told = [terms("acme", Some(&own)), terms("newcomer", None), terms("reports", None)].join("\n");

    insta::assert_snapshot!(told, @"
    acme: cpu 20ms (the tenant's policy), wall 1s (the stack's defaults), rate 200 per second, 400 at once (the tenant's policy), at once 16 (the tenant's policy)
    newcomer: cpu 50ms (built in), wall 1s (the stack's defaults), rate 5 per second, 10 at once (the stack's policy for this tenant), at once 2 (the stack's policy for this tenant)
    reports: cpu 2s (the stack's policy for this tenant), wall 1m (the stack's policy for this tenant), rate 500 per second, 500 at once (the stack's defaults), at once 4 (the stack's policy for this tenant)
    ");
}

#[test]
fn what_a_policy_gets_wrong_is_told_by_its_field() {
    let sources = [
        "return function() return { limits = { cpu = 20 } } end",
        "return function() return { capabilities = { \"files\" } } end",
        "return function() return 5 end",
        "return {}",
        "return function() error(\"not today\") end",
        "return function() return { rate = { per_second = 0/0 } } end",
    ];

    insta::assert_snapshot!(sources.map(refusal).join("\n\n"), @r#"
    script_refused: rule.luau: `limits.cpu` is 20; expected a text such as "20ms" or "1s", at least 1ms
    rule.luau: `limits.cpu` is 20; expected a text such as "20ms" or "1s", at least 1ms

    script_refused: rule.luau: `capabilities` has "files", which is none; there are log, time, random, json, hash, run, http
    rule.luau: `capabilities` has "files", which is none; there are log, time, random, json, hash, run, http

    script_refused: rule.luau: the answer is 5; expected a table such as `{ limits = { cpu = "20ms" } }`
    rule.luau: the answer is 5; expected a table such as `{ limits = { cpu = "20ms" } }`

    script_refused: `rule.luau` gave no policy: `rule.luau` returns a table whose `handle` is nil, not a function


    script_refused: `rule.luau` gave no policy: rule.luau:1: not today
    rule.luau:1: not today

    script_refused: `rule.luau` gave no policy: result.rate.per_second is NaN, which JSON has no form for
    "#);
}

#[test]
fn a_policy_has_no_input_and_no_capabilities() {
    let source = "return function(input, ctx) assert(input == nil and #ctx.capabilities == 0) return {} end";

    assert!(read("acme", source).unwrap().as_tenant().is_some());
}

#[test]
fn a_policy_that_does_not_end_is_refused() {
    let limits = sandbox::Limits::default();
    at_desk(limits, |desk| {
        let program = desk.compile("return function() while true do end end");
        let refusal = policy(&desk.engine, &program, &"acme".parse().unwrap(), &desk.limits).unwrap_err();
        assert_eq!(refusal.code, contract::Code::ScriptRefused);
        assert!(refusal.detail.contains("gave no policy"), "{}", refusal.detail);
    });
}
