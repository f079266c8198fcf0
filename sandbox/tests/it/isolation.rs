//! Nothing of one execution reaches another.

use crate::{at_desk, roomy};

#[test]
fn globals_of_one_execution_are_unknown_to_the_next() {
    at_desk(roomy(), |desk| {
        desk.answer("leak = 'secret' _G.other = 'secret' result = {}", r#"{"token":"secret"}"#);

        assert_eq!(desk.value("{ leak == nil, other == nil, result == nil, _G.leak == nil }"), "[true,true,true,true]");
        assert_eq!(desk.value("_G.input == nil"), "true");
    });
}

#[test]
fn functions_of_one_program_run_in_the_environment_of_their_execution() {
    at_desk(roomy(), |desk| {
        let program = desk.compile("count = (count or 0) + 1 return function() count += 1 return count end");

        for _ in 0..3 {
            assert_eq!(desk.run_program(&program, "").outcome.unwrap().into_json(), b"2");
        }
    });
}

#[test]
fn libraries_and_metatables_cannot_be_poisoned() {
    at_desk(roomy(), |desk| {
        for attack in [
            "string.find = print",
            "math.floor = print",
            "json.array = print",
            "ctx.log.info = print",
            "getmetatable('').__index = {}",
            "getmetatable('').__index.upper = print",
            "rawset(string, 'find', print)",
            "rawset(getmetatable(''), '__index', print)",
            "setmetatable(string, { __index = print })",
            "setmetatable(_G, {})",
            "table.clear(string)",
            "table.insert(os, print)",
            "getmetatable(_G).__index.string = print",
            "getmetatable(vector.zero).__add = print",
        ] {
            let source = format!("return function(input, ctx) return (pcall(function() {attack} end)) end");
            assert_eq!(desk.answer(&source, ""), "false", "{attack}");
        }

        assert_eq!(
            desk.value("{ ('a'):upper(), string.find('ab', 'b'), math.floor(1.5), json.array() }"),
            r#"["A",2,1,[]]"#
        );
    });
}

#[test]
fn a_replaced_library_is_replaced_for_that_execution_only() {
    at_desk(roomy(), |desk| {
        let source = "local floor = math.floor math = { floor = function() return 'mine' end } \
                      return function() return { math.floor(1.5), floor(1.5) } end";
        assert_eq!(desk.answer(source, ""), r#"["mine",1]"#);

        assert_eq!(desk.value("math.floor(1.5)"), "1");
    });
}

#[test]
fn the_marker_of_empty_arrays_cannot_carry_anything() {
    at_desk(roomy(), |desk| {
        let source = "return function(input) return (pcall(function() getmetatable(input).secret = 1 end)) end";

        assert_eq!(desk.answer(source, "[]"), "false");
    });
}

#[test]
fn random_numbers_do_not_go_on_where_another_execution_stopped() {
    at_desk(roomy(), |desk| {
        let draw = "return function() return { math.random(), math.random(1e9) } end";
        let seeded = "return function() math.randomseed(7) return { math.random(), math.random(1e9) } end";

        let first = desk.answer(seeded, "");

        assert_ne!(desk.answer(draw, ""), desk.answer(draw, ""));
        assert_eq!(desk.answer(seeded, ""), first);
        assert_ne!(desk.answer(draw, ""), first);
    });
}

#[test]
fn addresses_in_texts_differ_between_vms() {
    at_desk(roomy(), |desk| {
        let first = desk.value("tostring(print)");

        desk.renew();

        assert_ne!(desk.value("tostring(print)"), first);
    });
}
