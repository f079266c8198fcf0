//! What of a module is called: events and middleware.

use contract::Code;
use sandbox::{Call, Callee, Entry, Outcome};

use crate::{Desk, at_desk, call, roomy, sorted};

const MODULE: &str = "
    local M = { on = {} }
    function M.handle(input) return 'handled' end
    M.on['order.created'] = function(event, ctx) return { event.name, event.data.id, ctx.tenant } end
    function M.before(ctx, input)
        if input == nil then return end
        if input.bad then
            error('no bad input', 0)
        end
        return { ctx.script, input.id }
    end
    function M.after(ctx, result, input)
        if result.same then return nil end
        return { ctx.script, result.total, input.id }
    end
    return M";

fn called(desk: &mut Desk, source: &str, entry: Entry<'_>, input: &str) -> Result<Outcome, sandbox::Fault> {
    let (program, limits) = (desk.compile(source), desk.limits.clone());
    desk.vm.run(&program, &Call { entry, ..call(&limits, input) }).outcome
}

fn value(json: &str) -> Outcome {
    Outcome::Value(json.into())
}

#[test]
fn an_event_calls_its_function() {
    at_desk(roomy(), |desk| {
        let answer = called(desk, MODULE, Entry::Event("order.created"), r#"{"id":7}"#).unwrap();

        assert_eq!(answer, value(r#"["order.created",7,"acme"]"#));
    });
}

#[test]
fn middleware_tells_replaced_from_unchanged() {
    at_desk(roomy(), |desk| {
        assert_eq!(called(desk, MODULE, Entry::Before, r#"{"id":7}"#).unwrap(), value(r#"["rule",7]"#));
        assert_eq!(called(desk, MODULE, Entry::Before, "").unwrap(), Outcome::Nothing);

        let after = |result| Entry::After { result };
        assert_eq!(called(desk, MODULE, after(br#"{"total":3}"#), r#"{"id":7}"#).unwrap(), value(r#"["rule",3,7]"#));
        assert_eq!(called(desk, MODULE, after(br#"{"same":true}"#), "").unwrap(), Outcome::Nothing);
        assert_eq!(called(desk, MODULE, Entry::Handle, "").unwrap(), value(r#""handled""#));
    });
}

#[test]
fn nothing_is_null_to_a_caller_and_null_replaces() {
    at_desk(roomy(), |desk| {
        assert_eq!(called(desk, "return function() end", Entry::Handle, "").unwrap().into_json(), b"null");

        let source = "return { before = function() return json.null end }";
        assert_eq!(called(desk, source, Entry::Before, "1").unwrap(), value("null"));
    });
}

#[test]
fn before_refuses_by_an_error_and_a_broken_chunk_is_no_refusal() {
    at_desk(roomy(), |desk| {
        let fault = called(desk, MODULE, Entry::Before, r#"{"bad":true}"#).unwrap_err();
        assert_eq!(fault.code, Code::RejectedByMiddleware);
        insta::assert_snapshot!(fault.detail, @"rule.luau:8: no bad input");

        let fault = called(desk, "error('broken')", Entry::Before, "").unwrap_err();
        assert_eq!(fault.code, Code::ScriptError);

        let fault = called(desk, MODULE, Entry::After { result: b"1" }, "").unwrap_err();
        assert_eq!(fault.code, Code::ScriptError);
    });
}

#[test]
fn middleware_may_wait() {
    at_desk(roomy(), |desk| {
        let source = "return { before = function(ctx, input) task.wait() error('late refusal', 0) end }";

        let fault = called(desk, source, Entry::Before, "").unwrap_err();

        assert_eq!(fault.code, Code::RejectedByMiddleware);
    });
}

#[test]
fn what_a_script_does_not_have_is_told() {
    at_desk(roomy(), |desk| {
        let mut told = |source, entry| {
            let fault = called(desk, source, entry, "").unwrap_err();
            assert_eq!(fault.code, Code::ResultInvalid);
            fault.detail
        };
        let event = Entry::Event("order.created");

        insta::assert_snapshot!(told("return function() end", event), @"`rule.luau` is a handler and has no `on`; return a table with `on`");
        insta::assert_snapshot!(told("result = {}", Entry::Before), @"`rule.luau` returns nothing and has no `before`; return a table with `before`");
        insta::assert_snapshot!(told("return {}", event), @"`rule.luau` returns a table whose `on` is nil, not a table of functions by event");
        insta::assert_snapshot!(told("return { on = {} }", event), @"`rule.luau` has no function for the event `order.created`: `on` has nil there");
        insta::assert_snapshot!(told("return { after = 1 }", Entry::After { result: b"" }), @"`rule.luau` returns a table whose `after` is a number, not a function");
        insta::assert_snapshot!(told("return 1", Entry::Before), @"`rule.luau` returns a number; return a function `handler(input, ctx)`, or a table with `before`");
    });
}

#[test]
fn middleware_is_told_which_call_it_looks_at() {
    at_desk(roomy(), |desk| {
        let source = "return {
            before = function(ctx, input, call) return call end,
            after = function(ctx, result, input, call) call.result = result return call end,
        }";
        let program = desk.compile(source);
        let limits = desk.limits.clone();
        let callee = Callee { tenant: "zoo", script: "risk", version: "v7", event: None };
        let mut told = |entry, callee| {
            let call = Call { entry, callee: Some(callee), ..call(&limits, "1") };
            sorted(&desk.vm.run(&program, &call).outcome.unwrap().into_json())
        };

        assert_eq!(told(Entry::Before, callee), r#"{"script":"risk","tenant":"zoo","version":"v7"}"#);
        let callee = Callee { event: Some("order.created"), ..callee };
        assert_eq!(
            told(Entry::After { result: b"2" }, callee),
            r#"{"event":"order.created","result":2,"script":"risk","tenant":"zoo","version":"v7"}"#
        );
    });
}
