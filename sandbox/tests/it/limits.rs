//! Each limit: one script that trips it, one that stays under.

use std::time::{Duration, Instant};

use contract::Code;
use sandbox::{Engine, Limits};

use crate::{Desk, at_desk, roomy};

/// Much more than any of the limits below, so that a script that is not stopped is a failure and not a hang.
const PATIENCE: Duration = Duration::from_secs(30);

fn quick() -> Limits {
    Limits { cpu: Duration::from_millis(20), wall: PATIENCE, ..Limits::default() }
}

#[track_caller]
fn check_stopped(desk: &mut Desk, body: &str) {
    let started = Instant::now();

    let fault = desk.fault(&format!("return function(input, ctx) {body} end"), "");

    assert_eq!(fault.code, Code::DeadlineExceeded, "{body}: {fault}");
    assert!(started.elapsed() < PATIENCE, "{body}: stopped after {:?}", started.elapsed());
    assert!(!desk.vm.is_usable(), "{body}");
    desk.renew();
}

#[test]
fn loops_are_stopped_whatever_they_do() {
    at_desk(quick(), |desk| {
        for body in [
            "while true do end",
            "for i = 1, 1e15 do end",
            "while true do pcall(function() while true do end end) end",
            "while true do local f = coroutine.wrap(function() while true do end end) pcall(f) end",
            "local t = setmetatable({}, { __index = function(t, k) return t[k + 1] end }) while true do pcall(function() return t[1] end) end",
            "return ('a'):rep(30):find(('a?'):rep(30) .. ('a'):rep(30))",
            "table.sort({ 3, 2, 1 }, function() while true do end end)",
            "return tostring(setmetatable({}, { __tostring = function() while true do end end }))",
            "xpcall(function() error('x') end, function() while true do end end)",
        ] {
            check_stopped(desk, body);
        }
    });
}

#[test]
fn library_functions_that_are_slow_in_c_are_stopped_or_refused() {
    at_desk(quick(), |desk| {
        for body in [
            "local a, b, t = ('x'):rep(1e6) .. 1, ('x'):rep(1e6) .. 2, {} for i = 1, 1e5 do t[i] = if i % 2 == 0 then a else b end table.sort(t)",
            "local t = {} for i = 1, 4e5 do t[i] = -i end table.sort(t, math.max) while true do end",
            "local s = ('a'):rep(1e6) while true do string.find(s, ('a'):rep(5e5) .. 'b', 1, true) end",
            "local s = ('a'):rep(1e6) while true do string.split(s, ('a'):rep(5e5) .. 'b') end",
            "local s = ('a'):rep(1e6) while true do pcall(string.find, s, '[' .. ('b'):rep(1e5) .. 'a]*c') end",
            "while true do pcall(string.format, ('%99.99f'):rep(7000), 1) end",
            "while true do pcall(os.date, ('%c'):rep(2e5)) end",
            "while true do table.move({}, -1e9, 1e9, 5, {}) end",
        ] {
            check_stopped(desk, body);
        }
    });
}

#[test]
fn a_deadline_says_which_limit_and_where() {
    at_desk(quick(), |desk| {
        let fault = desk.fault("return function()\n  local n = 0\n  while true do n += 1 end\nend", "");

        insta::assert_snapshot!(fault.detail, @"`rule.luau` used more than 20 ms of CPU time");
        assert_eq!(fault.diagnostics.len(), 1);
        insta::assert_snapshot!(fault.diagnostics[0], @"rule.luau:3: was here when its time ran out");
    });
}

#[test]
fn wall_time_is_the_outer_limit() {
    let limits = Limits { cpu: PATIENCE, wall: Duration::from_millis(20), ..Limits::default() };
    at_desk(limits, |desk| {
        let fault = desk.fault("while true do end", "");

        assert_eq!(fault.code, Code::DeadlineExceeded);
        insta::assert_snapshot!(fault.detail, @"`rule.luau` ran longer than 20 ms");
    });
}

#[test]
fn the_next_execution_on_the_thread_is_not_hit_by_the_deadline_of_the_last() {
    at_desk(Limits { cpu: Duration::from_millis(2), wall: PATIENCE, ..Limits::default() }, |desk| {
        let (mut others, mut stopped) = (0, 0);
        let until = Instant::now() + Duration::from_millis(300);
        while Instant::now() < until {
            // Ends near its deadline, sometimes before and sometimes after.
            if desk
                .run("return function() local t = os.clock() while os.clock() - t < 0.002 do end end", "")
                .outcome
                .is_err()
            {
                stopped += 1;
                desk.renew();
            }
            for _ in 0..20 {
                let execution = desk.run("return function() return 1 end", "");
                assert_eq!(execution.outcome.unwrap().into_json(), b"1");
                others += 1;
            }
        }
        assert!(others > 20, "{others} others, {stopped} stopped");
    });
}

#[test]
fn a_forged_deadline_text_is_an_ordinary_error() {
    at_desk(roomy(), |desk| {
        for text in ["deadline exceeded", "not enough memory"] {
            let fault = desk.fault(&format!("error('{text}', 0)"), "");

            assert_eq!(fault.code, Code::ScriptError);
            assert!(desk.vm.is_usable());
        }
    });
}

#[test]
fn memory_bombs_are_stopped() {
    at_desk(roomy(), |desk| {
        for body in [
            "local t = {} while true do t[#t + 1] = { t } end",
            "local s = 'x' while true do s = s .. s end",
            "return ('x'):rep(1e9)",
            "return buffer.create(2^30)",
            "local t = {} while true do t[#t + 1] = coroutine.create(function() end) end",
            "local t = {} while true do local i = #t t[i + 1] = function() return i end end",
        ] {
            let fault = desk.fault(&format!("return function() {body} end"), "");

            assert_eq!(fault.code, Code::MemoryExceeded, "{body}: {fault}");
            assert_eq!(fault.detail, "`rule.luau` needed more than 20 MiB of memory");
            assert!(!desk.vm.is_usable(), "{body}");
            assert!(desk.vm.used_bytes() <= desk.limits.memory_bytes);
            desk.renew();
        }
    });
}

#[test]
fn a_script_may_use_most_of_its_memory_again_and_again() {
    at_desk(roomy(), |desk| {
        let source = "return function() local t = {} for i = 1, 120 do t[i] = ('x'):rep(1e5) .. i end return #t end";
        for _ in 0..5 {
            assert_eq!(desk.answer(source, ""), "120");
        }
        assert!(desk.vm.used_bytes() < 1 << 20, "{} bytes left", desk.vm.used_bytes());
    });
}

#[test]
fn garbage_does_not_end_a_script_that_keeps_little() {
    at_desk(roomy(), |desk| {
        let keep = "local keep = {} for i = 1, 50000 do keep[i] = { i } end";
        for churn in [
            "for i = 1, 60 do local s = ('x'):rep(4e6 + i) end",
            "for i = 1, 100 do buffer.create(5e6) end",
            "local s = '' for i = 1, 3000 do s = s .. ('x'):rep(100) end",
            "for i = 1, 1e6 do local t = { i } end",
        ] {
            let source = format!("return function() {keep} {churn} return #keep end");
            assert_eq!(desk.answer(&source, ""), "50000", "{churn}");
        }
    });
}

#[test]
fn an_execution_may_have_less_memory_than_its_vm_but_not_more() {
    at_desk(roomy(), |desk| {
        let source = "return function() local t = {} for i = 1, 100 do t[i] = ('x'):rep(1e5) .. i end return #t end";
        let program = desk.compile(source);
        let mut run = |memory_bytes| {
            let limits = Limits { memory_bytes, ..roomy() };
            desk.vm.run(&program, &crate::call(&limits, "")).outcome
        };
        assert!(run(1 << 30).is_ok());
        assert!(run(20 << 20).is_ok());

        let fault = run(4 << 20).unwrap_err();

        assert_eq!(fault.code, Code::MemoryExceeded);
        insta::assert_snapshot!(fault.detail, @"`rule.luau` needed more than 4 MiB of memory");

        desk.renew();
        let greedy = desk.compile("return function() return ('x'):rep(25e6) end");
        let limits = Limits { memory_bytes: 1 << 30, output_bytes: 1 << 30, ..roomy() };
        assert_eq!(desk.vm.run(&greedy, &crate::call(&limits, "")).outcome.unwrap_err().code, Code::MemoryExceeded);
    });
}

#[test]
fn an_input_that_does_not_fit_into_memory_is_the_memory_limits_fault() {
    at_desk(Limits { memory_bytes: 1 << 20, ..roomy() }, |desk| {
        let input = format!("[{}{{}}]", "{\"a\":{}},".repeat(50_000));

        assert_eq!(desk.fault("return function() end", &input).code, Code::MemoryExceeded);
        assert!(!desk.vm.is_usable());
    });
}

#[test]
fn limits_without_room_for_a_vm_are_refused() {
    let engine = Engine::start().unwrap();

    let fault = engine.vm(&Limits { memory_bytes: 100 << 10, ..Limits::default() }).unwrap_err();

    assert_eq!(fault.code, Code::MemoryExceeded);
    assert!(fault.detail.ends_with("the limit is 100 KiB"), "{fault}");
}

#[test]
fn a_vm_that_is_not_usable_says_so() {
    at_desk(quick(), |desk| {
        desk.run("while true do end", "").outcome.unwrap_err();

        let fault = desk.fault("return function() end", "");

        assert_eq!(fault.code, Code::Internal);
    });
}

#[test]
fn deep_recursion_is_an_error_and_not_a_crash() {
    at_desk(roomy(), |desk| {
        for body in [
            "local function f(n) return 1 + f(n + 1) end return f(1)",
            "local function f(n) local ok, e = coroutine.resume(coroutine.create(f), n + 1) error(e, 0) end return f(1)",
            "local t = {} setmetatable(t, { __index = function(t, k) return t[k] end }) return t.x",
            "local function f() return (('x'):gsub('x', f)) end return f()",
        ] {
            let fault = desk.fault(&format!("return function() {body} end"), "");

            assert_eq!(fault.code, Code::ScriptError, "{body}");
            assert!(fault.detail.contains("overflow"), "{fault}");
            assert!(desk.vm.is_usable());
        }
    });
}

#[test]
fn input_above_its_limit_is_refused_and_at_it_is_not() {
    at_desk(Limits { input_bytes: 10, ..roomy() }, |desk| {
        assert_eq!(desk.answer("return function(i) return #i end", "[1,2,3,40]"), "4");

        let fault = desk.fault("return function(i) return #i end", "[1,2,3,400]");

        assert_eq!(fault.code, Code::TooLarge);
        insta::assert_snapshot!(fault.detail, @"input has 11 bytes, the limit is 10 bytes");
    });
}

#[test]
fn input_deeper_than_its_limit_is_refused_and_at_it_is_not() {
    at_desk(roomy(), |desk| {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(desk.answer("return function(i) return i end", &nested(64)), nested(64));

        let fault = desk.fault("return function(i) return i end", &nested(65));

        assert_eq!(fault.code, Code::BadJson);
        insta::assert_snapshot!(fault.detail, @"input is not usable JSON: nested too deeply at line 1 column 66");
    });
}

#[test]
fn output_above_its_bytes_is_refused_and_at_them_is_not() {
    at_desk(Limits { output_bytes: 12, ..roomy() }, |desk| {
        assert_eq!(desk.value("('x'):rep(10)"), r#""xxxxxxxxxx""#);

        for expression in [
            "('x'):rep(11)",
            "('\\n'):rep(6)",
            "{ 'x', 'y', 'z', 1 }",
            "{ { { 'xxxxx' } } }",
            "{ [('k'):rep(11)] = 1 }",
        ] {
            let fault = desk.fault(&format!("return function() return {expression} end"), "");
            assert_eq!(fault.code, Code::OutputExceeded, "{expression}");
            assert_eq!(fault.detail, "result is more than 12 bytes of JSON");
        }
        assert!(desk.vm.is_usable());
    });
}

#[test]
fn output_above_its_values_is_refused_and_at_them_is_not() {
    at_desk(Limits { output_nodes: 4, ..roomy() }, |desk| {
        assert_eq!(desk.value("{ 1, 2, 3 }"), "[1,2,3]");

        let fault = desk.fault("return function() return { 1, 2, 3, 4 } end", "");

        assert_eq!(fault.code, Code::OutputExceeded);
        insta::assert_snapshot!(fault.detail, @"result has more than 4 values");
    });
}

#[test]
fn a_small_table_that_is_a_huge_answer_is_refused() {
    at_desk(roomy(), |desk| {
        let fault =
            desk.fault("return function() local t = { 'x' } for i = 1, 26 do t = { t, t } end return t end", "");

        assert_eq!(fault.code, Code::OutputExceeded);
        insta::assert_snapshot!(fault.detail, @"result has more than 100000 values");
    });
}

#[test]
fn output_deeper_than_its_limit_is_refused_and_a_cycle_is_too_deep() {
    at_desk(roomy(), |desk| {
        let nested =
            |depth| format!("return function() local t = {{}} for i = 2, {depth} do t = {{ t }} end return t end");
        assert!(desk.run(&nested(64), "").outcome.is_ok());

        for source in [nested(65).as_str(), "return function() local t = {} t.t = t return t end"] {
            let fault = desk.fault(source, "");
            assert_eq!(fault.code, Code::OutputExceeded);
            assert_eq!(fault.detail, "result is nested deeper than 64");
        }
    });
}
