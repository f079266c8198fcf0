//! `require`: what modules see of each other, and what they do not see.

use std::time::{Duration, Instant};

use sandbox::{Call, Capability, Execution, Grants, State, Step, compile};

use crate::packages::tar;
use crate::{Desk, answer, at_desk, call, fault, roomy, sorted};

fn run(desk: &mut Desk, files: &[(&str, &str)]) -> Execution {
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, source)| (*path, source.as_bytes())).collect();
    let program = compile("risk.tar", &tar(&files), &desk.limits).unwrap();
    desk.run_program(&program, "{}")
}

#[track_caller]
fn package(files: &[(&str, &str)]) -> String {
    let mut outcome = None;
    at_desk(roomy(), |desk| outcome = Some(run(desk, files).outcome));
    match outcome.unwrap() {
        Ok(answer) => sorted(&answer.into_json()),
        Err(fault) => format!("{}: {}", fault.code, fault.detail),
    }
}

#[test]
fn paths_are_relative_to_the_module_that_requires() {
    let files = [
        ("init.luau", "local a = require('./rules/vip') return function() return a end"),
        ("rules/vip.luau", "return { require('./sub'), require('../shared'), require('./sub/leaf') }"),
        ("rules/sub/init.luau", "return 'sub/' .. require('./leaf')"),
        ("rules/sub/leaf.lua", "return 'leaf'"),
        ("shared.luau", "return 'shared'"),
    ];

    assert_eq!(package(&files), r#"["sub/leaf","shared","leaf"]"#);
}

#[test]
fn a_module_is_loaded_once_for_an_execution_and_again_for_the_next() {
    let files = [
        ("init.luau", "local a = require('./a') a.n = a.n + 1 return function() return require('./a').n end"),
        ("a.luau", "loaded = (loaded or 0) + 1 return { n = loaded }"),
    ];

    at_desk(roomy(), |desk| {
        for _ in 0..2 {
            assert_eq!(run(desk, &files).outcome.unwrap().into_json(), b"2");
        }
    });
}

#[test]
fn a_module_may_be_required_late_and_from_anywhere() {
    let late = "return function() return require('./a') end";
    for source in [
        late,
        "return function() local _, value = pcall(require, './a') return value end",
        "return function() return coroutine.wrap(function() return require('./a') end)() end",
        "return function() return coroutine.wrap(require)('./a') end",
        "return function() local t = setmetatable({}, { __index = function(_, k) return require(k) end }) return t['./a'] end",
    ] {
        assert_eq!(package(&[("main.luau", source), ("a.luau", "return 5")]), "5", "{source}");
    }
}

#[test]
fn a_module_may_yield_while_it_loads() {
    let main = "return function()
        local co = coroutine.create(function() return require('./a') end)
        local _, waits = coroutine.resume(co)
        local _, busy = pcall(require, './a')
        local _, value = coroutine.resume(co)
        return { waits, busy, value, require('./a') }
    end";

    insta::assert_snapshot!(package(&[("main.luau", main), ("a.luau", "coroutine.yield('waits') return 5")]), @r#"["waits","require: `a.luau` has not finished loading: another task loads it",5,5]"#);
}

#[test]
fn a_circle_is_an_error_that_shows_it() {
    let files = [
        ("init.luau", "return function() return require('./a') end"),
        ("a.luau", "return require('./sub/b')"),
        ("sub/b.luau", "local here = 1\nreturn require('../a')"),
    ];
    insta::assert_snapshot!(package(&files), @"script_error: sub/b.luau:2: require: modules need each other in a circle: a.luau > sub/b.luau > a.luau");

    let entry = [
        ("init.luau", "local a = require('./a') return function() return a end"),
        ("a.luau", "return require('./init')"),
    ];
    insta::assert_snapshot!(package(&entry), @"script_error: a.luau:1: require: modules need each other in a circle: init.luau > a.luau > init.luau");
}

#[test]
fn a_module_returns_exactly_one_value() {
    let main = "return function()\n return require('./a') end";
    insta::assert_snapshot!(package(&[("init.luau", main), ("a.luau", "x = 1")]), @"script_error: init.luau:2: require: `a.luau` returns 0 values, a module returns exactly one");
    insta::assert_snapshot!(package(&[("init.luau", main), ("a.luau", "return 1, 2")]), @"script_error: init.luau:2: require: `a.luau` returns 2 values, a module returns exactly one");
    insta::assert_snapshot!(package(&[("init.luau", main), ("a.luau", "return nil")]), @"script_error: init.luau:2: require: `a.luau` returns nil, a module returns exactly one");
    assert_eq!(package(&[("init.luau", main), ("a.luau", "return false")]), "false");
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let main = |name: &str| format!("return function()\n return require({name}) end");
    let told = |name: &str| package(&[("init.luau", &main(name)), ("rules/vip.luau", "return 1")]);

    insta::assert_snapshot!(told("'./rules/vp'"), @"script_error: init.luau:2: require: `init.luau` finds no module `./rules/vp`; the package has init.luau, rules/vip.luau; `@moonswarm/*` has base64, hash, json, random, task, time");
    insta::assert_snapshot!(told("'../rules'"), @"script_error: init.luau:2: require: `../rules` leads out of the package; `@moonswarm/*` has base64, hash, json, random, task, time");
    insta::assert_snapshot!(told("'rules/vip'"), @"script_error: init.luau:2: require: `rules/vip` begins with none of `./`, `../` and `@moonswarm/`; `@moonswarm/*` has base64, hash, json, random, task, time");
    insta::assert_snapshot!(told("'@moonswarm/jsn'"), @"script_error: init.luau:2: require: there is no `@moonswarm/jsn`; `@moonswarm/*` has base64, hash, json, random, task, time");
    insta::assert_snapshot!(told("7"), @"script_error: init.luau:2: require: expected a string, got number");
    insta::assert_snapshot!(fault("return function()\n return require('./x') end", ""), @"script_error: rule.luau:2: require: there is no `./x`: this script is one file, only a folder, .zip or .tar has modules; `@moonswarm/*` has base64, hash, json, random, task, time");
}

#[test]
fn an_error_in_a_module_names_its_path_and_line() {
    let files = [
        ("init.luau", "local vip = require('./rules/vip') return function(input) return vip(input) end"),
        ("rules/vip.luau", "\n\nreturn function(input)\n  return input.a.b\nend"),
    ];

    at_desk(roomy(), |desk| {
        let fault = run(desk, &files).outcome.unwrap_err();
        insta::assert_snapshot!(fault, @"rules/vip.luau:4: attempt to index nil with 'b'");
        assert_eq!((fault.diagnostics[0].file.as_str(), fault.diagnostics[0].line), ("rules/vip.luau", 4));
    });
    let table = [("init.luau", "require('./a')"), ("a.luau", "\nerror({ message = 'no stock' })")];
    insta::assert_snapshot!(package(&table), @"script_error: a.luau:2: no stock");
}

#[test]
fn a_loop_in_a_module_ends_at_the_deadline_and_names_it() {
    let files = [("init.luau", "require('./a')"), ("a.luau", "\nwhile true do pcall(function() end) end")];
    let limits = sandbox::Limits { cpu: std::time::Duration::from_millis(50), ..roomy() };

    at_desk(limits, |desk| {
        let fault = run(desk, &files).outcome.unwrap_err();

        insta::assert_snapshot!(fault, @"`risk.tar` used more than 50 ms of CPU time");
        assert_eq!((fault.diagnostics[0].file.as_str(), fault.diagnostics[0].line), ("a.luau", 2));
    });
}

#[test]
fn memory_that_runs_out_while_a_module_is_loaded_is_told_as_such() {
    let table: String = (0..5_000).map(|index| format!("'text {index}',")).collect();
    let big = format!("return {{ {table} }}");
    let main = "local held = {}
        pcall(function() while true do held[#held + 1] = string.rep('x', 2000) .. #held end end)
        for _ = 1, 20 do held[#held] = nil end
        return require('./big')";

    at_desk(sandbox::Limits { memory_bytes: 4 << 20, ..roomy() }, |desk| {
        let fault = run(desk, &[("init.luau", main), ("big.luau", &big)]).outcome.unwrap_err();

        assert_eq!(fault.code, contract::Code::MemoryExceeded, "{fault}");
        desk.renew();
        assert_eq!(desk.answer("return function() return 1 end", ""), "1");
    });
}

#[test]
fn modules_share_the_globals_of_their_execution_and_no_other() {
    let files = [
        ("init.luau", "left = (left or 0) + 1 local seen = require('./a') return function() return seen end"),
        ("a.luau", "return { left, input == nil, type(loadstring), type(getfenv), _G.left }"),
    ];

    at_desk(roomy(), |desk| {
        for _ in 0..2 {
            assert_eq!(sorted(&run(desk, &files).outcome.unwrap().into_json()), r#"[1,false,"nil","nil",1]"#);
        }
    });
}

#[test]
fn scripts_of_one_vm_do_not_see_each_others_modules() {
    at_desk(roomy(), |desk| {
        let main = "return function() return (pcall(require, './secret')) end";
        let secret = [("init.luau", main), ("secret.luau", "return 'secret'")];

        assert_eq!(run(desk, &secret).outcome.unwrap().into_json(), b"true");
        assert_eq!(run(desk, &[("init.luau", main)]).outcome.unwrap().into_json(), b"false");
        assert_eq!(desk.answer(main, ""), "false");
    });
}

#[test]
fn many_executions_of_a_package_leave_no_memory_behind() {
    at_desk(roomy(), |desk| {
        let files: [(&str, &[u8]); 2] = [
            ("init.luau", b"local a = require('./a') return function() return #a end"),
            ("a.luau", b"return string.rep('x', 1e5)"),
        ];
        let program = compile("risk.tar", &tar(&files), &desk.limits).unwrap();

        for _ in 0..2_000 {
            assert_eq!(desk.run_program(&program, "").outcome.unwrap().into_json(), b"100000");
        }

        assert!(desk.vm.used_bytes() < 8 << 20, "{} bytes", desk.vm.used_bytes());
    });
}

#[test]
fn a_module_may_wait_while_it_loads() {
    let waits = "task.wait() return { 'waited' }";
    for main in [
        "local a = require('./a') return function() return a[1] end",
        "return function() return require('./a')[1] end",
        "return function()
            local thread = task.defer(function() return require('./b') end)
            repeat task.wait() until coroutine.status(thread) == 'dead'
            return require('./b')[1]
        end",
        "return function()
            local value
            task.spawn(function() value = require('./a')[1] end)
            repeat task.wait() until value
            return value
        end",
        "local b = require('./b') return { handle = function() return b[1] end }",
    ] {
        let files = [("init.luau", main), ("a.luau", waits), ("b.luau", "return require('./a')")];
        assert_eq!(package(&files), r#""waited""#, "{main}");
    }
}

#[test]
fn another_task_is_told_that_a_module_is_still_loading() {
    let main = "return function()
        task.spawn(require, './a')
        return { pcall(require, './a') }
    end";
    let told = package(&[("init.luau", main), ("a.luau", "task.wait() return 1")]);

    insta::assert_snapshot!(told, @r#"[false,"require: `a.luau` has not finished loading: another task loads it"]"#);
}

#[test]
fn a_module_that_failed_to_load_may_be_tried_again() {
    let files = [
        (
            "init.luau",
            "tries = 0
            return function(input)
                local first = pcall(require, './a')
                local second, value = pcall(require, './a')
                return { first, second, value, tries }
            end",
        ),
        ("a.luau", "tries += 1 if tries < 2 then error('not yet') end return 5"),
    ];
    assert_eq!(package(&files), "[false,true,5,2]");

    // The same with nothing caught, where the next execution finds what the former left.
    let files: [(&str, &[u8]); 3] = [
        ("init.luau", b"tries = 0 return function() return require('./a') end"),
        ("a.luau", b"tries += 1 local n = require('./b') if tries < 3 then error('not yet') end return n"),
        ("b.luau", b"if tries < 2 then task.wait() error('nor yet') end return tries"),
    ];
    at_desk(roomy(), |desk| {
        let program = compile("risk.tar", &tar(&files), &desk.limits).unwrap();
        let limits = desk.limits.clone();
        let call = Call { state: State::Tenant, ..call(&limits, "") };
        let mut run = || match desk.vm.run(&program, &call).outcome {
            Ok(value) => sorted(&value.into_json()),
            Err(fault) => fault.detail,
        };
        let told = [run(), run(), run(), run()];
        assert_eq!(told, ["b.luau:1: nor yet", "a.luau:1: not yet", "2", "2"]);
    });
}

#[test]
fn a_module_that_was_dropped_while_it_loads_does_not_stay_that_way() {
    let files: [(&str, &[u8]); 2] =
        [("init.luau", b"return function(input) return require('./a') end"), ("a.luau", b"task.wait(1) return 5")];
    at_desk(roomy(), |desk| {
        let program = compile("risk.tar", &tar(&files), &desk.limits).unwrap();
        let limits = desk.limits.clone();
        let call = Call { state: State::Tenant, ..call(&limits, "") };
        let Step::Waiting(waiting) = desk.vm.begin(&program, &call) else { panic!("it should wait") };
        let fault = desk.vm.run(&program, &call).outcome.unwrap_err();
        assert_eq!(fault.detail, "init.luau:1: require: `a.luau` has not finished loading: another task loads it");

        drop(waiting);
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            // Garbage, so that what was dropped is swept.
            desk.run("return function() for n = 1, 200 do local _ = string.rep('x', 10000) .. n end end", "");
            match desk.vm.run(&program, &call).outcome {
                Ok(value) => return assert_eq!(value.into_json(), b"5"),
                Err(fault) => assert!(Instant::now() < deadline, "{fault}"),
            }
        }
    });
}

#[test]
fn a_function_that_a_loading_module_calls_can_not_load_it_again() {
    let main = "function again() return require('./a') end return function() return require('./a') end";
    insta::assert_snapshot!(package(&[("init.luau", main), ("a.luau", "return again()")]), @"script_error: init.luau:1: require: `a.luau` has not finished loading: another task loads it");
}

#[test]
fn modules_stay_loaded_where_the_chunk_does() {
    let main = "load_late = require return function() require = nil local a = load_late('./a') a.n += 1 return a.n end";
    let files = [("init.luau", main), ("a.luau", "return { n = 0 }")];
    let founding =
        [("init.luau", "local a = require('./a') a.n += 1 require = nil result = { output = a.n }"), files[1]];

    at_desk(roomy(), |desk| {
        for (files, state, expected) in [
            (&files, State::Fresh, ["1", "1", "1"]),
            (&files, State::Pooled, ["1", "2", "3"]),
            (&files, State::Tenant, ["1", "2", "3"]),
            // The first execution of a founding script has its own `require`, the next ones that of the instance.
            (&founding, State::Pooled, [r#"{"output":1}"#, r#"{"output":1}"#, r#"{"output":2}"#]),
        ] {
            let files: Vec<(&str, &[u8])> = files.iter().map(|(path, source)| (*path, source.as_bytes())).collect();
            let program = compile("risk.tar", &tar(&files), &desk.limits).unwrap();
            let limits = desk.limits.clone();
            let version = format!("{state:?} {expected:?}");
            let call = Call { state, version: &version, ..call(&limits, "") };
            for expected in expected {
                assert_eq!(sorted(&desk.vm.run(&program, &call).outcome.unwrap().into_json()), expected, "{version}");
            }
        }
    });
}

#[test]
fn members_of_ctx_can_be_required_by_who_has_their_capability() {
    let source = "return function(_, ctx)
        local told = {}
        for i, name in { 'hash', 'random', 'time' } do
            local ok, found = pcall(require, '@moonswarm/' .. name)
            told[i] = if ok then found == ctx[name] and table.isfrozen(found) else found
        end
        return told
    end";
    at_desk(roomy(), |desk| {
        let (program, limits) = (desk.compile(source), desk.limits.clone());
        let mut told = |grants: &Grants| {
            let call = Call { grants, ..call(&limits, "") };
            sorted(&desk.vm.run(&program, &call).outcome.unwrap().into_json())
        };

        assert_eq!(told(&Grants::HARMLESS), "[true,true,true]");
        insta::assert_snapshot!(told(&Grants::NONE.with(Capability::Time)), @r#"["require: this script does not have the capability \"hash\"","require: this script does not have the capability \"random\"",true]"#);
    });
}

#[test]
fn the_tables_of_the_sandbox_are_read_only_and_the_same_everywhere() {
    at_desk(roomy(), |desk| {
        assert_eq!(desk.value("require('@moonswarm/task') == task"), "true");
        assert_eq!(desk.value("require('@moonswarm/json') == json"), "true");
        assert_eq!(desk.value("table.isfrozen(require('@moonswarm/base64'))"), "true");
        assert_eq!(desk.value("(pcall(function() require('@moonswarm/json').encode = nil end))"), "false");
    });
}

#[test]
fn json_goes_both_ways_under_a_budget() {
    at_desk(roomy(), |desk| {
        for (expression, expected) in [
            (r#"json.encode({ a = { 1, 2.5, "x" } })"#, r#""{\"a\":[1,2.5,\"x\"]}""#),
            ("json.encode(nil)", "\"null\""),
            ("json.encode({ json.null, json.array() })", "\"[null,[]]\""),
            (r#"json.decode('{"a":[1,null,3],"b":null}')"#, r#"{"a":[1,null,3]}"#),
            ("json.decode('[]')", "[]"),
            ("json.decode('null') == nil", "true"),
            (
                "select(2, pcall(json.encode, print))",
                "\"json.encode: value is a function, which JSON has no form for\"",
            ),
            (
                "select(2, pcall(json.encode, { a = { 0 / 0 } }))",
                "\"json.encode: value.a[1] is NaN, which JSON has no form for\"",
            ),
            ("select(2, pcall(json.decode, '{'))", "\"json.decode: EOF while parsing an object at line 1 column 1\""),
            ("select(2, pcall(json.decode, ''))", "\"json.decode: the string is empty\""),
            ("select(2, pcall(json.decode, 7))", "\"json.decode: expected a string, got number\""),
            ("select(2, pcall(json.decode, ('['):rep(100)))", "\"json.decode: nested too deeply at line 1 column 65\""),
            (
                "select(2, pcall(json.decode, ('x'):rep(3e5)))",
                "\"json.decode: the string has 300000 bytes, the limit is 256 KiB\"",
            ),
            ("select(2, pcall(json.encode, ('x'):rep(3e5)))", "\"json.encode: value is more than 256 KiB of JSON\""),
            (
                "select(2, pcall(json.encode, table.create(20000, 1)))",
                "\"json.encode: value has more than 10000 values\"",
            ),
        ] {
            assert_eq!(desk.value(expression), expected, "{expression}");
        }
    });
    let bomb = "return function() local t = { 1 } for _ = 1, 40 do t = { t, t } end return json.encode(t) end";
    insta::assert_snapshot!(fault(bomb, ""), @"script_error: rule.luau:1: json.encode: value has more than 10000 values");
    insta::assert_snapshot!(answer("return function() local t = {} t.t = t return select(2, pcall(json.encode, t)) end", ""), @r#""json.encode: value is nested deeper than 64""#);
}

#[test]
fn base64_goes_both_ways() {
    at_desk(roomy(), |desk| {
        for (expression, expected) in [
            ("require('@moonswarm/base64').encode('hello')", "\"aGVsbG8=\""),
            ("require('@moonswarm/base64').decode('aGVsbG8=')", "\"hello\""),
            ("select(2, pcall(require('@moonswarm/base64').decode, 'a'))", "\"base64.decode: invalid length at 0\""),
            (
                "select(2, pcall(require('@moonswarm/base64').encode, nil))",
                "\"base64.encode: expected a string, got nil\"",
            ),
            (
                "select(2, pcall(require('@moonswarm/base64').encode, ('x'):rep(3e5)))",
                "\"base64.encode: the string has 300000 bytes, the limit is 256 KiB\"",
            ),
        ] {
            assert_eq!(desk.value(expression), expected, "{expression}");
        }
    });
}
