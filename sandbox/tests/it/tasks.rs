//! `task`, and coroutines that scripts resume themselves.

use std::time::Duration;

use contract::Code;
use sandbox::Limits;

use crate::{answer, at_desk, roomy};

#[test]
fn a_spawned_task_runs_at_once_and_a_deferred_one_when_main_waits() {
    let source = "return function()
        local order = {}
        task.spawn(function(x) table.insert(order, x) end, 'spawned')
        task.defer(function(x, y) table.insert(order, x .. y) end, 'deferred', 1)
        table.insert(order, 'main')
        task.wait()
        table.insert(order, 'after')
        return order
    end";

    assert_eq!(answer(source, ""), r#"["spawned","main","deferred1","after"]"#);
}

#[test]
fn deferred_tasks_still_run_when_main_has_returned_and_sleepers_do_not() {
    at_desk(roomy(), |desk| {
        let source = "return function()
            task.defer(print, 'deferred')
            task.delay(0.05, print, 'delayed')
            task.spawn(function() task.wait(60) print('slept') end)
            return 1
        end";
        let execution = desk.run(source, "");

        assert_eq!(execution.outcome.unwrap().into_json(), b"1");
        assert_eq!(execution.log.iter().map(|line| line.message.as_str()).collect::<Vec<_>>(), ["deferred"]);
        assert!(execution.wall < Duration::from_secs(30), "{:?}", execution.wall);
    });
}

#[test]
fn sleepers_wake_in_the_order_of_their_times() {
    let source = "return function()
        local order = {}
        for _, delay in { 0.3, 0.1, 0.2, 0.1 } do
            task.delay(delay, table.insert, order, delay)
        end
        local slept = task.wait(0.4)
        table.insert(order, slept >= 0.4)
        return order
    end";

    assert_eq!(answer(source, ""), "[0.1,0.1,0.2,0.3,true]");
}

#[test]
fn a_wait_in_a_coroutine_gives_way_to_who_resumed_it() {
    let source = "return function()
        local order = {}
        local work = coroutine.wrap(function() task.wait(0.05) table.insert(order, 'inside') end)
        work()
        table.insert(order, 'outside')
        task.wait(0.2)
        return order
    end";

    assert_eq!(answer(source, ""), r#"["outside","inside"]"#);
}

#[test]
fn waits_are_not_shorter_than_their_least() {
    for seconds in ["", "0", "-1", "0 / 0", "0.05"] {
        let source = format!("return function() return task.wait({seconds}) >= 0.05 end");
        assert_eq!(answer(&source, ""), "true", "{seconds}");
    }
}

#[test]
fn a_cancelled_task_does_not_go_on() {
    let source = "return function()
        local ran = {}
        local sleeper = task.delay(0.05, function() table.insert(ran, 'sleeper') end)
        local deferred = task.defer(function() table.insert(ran, 'deferred') end)
        local waiter = task.spawn(function() task.wait() table.insert(ran, 'waiter') end)
        for _, thread in { sleeper, deferred, waiter } do task.cancel(thread) end
        task.wait(0.2)
        return { #ran, coroutine.status(waiter) }
    end";

    assert_eq!(answer(source, ""), r#"[0,"dead"]"#);
}

#[test]
fn a_task_may_resume_a_coroutine_that_yielded() {
    let source = "return function()
        local main = coroutine.running()
        task.delay(0.05, function() task.spawn(main, 'woken', 7) end)
        return { coroutine.yield() }
    end";

    // `task.spawn` would run it inside the task; the answer of main is the host's to take.
    at_desk(roomy(), |desk| {
        assert_eq!(desk.fault(source, "").code, Code::ScriptError);
        let deferred = source.replace("task.spawn(main", "task.defer(main");
        assert_eq!(desk.answer(&deferred, ""), r#"["woken",7]"#);
    });
}

#[test]
fn an_error_in_a_task_is_logged_with_its_line_and_ends_only_the_task() {
    at_desk(roomy(), |desk| {
        let source = "return function()
            task.spawn(function()
                local x = nil + 1
            end)
            task.defer(function()
                error({ message = 'no stock' })
            end)
            task.defer(error, {})
            task.wait()
            return 'fine'
        end";
        let execution = desk.run(source, "");

        assert_eq!(execution.outcome.unwrap().into_json(), br#""fine""#);
        let log: Vec<_> =
            execution.log.iter().map(|line| format!("{}: {}", line.level.as_str(), line.message)).collect();
        insta::assert_snapshot!(log.join("\n"), @r"
        error: a task failed: rule.luau:3: attempt to perform arithmetic (add) on nil and number
        error: a task failed: line 6: no stock
        error: a task failed: raised a table
        ");
    });
}

#[test]
fn tasks_of_an_execution_are_bounded() {
    at_desk(roomy(), |desk| {
        for spawn in ["task.delay(60, print)", "task.defer(print)", "task.spawn(task.wait, 60)"] {
            let source = format!("return function()\n  for i = 1, 1001 do {spawn} end\nend");
            let execution = desk.run(&source, "");
            let last = execution.log.iter().rev().find(|line| line.message.contains("task failed"));
            let text = match execution.outcome {
                Err(fault) => fault.detail,
                Ok(_) => last.map(|line| line.message.clone()).unwrap_or_default(),
            };
            assert!(text.ends_with("more than 1000 tasks wait or are ready"), "{spawn}: {text}");
        }
    });
}

#[test]
fn misuse_is_told_at_the_scripts_line() {
    at_desk(roomy(), |desk| {
        for (body, message) in [
            ("task.spawn(1)", "invalid argument #1 to 'spawn' (function or coroutine expected, got number)"),
            ("task.wait('1')", "invalid argument #1 to 'wait' (number expected, got string)"),
            ("task.delay({}, print)", "invalid argument #1 to 'delay' (number expected, got table)"),
            ("task.cancel(print)", "invalid argument #1 to 'cancel' (coroutine expected, got function)"),
            (
                "task.cancel(coroutine.running())",
                "task.cancel: the coroutine is running, only one that waits can be cancelled",
            ),
            (
                "task.defer(coroutine.running())",
                "task.defer: the coroutine is running, only a suspended one can be resumed",
            ),
        ] {
            let fault = desk.fault(&format!("return function()\n  {body}\nend"), "");
            assert_eq!(fault.detail, format!("rule.luau:2: {message}"));
        }
    });
}

#[test]
fn coroutines_behave_like_luaus_own() {
    at_desk(roomy(), |desk| {
        for (expression, expected) in [
            (
                "{ coroutine.resume(coroutine.create(function(...) return select('#', ...), ... end), 1, nil, 3) }",
                "[true,3,1,null,3]",
            ),
            ("{ coroutine.wrap(function(a) local b = coroutine.yield(a + 1) return b end)(1) }", "[2]"),
            ("{ coroutine.resume(coroutine.create(function() error('x', 0) end)) }", r#"[false,"x"]"#),
            ("{ pcall(coroutine.wrap(function() error({ code = 7 }) end)) }", r#"[false,{"code":7}]"#),
            (
                "(function() local n = 0 for i in coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end) do n += i end return n end)()",
                "6",
            ),
            ("coroutine.isyieldable()", "true"),
        ] {
            assert_eq!(desk.value(expression), expected, "{expression}");
        }
    });
}

#[test]
fn memory_that_ran_out_in_a_coroutine_is_told_as_such() {
    at_desk(roomy(), |desk| {
        let bomb = "local t = {} while true do t[#t + 1] = { t } end";
        for body in [
            format!("coroutine.wrap(function() {bomb} end)()"),
            format!("coroutine.resume(coroutine.create(function() {bomb} end))"),
            format!("coroutine.wrap(function() coroutine.wrap(function() {bomb} end)() end)()"),
            format!("task.spawn(function() {bomb} end)"),
            format!("task.defer(function() {bomb} end)"),
            format!("task.delay(0, function() {bomb} end) task.wait(1)"),
        ] {
            let fault = desk.fault(&format!("return function() {body} end"), "");

            assert_eq!(fault.code, Code::MemoryExceeded, "{body}: {fault}");
            assert!(!desk.vm.is_usable(), "{body}");
            desk.renew();
        }
    });
}

#[test]
fn a_deadline_stops_every_task_and_no_script_code_runs_after_it() {
    let limits = Limits { cpu: Duration::from_millis(20), ..roomy() };
    at_desk(limits, |desk| {
        for body in [
            "task.defer(function() while true do end end)",
            "task.spawn(function() while true do pcall(task.spawn, function() while true do end end) end end)",
            "local function again() task.defer(again) end again()",
            "coroutine.wrap(function() coroutine.wrap(function() while true do end end)() end)()",
            "task.delay(0, function() while true do end end) task.wait(1)",
        ] {
            let source = format!(
                "return function() task.delay(0.05, print, 'later') task.defer(function() {body} end)
                 for i = 1, 9 do task.defer(print, 'ready') end task.wait(1) end"
            );
            let execution = desk.run(&source, "");

            let fault = execution.outcome.unwrap_err();
            assert_eq!(fault.code, Code::DeadlineExceeded, "{body}: {fault}");
            assert!(execution.log.iter().all(|line| line.message != "later" || body.contains("delay")), "{body}");
            desk.renew();
        }
    });
}

#[test]
fn a_deadline_in_a_task_names_the_line_of_the_task() {
    at_desk(Limits { cpu: Duration::from_millis(20), ..roomy() }, |desk| {
        let fault = desk.fault("return function()\n  task.defer(function()\n    while true do end\n  end)\nend", "");

        insta::assert_snapshot!(fault.diagnostics[0], @"rule.luau:3: was here when its time ran out");
    });
}
