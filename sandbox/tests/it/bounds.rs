//! Library functions that were replaced because the originals run long in C: the same answers, no matter the size.

use contract::Code;

use crate::{at_desk, roomy};

/// Each expression is true: what the replacement gives for large work is what is known without it.
#[track_caller]
fn check(setup: &str, expressions: &[&str]) {
    // Texts of megabytes, and garbage of as many: how much fits is tried elsewhere.
    let limits = sandbox::Limits { memory_bytes: 64 << 20, ..roomy() };
    at_desk(limits, |desk| {
        for expression in expressions {
            let source = format!("return function() {setup} return {expression} end");
            assert_eq!(desk.answer(&source, ""), "true", "{expression}");
        }
    });
}

#[test]
fn a_search_in_a_long_text_finds_what_a_short_one_would() {
    check(
        "local long = ('a'):rep(2e6) .. 'needle' .. ('b'):rep(2e6) \
         local list = {} for i = 1, 100000 do list[i] = i end local digits = table.concat(list)",
        &[
            "select('#', long:find('nowhere', 1, true)) == 1",
            "long:find('needle') == 2000001",
            "select(2, long:find('needle')) == 2000006",
            "long:find('needle', 2000001, true) == 2000001",
            "long:find('needle', 2000002, true) == nil",
            "long:find('needle', -2000006, true) == 2000001",
            "long:find('needle', -2000005, true) == nil",
            "long:find('a', 0, true) == 1 and long:find('b', -1, true) == 4000006",
            "long:find('b', 5000000, true) == nil",
            "digits:find(digits:sub(100001, 300000), 1, true) == 100001",
            "digits:find(digits:sub(100001, 300000) .. 'x', 1, true) == nil",
            "#digits:split(digits:sub(100001, 300000)) == 2",
            "long:find(('b'):rep(3e6), 1, true) == nil",
            "long:find(('b'):rep(2e6), 1, true) == 2000007",
        ],
    );
}

#[test]
fn a_long_text_is_split_as_a_short_one_is() {
    check(
        "local list = {} for i = 1, 50000 do list[i] = tostring(i) end \
         local function same(parts) if #parts ~= #list then return false end \
         for i, part in parts do if part ~= list[i] then return false end end return true end",
        &[
            "same(table.concat(list, ','):split(','))",
            "same(table.concat(list, ','):split())",
            "same(table.concat(list, '<>'):split('<>'))",
            "#(','):rep(200000):split(',') == 200001",
            "#('a'):rep(200000):split(',') == 1",
            "#('ab'):rep(50000):split('') == 100000 and ('ab'):rep(50000):split('')[99999] == 'a'",
            "#('aa'):rep(50001):split('aaa') == 33335",
        ],
    );
}

#[test]
fn what_is_done_in_pieces_is_put_together_again() {
    check(
        "local numbers = {} for i = 1, 40000 do numbers[i] = i end",
        &[
            "('aB'):rep(1e6):lower() == ('ab'):rep(1e6) and ('aB'):rep(1e6):upper() == ('AB'):rep(1e6)",
            "('abc'):rep(1e6):reverse() == ('cba'):rep(1e6)",
            "#table.concat(numbers) == 188894 and #table.concat(numbers, ', ') == 188894 + 2 * 39999",
            "table.concat(numbers, ',', 39999) == '39999,40000'",
            "table.concat(numbers, ',', 2, 39999) == table.concat(numbers, ','):sub(3, -7)",
            "table.concat(table.move(numbers, 1, 40000, 1, {}), ',') == table.concat(numbers, ',')",
            "(function() local t = table.move(numbers, 1, 40000, 2) return t[40001] == 40000 and t[2] == 1 and t[3] == 2 end)()",
            "(function() local t = table.move(numbers, 3, 40000, 1) return t[1] == 3 and t[39998] == 40000 end)()",
            "(function() local t = table.create(600000, 'x') t[599999] = 7 return table.find(t, 7) == 599999 and \
                table.find(t, 8) == nil and table.find(t, 'x', 599999.5) == 600000 end)()",
            "table.move(numbers, 1, 40000, 1e9, {})[1e9 + 39999] == 40000",
        ],
    );
}

#[test]
fn a_value_is_named_without_an_address() {
    check(
        "local t = {}",
        &[
            "tostring(t):match('^table: %x+$') ~= nil and tostring(print):match('^function: %x+$') ~= nil",
            "tostring(t) == tostring(t) and tostring(t) ~= tostring({})",
            "('%s %s'):format(t, 1) == tostring(t) .. ' 1' and `{t}` == tostring(t)",
            "tostring(setmetatable({}, { __tostring = function() return 'mine' end })) == 'mine'",
            "tostring('table: 0x12') == 'table: 0x12' and tostring(nil) == 'nil' and tostring(-0.5) == '-0.5'",
        ],
    );
}

#[test]
fn what_has_no_pieces_is_refused_above_its_bound_and_done_below() {
    at_desk(roomy(), |desk| {
        for (below, above) in [
            ("('a'):rep(3e5):find('^[%w_]*b')", "('a'):rep(3e6):find('^[%w_]*b')"),
            ("('a'):rep(1e6):match('^a*b')", "('a'):rep(6e6):match('^a*b')"),
            ("('b'):gsub('b', ('a'):rep(1e6))", "('b'):gsub('b', ('a'):rep(2e6))"),
            ("('%s'):format(('a'):rep(5e5))", "('%s'):format(('a'):rep(6e5))"),
            ("#('%%'):rep(60):format()", "#('%%'):rep(400):format()"),
            ("string.pack(('b'):rep(9), 1, 2, 3, 4, 5, 6, 7, 8, 9)", "string.packsize(('b'):rep(2000))"),
            ("string.packsize('c100000')", "string.pack('c1000000', '')"),
            ("utf8.len(('é'):rep(5e5))", "utf8.len(('é'):rep(1e6))"),
            ("os.date(('%d'):rep(100))", "os.date(('%d'):rep(200))"),
        ] {
            desk.answer(&format!("return function() local _ = {below} end"), "");

            let fault = desk.fault(&format!("return function() local _ = {above} end"), "");
            assert_eq!(fault.code, Code::ScriptError, "{above}: {fault}");
            assert!(desk.vm.is_usable(), "{above}");
        }
    });
}

#[test]
fn a_refusal_says_what_is_too_much() {
    insta::assert_snapshot!(
        crate::fault("local s = ('a'):rep(3e6)\nlocal at = s:find('^[%w_]*b')", ""),
        @"script_error: rule.luau:2: string.find: a pattern of 8 bytes on a string of 3000000 is too much work; search in parts"
    );
    insta::assert_snapshot!(
        crate::fault("local s = ('a'):rep(3e6)\nlocal n = utf8.len(s)", ""),
        @"script_error: rule.luau:2: utf8.len: a string of 3000000 bytes is too much work; work in parts"
    );
}
