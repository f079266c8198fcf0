//! Executions that wait: what the host is told, and what each has for itself meanwhile.

use std::time::{Duration, Instant};

use contract::Code;
use sandbox::{Answer, Call, Capability, Limits, State, Step};

use crate::{Desk, at_desk, call, ended, execution, roomy, waiting};

/// Asks `echo` for the input and answers what comes back.
const ECHO: &str = "return function(input, ctx) return { got = ctx.run('echo', input) } end";

fn begin(desk: &mut Desk, source: &str, input: &str) -> Step {
    let (program, limits) = (desk.compile(source), desk.limits.clone());
    desk.vm.begin(&program, &call(&limits, input))
}

fn value(id: u32, json: &str) -> Vec<Answer> {
    vec![Answer { id, outcome: Ok(json.into()) }]
}

#[test]
fn an_execution_asks_waits_and_goes_on_with_the_answer() {
    at_desk(roomy(), |desk| {
        let waits = waiting(begin(desk, ECHO, r#"{"n":1}"#));
        assert_eq!(desk.vm.waiting(), 1);
        assert_eq!(waits.wake_at, None);
        let [ask] = waits.asks.as_slice() else { panic!("{:?}", waits.asks) };
        assert_eq!((ask.id, ask.capability), (1, Capability::Run));
        assert_eq!(crate::sorted(&ask.payload), r#"{"input":{"n":1},"script":"echo"}"#);

        let step = desk.vm.resume(waits.run, value(1, r#"[1,{"x":null}]"#));

        assert_eq!(ended(step), r#"{"got":[1,{}]}"#);
        assert_eq!(desk.vm.waiting(), 0);
    });
}

#[test]
fn a_refusal_is_raised_where_the_script_asked() {
    at_desk(roomy(), |desk| {
        let waits = waiting(begin(desk, "return function(_, ctx)\n  return ctx.run('gone')\nend", ""));

        let refused = vec![Answer { id: 1, outcome: Err("there is no script `gone`".to_owned()) }];
        let fault = execution(desk.vm.resume(waits.run, refused)).outcome.unwrap_err();

        assert_eq!(fault.code, Code::ScriptError);
        insta::assert_snapshot!(fault.detail, @"rule.luau:2: there is no script `gone`");
        assert!(desk.vm.is_usable());
    });
}

#[test]
fn an_answer_that_is_no_json_or_too_long_is_a_refusal() {
    at_desk(Limits { input_bytes: 10, ..roomy() }, |desk| {
        let source = "return function(_, ctx) return select(2, pcall(ctx.run, 'x')) end";
        let mut answered = |json| {
            let waits = waiting(begin(desk, source, ""));
            ended(desk.vm.resume(waits.run, value(1, json)))
        };

        insta::assert_snapshot!(answered("{"), @r#""the answer is not usable JSON: EOF while parsing an object at line 1 column 1""#);
        insta::assert_snapshot!(answered("\"0123456789\""), @r#""the answer has 12 bytes, the limit is 10 bytes""#);
    });
}

#[test]
fn executions_of_a_vm_interleave_and_keep_to_themselves() {
    at_desk(roomy(), |desk| {
        let source = "who = input.who
            return function(input, ctx)
                ctx.log.info('one', who)
                local first = ctx.run('a')
                ctx.log.info('two', who)
                local second = ctx.run('b')
                return { who, input.who, first, second, ctx.execution_id }
            end";
        let (program, limits) = (desk.compile(source), desk.limits.clone());
        let start = |desk: &mut Desk, who: &'static str| {
            let input = format!(r#"{{"who":"{who}"}}"#);
            waiting(desk.vm.begin(&program, &Call { execution_id: who, ..call(&limits, &input) }))
        };
        let (ada, ben) = (start(desk, "ada"), start(desk, "ben"));
        assert_eq!(desk.vm.waiting(), 2);

        let ben = waiting(desk.vm.resume(ben.run, value(1, "1")));
        let ada = waiting(desk.vm.resume(ada.run, value(1, "2")));
        assert_eq!(ada.asks[0].id, 2);
        let ada = execution(desk.vm.resume(ada.run, value(2, "3")));
        let ben = execution(desk.vm.resume(ben.run, value(2, "4")));

        let lines = |lines: &[sandbox::LogLine]| lines.iter().map(|line| line.message.clone()).collect::<Vec<_>>();
        assert_eq!(lines(&ada.log), ["one\tada", "two\tada"]);
        assert_eq!(lines(&ben.log), ["one\tben", "two\tben"]);
        assert_eq!(ada.outcome.unwrap().into_json(), br#"["ada","ada",2,3,"ada"]"#);
        assert_eq!(ben.outcome.unwrap().into_json(), br#"["ben","ben",1,4,"ben"]"#);
    });
}

#[test]
fn a_chunk_may_wait_before_it_returns_its_handler() {
    at_desk(roomy(), |desk| {
        let source = "task.wait() local loaded = true
            return function(input, ctx) return { loaded, input, ctx.script } end";
        assert_eq!(desk.answer(source, "7"), r#"[true,7,"rule"]"#);

        assert_eq!(desk.answer("task.wait() result = { output = input }", "8"), r#"{"output":8}"#);
    });
}

#[test]
fn wall_time_goes_on_while_an_execution_waits() {
    at_desk(Limits { wall: Duration::from_millis(20), ..roomy() }, |desk| {
        let waits = waiting(begin(desk, ECHO, ""));
        while Instant::now() < waits.run.ends() {
            std::thread::yield_now();
        }

        let fault = execution(desk.vm.resume(waits.run, value(1, "1"))).outcome.unwrap_err();

        assert_eq!(fault.code, Code::DeadlineExceeded);
        insta::assert_snapshot!(fault.detail, @"`rule.luau` ran longer than 20 ms");
        assert!(desk.vm.is_usable(), "nothing ran");
        assert_eq!(desk.vm.waiting(), 0);
    });
}

#[test]
fn a_wait_beyond_the_wall_time_is_cut_there() {
    at_desk(Limits { wall: Duration::from_millis(120), ..roomy() }, |desk| {
        let waits = waiting(begin(desk, "return function() task.wait(3600) end", ""));
        assert_eq!(waits.wake_at, Some(waits.run.ends()));
        drop(waits);

        let fault = desk.fault("return function() task.wait(3600) end", "");

        assert_eq!(fault.code, Code::DeadlineExceeded);
    });
}

#[test]
fn cpu_time_adds_up_over_steps() {
    at_desk(Limits { cpu: Duration::from_millis(20), wall: Duration::from_secs(30), ..Limits::default() }, |desk| {
        let source = "return function(_, ctx)
            while true do
                local start = os.clock()
                while os.clock() - start < 0.002 do end
                ctx.run('again')
            end
        end";
        let mut step = begin(desk, source, "");
        let mut steps = 0;
        let fault = loop {
            match step {
                Step::Ended(execution) => break execution.outcome.unwrap_err(),
                Step::Waiting(waits) => {
                    steps += 1;
                    assert!(steps < 5000, "the steps use 2 ms each and count for nothing");
                    let id = waits.asks[0].id;
                    step = desk.vm.resume(waits.run, value(id, "1"));
                }
            }
        };

        assert_eq!(fault.code, Code::DeadlineExceeded);
        insta::assert_snapshot!(fault.detail, @"`rule.luau` used more than 20 ms of CPU time");
        assert!(steps > 1, "{steps}");
    });
}

#[test]
fn a_cancelled_execution_ends_with_its_log() {
    at_desk(roomy(), |desk| {
        let waits = waiting(begin(desk, "return function(_, ctx) print('here') ctx.run('x') end", ""));

        let execution = desk.vm.cancel(waits.run);

        let fault = execution.outcome.unwrap_err();
        assert_eq!(fault.code, Code::Cancelled);
        insta::assert_snapshot!(fault.detail, @"`rule.luau` was cancelled while it waited");
        assert_eq!(execution.log[0].message, "here");
        assert_eq!(desk.vm.waiting(), 0);
    });
}

#[test]
fn a_dropped_run_gives_its_memory_back() {
    at_desk(roomy(), |desk| {
        let source = "return function(_, ctx) local t = {} for i = 1, 20 do t[i] = ('x'):rep(1e5) .. i end ctx.run('x') return #t end";
        for _ in 0..50 {
            drop(waiting(begin(desk, source, "")));
        }

        assert_eq!(desk.value("1"), "1");

        assert_eq!(desk.vm.waiting(), 0);
        assert!(desk.vm.used_bytes() < 6 << 20, "{} bytes", desk.vm.used_bytes());
    });
}

#[test]
fn nothing_is_left_in_a_vm_whatever_becomes_of_its_executions() {
    at_desk(roomy(), |desk| {
        let source = "local kept = ('x'):rep(1000) .. input
            return function(input, ctx)
                task.delay(60, print, kept)
                task.defer(function() ctx.run('a') error('late') end)
                local got = ctx.run('b', { kept, input })
                if got == 3 then error('three') end
                return coroutine.wrap(function() return got end)()
            end";
        let (program, limits) = (desk.compile(source), desk.limits.clone());
        let states = [State::Fresh, State::Pooled];
        let mut after_warming_up = 0;
        for round in 0..4000_usize {
            let input = round.to_string();
            let call = Call { state: states[round / 5 % 2], ..call(&limits, &input) };
            let waits = waiting(desk.vm.begin(&program, &call));
            match round % 5 {
                0 => drop(waits),
                1 => drop(desk.vm.cancel(waits.run)),
                end => {
                    assert_eq!(waits.asks.len(), 2);
                    let waits = waiting(desk.vm.resume(waits.run, value(2, "1")));
                    let answered = value(1, &end.to_string());
                    assert_eq!(execution(desk.vm.resume(waits.run, answered)).outcome.is_err(), end == 3);
                }
            }
            if round == 1000 {
                after_warming_up = desk.vm.used_bytes();
            }
        }
        let used = desk.vm.used_bytes();
        assert_eq!(desk.vm.waiting(), 0);
        assert!(used < after_warming_up + (1 << 20), "{after_warming_up} bytes, then {used}");
    });
}

#[test]
fn a_run_may_outlive_its_vm_and_belongs_to_no_other() {
    at_desk(roomy(), |desk| {
        let waits = waiting(begin(desk, ECHO, ""));
        desk.renew();

        let fault = execution(desk.vm.resume(waits.run, value(1, "1"))).outcome.unwrap_err();

        assert_eq!(fault.code, Code::Internal);
        assert!(desk.vm.is_usable());
    });
}

#[test]
fn a_hurt_vm_takes_no_new_executions_but_those_that_wait_may_end() {
    at_desk(Limits { cpu: Duration::from_millis(20), ..roomy() }, |desk| {
        let waits = waiting(begin(desk, ECHO, ""));
        assert_eq!(desk.fault("while true do end", "").code, Code::DeadlineExceeded);
        assert!(!desk.vm.is_usable());

        assert_eq!(desk.fault("return function() end", "").code, Code::Internal);
        assert_eq!(ended(desk.vm.resume(waits.run, value(1, "1"))), r#"{"got":1}"#);
        assert_eq!(desk.vm.waiting(), 0);
    });
}

#[test]
fn memory_that_one_execution_ran_out_of_is_there_again_for_those_that_wait() {
    at_desk(roomy(), |desk| {
        let source = "return function(_, ctx) local got = ctx.run('x') return #('x'):rep(12e6) + got end";
        for bomb in ["local t = {} while true do t[#t + 1] = { t } end", "('x'):rep(1e9)"] {
            let waits = waiting(begin(desk, source, ""));
            let fault = desk.fault(&format!("return function() {bomb} end"), "");
            assert_eq!(fault.code, Code::MemoryExceeded, "{bomb}");

            assert_eq!(ended(desk.vm.resume(waits.run, value(1, "1"))), "12000001", "{bomb}");
            desk.renew();
        }
    });
}

#[test]
fn answers_to_nothing_are_ignored_and_wake_nobody() {
    at_desk(roomy(), |desk| {
        let waits = waiting(begin(desk, ECHO, ""));

        let waits = waiting(desk.vm.resume(waits.run, value(7, "1")));

        assert!(waits.asks.is_empty());
        assert_eq!(ended(desk.vm.resume(waits.run, value(1, "2"))), r#"{"got":2}"#);
    });
}

#[test]
fn a_main_coroutine_that_nothing_can_resume_is_a_fault() {
    at_desk(roomy(), |desk| {
        for source in ["return function()\n  coroutine.yield()\nend", "coroutine.running()\ncoroutine.yield(1)"] {
            let fault = desk.fault(source, "");

            assert_eq!(fault.code, Code::ScriptError);
            assert_eq!(
                fault.detail,
                "rule.luau:2: the script waits for nothing: its main coroutine yielded, and no task, wait or call is there \
                 to resume it"
            );
        }
        assert!(desk.vm.is_usable());
    });
}

#[test]
fn a_script_that_takes_its_main_coroutine_away_loses_its_answer() {
    at_desk(roomy(), |desk| {
        for theft in ["coroutine.close(main)", "task.cancel(main)", "coroutine.resume(main)"] {
            let source = format!(
                "return function() local main = coroutine.running() task.defer(function() {theft} end) task.wait(1) end"
            );
            let fault = desk.fault(&source, "");

            assert_eq!(fault.code, Code::ScriptError, "{theft}");
            assert!(fault.detail.ends_with("so its answer is lost"), "{theft}: {fault}");
            assert!(desk.vm.is_usable());
        }
    });
}

#[test]
fn a_main_coroutine_that_was_kept_is_of_no_use_to_the_next_execution() {
    at_desk(roomy(), |desk| {
        let (program, limits) = (
            desk.compile(
                "local main = _G.main _G.main = coroutine.running()
                 return function() return { main == nil, main ~= nil and coroutine.status(main), main == coroutine.running() } end",
            ),
            desk.limits.clone(),
        );
        let call = Call { state: State::Tenant, ..call(&limits, "") };
        for _ in 0..3 {
            let answer = desk.vm.run(&program, &call).outcome.unwrap().into_json();
            assert_eq!(answer, b"[true,false,false]");
        }
        let other = desk.value("coroutine.status(coroutine.running())");
        assert_eq!(other, r#""running""#);
    });
}

#[test]
fn waiting_where_luau_cannot_yield_is_a_clear_error() {
    at_desk(roomy(), |desk| {
        let source = "return function(_, ctx)
            local t = { 2, 1 }
            return select(2, pcall(table.sort, t, function() ctx.run('x') end))
        end";

        insta::assert_snapshot!(
            desk.answer(source, ""),
            @r#""rule.luau:3: ctx.run cannot wait here, inside a function that a library or a metamethod called""#
        );
    });
}

#[test]
fn a_host_that_answers_at_once_needs_no_steps() {
    at_desk(roomy(), |desk| {
        let (program, limits) = (desk.compile(ECHO), desk.limits.clone());
        let mut host = |ask: sandbox::Ask| Ok(ask.payload);

        let execution = desk.vm.run_with(&program, &call(&limits, "5"), &mut host);

        assert_eq!(crate::sorted(&execution.outcome.unwrap().into_json()), r#"{"got":{"input":5,"script":"echo"}}"#);
        insta::assert_snapshot!(desk.fault(ECHO, "").detail, @"rule.luau:1: `run` is not available here");
    });
}

#[test]
fn random_numbers_of_executions_that_interleave_are_not_one_sequence() {
    at_desk(roomy(), |desk| {
        let source = "return function(_, ctx) math.randomseed(7) ctx.run('x') return math.random() end";
        let first = waiting(begin(desk, source, ""));
        let first = ended(desk.vm.resume(first.run, value(1, "1")));
        let second = waiting(begin(desk, source, ""));

        assert_ne!(ended(desk.vm.resume(second.run, value(1, "1"))), first);
    });
}
