//! JSON in, JSON out.

use contract::Code;

use crate::{answer, at_desk, fault, roomy};

/// A handler that gives back what it gets.
const ECHO: &str = "return function(input) return input end";

#[track_caller]
fn returns(expression: &str) -> String {
    answer(&format!("return function() return {expression} end"), "")
}

#[track_caller]
fn refuses(expression: &str) -> String {
    fault(&format!("return function() return {expression} end"), "")
}

#[test]
fn values_come_back_as_they_went_in() {
    for json in [
        r#"null"#,
        r#"true"#,
        r#""\u0001 \"quoted\" grüße 🦀""#,
        r#"[1,2.5,-3,0,1e300,"x",[],{},[[]],false]"#,
        r#"{"a":{"b":[{"c":1}]},"list":[]}"#,
        r#"[9007199254740992,-9007199254740992,9223372036854774784,1152921504606846976]"#,
    ] {
        assert_eq!(answer(ECHO, json), crate::sorted(json.as_bytes()));
    }
}

#[test]
fn no_input_is_null() {
    assert_eq!(answer("return function(input) return { input == nil } end", ""), "[true]");
}

#[test]
fn null_in_a_table_is_the_absence_of_a_value() {
    assert_eq!(answer(ECHO, r#"{"a":null,"b":1}"#), r#"{"b":1}"#);
    assert_eq!(answer(ECHO, "[1,null,3]"), "[1,null,3]");
    assert_eq!(answer("return function(i) return { i.a == nil, not i.a } end", r#"{"a":null}"#), "[true,true]");
}

#[test]
fn an_empty_array_stays_one_and_scripts_can_make_one() {
    assert_eq!(answer("return function(i) return { i.list, {} } end", r#"{"list":[]}"#), "[[],{}]");
    assert_eq!(returns("{ json.array(), json.array({ 1 }), json.null }"), "[[],[1],null]");
    assert_eq!(answer("return function(i) table.insert(i, 1) return i end", "[]"), "[1]");
}

#[test]
fn numbers_are_written_as_people_expect() {
    assert_eq!(
        returns("{ 1, 1.5, -0.0, 2^53, 2^62, 1e15, 0.1 }"),
        "[1,1.5,0,9007199254740992,4611686018427387904,1000000000000000,0.1]"
    );
}

#[test]
fn an_integer_that_would_be_rounded_is_refused() {
    insta::assert_snapshot!(
        fault(ECHO, r#"{"id": 9007199254740993}"#),
        @"bad_json: input is not usable JSON: integer 9007199254740993 is not exact as a Luau number; send it as a string at line 1 column 23"
    );
    insta::assert_snapshot!(
        fault(ECHO, "18446744073709551615"),
        @"bad_json: input is not usable JSON: integer 18446744073709551615 is not exact as a Luau number; send it as a string at line 1 column 20"
    );
}

#[test]
fn broken_json_is_refused_with_its_place() {
    insta::assert_snapshot!(fault(ECHO, "{\n  \"a\": }"), @"bad_json: input is not usable JSON: expected value at line 2 column 8");
    insta::assert_snapshot!(fault(ECHO, "{} x"), @"bad_json: input is not usable JSON: trailing characters at line 1 column 4");
    insta::assert_snapshot!(fault(ECHO, "[1"), @"bad_json: input is not usable JSON: EOF while parsing a list at line 1 column 2");
}

#[test]
fn broken_json_leaves_the_vm_usable() {
    at_desk(roomy(), |desk| {
        assert_eq!(desk.fault(ECHO, "[[[1,").code, Code::BadJson);

        assert!(desk.vm.is_usable());
        assert_eq!(desk.answer(ECHO, "[1]"), "[1]");
    });
}

#[test]
fn what_json_has_no_form_for_is_refused_with_its_path() {
    insta::assert_snapshot!(refuses("{ items = { 1, 2, print } }"), @"result_invalid: result.items[3] is a function, which JSON has no form for");
    insta::assert_snapshot!(refuses("{ score = 0/0 }"), @"result_invalid: result.score is NaN, which JSON has no form for");
    insta::assert_snapshot!(refuses("{ ['a b'] = { -math.huge } }"), @r#"result_invalid: result["a b"][1] is infinite, which JSON has no form for"#);
    insta::assert_snapshot!(refuses("{ co = coroutine.create(print) }"), @"result_invalid: result.co is a coroutine, which JSON has no form for");
    insta::assert_snapshot!(refuses("'\\xff'"), @"result_invalid: result is a string that is not UTF-8");
    insta::assert_snapshot!(refuses("{ ['\\xff'] = 1 }"), @"result_invalid: result has a name that is not UTF-8");
    insta::assert_snapshot!(refuses("{ 1, 2, x = 3 }"), @"result_invalid: result mixes names and numbers as keys");
    insta::assert_snapshot!(refuses("{ x = 3, [7] = 1 }"), @"result_invalid: result mixes names and numbers as keys");
    insta::assert_snapshot!(refuses("{ [true] = 1 }"), @"result_invalid: result has a boolean as key");
    insta::assert_snapshot!(refuses("{ [1.5] = 1 }"), @"result_invalid: result has the number 1.5 as key; arrays count from 1");
    insta::assert_snapshot!(refuses("{ [0] = 1 }"), @"result_invalid: result has the number 0 as key; arrays count from 1");
    insta::assert_snapshot!(refuses("{ [1e6] = 1 }"), @"result_invalid: result is an array of 1000000 elements with only 1 of them there");
}

#[test]
fn the_answer_is_read_without_metamethods() {
    let source = "return function()
        return setmetatable({ a = 1 }, { __index = { b = 2 }, __iter = function() error('run') end, __len = function() return 9 end })
    end";

    assert_eq!(answer(source, ""), r#"{"a":1}"#);
}

#[test]
fn an_array_keeps_its_order_however_it_was_filled() {
    assert_eq!(
        returns("(function() local t = {} for i = 40, 1, -1 do t[i] = i end return #t == 40 and t[40] end)()"),
        "40"
    );
    assert_eq!(
        answer("return function() local t = {} for i = 5, 1, -1 do t[i] = i end return t end", ""),
        "[1,2,3,4,5]"
    );
}
