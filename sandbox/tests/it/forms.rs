//! The three forms of a script, and what is none of them.

use contract::Code;

use crate::{answer, at_desk, fault, roomy};

#[test]
fn a_handler_gets_the_input_and_gives_the_answer() {
    let source = "return function(input) return { output = input.price * 2 } end";

    assert_eq!(answer(source, r#"{"price": 21}"#), r#"{"output":42}"#);
}

#[test]
fn a_module_is_called_by_its_handle() {
    let source = "local M = {} function M.handle(input) return { output = input.price + 1 } end return M";

    assert_eq!(answer(source, r#"{"price": 41}"#), r#"{"output":42}"#);
}

#[test]
fn the_founding_form_reads_input_and_leaves_result() {
    let source = "result = { output = input.price / 2 }";

    assert_eq!(answer(source, r#"{"price": 84}"#), r#"{"output":42}"#);
}

#[test]
fn a_change_of_the_input_is_seen_by_the_script_that_made_it() {
    let source = "input.price = 7; result = { output = input.price }; result.output = result.output + 1";

    assert_eq!(answer(source, r#"{"price": 1}"#), r#"{"output":8}"#);
}

#[test]
fn a_handler_may_return_nothing() {
    assert_eq!(answer("return function() end", ""), "null");
}

#[test]
fn the_context_tells_who_runs() {
    let source = "return function(_, ctx)
        local left = ctx.deadline()
        return { ctx.tenant, ctx.script, ctx.version, ctx.execution_id, left > 0 and left <= 60 }
    end";

    assert_eq!(answer(source, ""), r#"["acme","rule","v1","e1",true]"#);
}

#[test]
fn the_context_is_read_only() {
    insta::assert_snapshot!(
        fault("return function(_, ctx)\n ctx.tenant = 'evil' end", ""),
        @"script_error: rule.luau:2: attempt to modify a readonly table"
    );
    insta::assert_snapshot!(
        fault("return function(_, ctx)\n ctx.log.info = print end", ""),
        @"script_error: rule.luau:2: attempt to modify a readonly table"
    );
}

#[test]
fn what_is_no_form_is_told_what_to_return() {
    insta::assert_snapshot!(
        fault("local x = 1", ""),
        @"result_invalid: `rule.luau` returns nothing, and its global `result` is nil; return a function `handler(input, ctx)`, or set `result = { output = … }`"
    );
    insta::assert_snapshot!(
        fault("result = 5", ""),
        @"result_invalid: `rule.luau` returns nothing, and its global `result` is a number; return a function `handler(input, ctx)`, or set `result = { output = … }`"
    );
    insta::assert_snapshot!(
        fault("return 'allow'", ""),
        @"result_invalid: `rule.luau` returns a string; return a function `handler(input, ctx)`, or a table with `handle`"
    );
    insta::assert_snapshot!(
        fault("return { output = 1 }", ""),
        @"result_invalid: `rule.luau` returns a table whose `handle` is nil, not a function"
    );
}

#[test]
fn an_error_names_the_line_and_leaves_the_vm_usable() {
    at_desk(roomy(), |desk| {
        let fault = desk.fault("return function(input)\n  local p = input.item.price\n  return p\nend", "{}");

        assert_eq!(fault.code, Code::ScriptError);
        insta::assert_snapshot!(fault.detail, @"rule.luau:2: attempt to index nil with 'price'");
        assert_eq!(fault.diagnostics.len(), 1);
        assert_eq!((fault.diagnostics[0].file.as_str(), fault.diagnostics[0].line), ("rule.luau", 2));
        assert!(desk.vm.is_usable());
    });
}

#[test]
fn errors_without_a_place_get_the_line_that_raised_them() {
    insta::assert_snapshot!(fault("\nerror('no price', 0)", ""), @"script_error: rule.luau:2: no price");
    insta::assert_snapshot!(fault("\n\nerror({ message = 'no stock', sku = 7 })", ""), @"script_error: rule.luau:3: no stock");
    insta::assert_snapshot!(fault("\nerror({})", ""), @"script_error: rule.luau:2: raised a table without a text `message`");
    insta::assert_snapshot!(fault("\nerror(nil)", ""), @"script_error: rule.luau:2: raised nil");
    insta::assert_snapshot!(fault("\n\nlocal at = string.find(nil, 'x')", ""), @"script_error: rule.luau:3: invalid argument #1 to 'find' (string expected, got nil)");
}

#[test]
fn an_error_object_runs_no_code_when_it_is_described() {
    let source = "error(setmetatable({}, { __tostring = function() while true do end end, __index = function() error('x') end }))";

    insta::assert_snapshot!(fault(source, ""), @"script_error: rule.luau:1: raised a table without a text `message`");
}

#[test]
fn a_long_message_is_clipped() {
    let text = fault("error(string.rep('é', 100000))", "");

    assert!(text.len() < 1100, "{} bytes", text.len());
}
