//! What stays of a script between executions, in each mode.

use contract::Code;
use sandbox::{Answer, Call, Entry, Program, State};

use crate::{Desk, at_desk, call, ended, roomy, waiting};

/// Counts in a global, in a local of the chunk, and the runs of the chunk.
const COUNTER: &str = "
    loaded = (loaded or 0) + 1
    global = 0
    local upvalue = 0
    return function(input)
        global += 1
        upvalue += 1
        local seen = stray
        stray = 'left'
        return { loaded, global, upvalue, seen or 'clean' }
    end";

fn run(desk: &mut Desk, program: &Program, state: State) -> String {
    run_version(desk, program, state, "v1")
}

fn run_version(desk: &mut Desk, program: &Program, state: State, version: &str) -> String {
    let limits = desk.limits.clone();
    let call = Call { state, version, ..call(&limits, "5") };
    crate::sorted(&desk.vm.run(program, &call).outcome.unwrap().into_json())
}

#[test]
fn fresh_keeps_nothing() {
    at_desk(roomy(), |desk| {
        let program = desk.compile(COUNTER);
        for _ in 0..3 {
            assert_eq!(run(desk, &program, State::Fresh), r#"[1,1,1,"clean"]"#);
        }
    });
}

#[test]
fn pooled_keeps_the_chunk_and_its_locals_but_no_globals() {
    at_desk(roomy(), |desk| {
        let program = desk.compile(COUNTER);
        for count in 1..=3 {
            assert_eq!(run(desk, &program, State::Pooled), format!(r#"[1,1,{count},"clean"]"#));
        }
    });
}

#[test]
fn tenant_keeps_everything_until_another_version_comes() {
    at_desk(roomy(), |desk| {
        let program = desk.compile(COUNTER);
        assert_eq!(run(desk, &program, State::Tenant), r#"[1,1,1,"clean"]"#);
        assert_eq!(run(desk, &program, State::Tenant), r#"[1,2,2,"left"]"#);

        assert_eq!(run_version(desk, &program, State::Tenant, "v2"), r#"[1,1,1,"clean"]"#);
        assert_eq!(run_version(desk, &program, State::Tenant, "v1"), r#"[1,1,1,"clean"]"#);
    });
}

#[test]
fn what_is_kept_goes_with_the_vm_and_belongs_to_one_script() {
    at_desk(roomy(), |desk| {
        let program = desk.compile(COUNTER);
        run(desk, &program, State::Tenant);
        let limits = desk.limits.clone();
        let other = Call { state: State::Tenant, script: "other", ..call(&limits, "") };
        assert_eq!(desk.vm.run(&program, &other).outcome.unwrap().into_json(), br#"[1,1,1,"clean"]"#);

        desk.renew();

        assert_eq!(run(desk, &program, State::Tenant), r#"[1,1,1,"clean"]"#);
    });
}

#[test]
fn the_founding_form_runs_each_time_in_what_was_kept() {
    at_desk(roomy(), |desk| {
        let program = desk.compile("count = (count or 0) + 1 result = { count, input, result == nil }");
        let runs = |desk: &mut Desk, state| [run(desk, &program, state), run(desk, &program, state)];

        assert_eq!(runs(desk, State::Tenant), ["[1,5,true]", "[2,5,true]"]);
        assert_eq!(runs(desk, State::Pooled), ["[1,5,true]", "[1,5,true]"]);
    });
}

#[test]
fn a_pooled_instance_is_dropped_after_a_fault() {
    at_desk(roomy(), |desk| {
        let program = desk.compile("local n = 0 return function() n += 1 if n == 2 then error('two') end return n end");
        let limits = desk.limits.clone();
        let call = Call { state: State::Pooled, ..call(&limits, "") };
        let mut next = || desk.vm.run(&program, &call).outcome.map(|outcome| outcome.into_json());

        assert_eq!(next().unwrap(), b"1");
        assert_eq!(next().unwrap_err().code, Code::ScriptError);
        assert_eq!(next().unwrap(), b"1");
    });
}

#[test]
fn pooled_executions_that_wait_do_not_share_an_instance() {
    at_desk(roomy(), |desk| {
        let source =
            "local n = 0 return function(_, ctx) mine = ctx.execution_id n += 1 ctx.run('x') return { mine, n } end";
        let (program, limits) = (desk.compile(source), desk.limits.clone());
        let start = |desk: &mut Desk, execution_id| {
            let call = Call { state: State::Pooled, execution_id, ..call(&limits, "") };
            waiting(desk.vm.begin(&program, &call)).run
        };
        let answer = || vec![Answer { id: 1, outcome: Ok(b"1".to_vec()) }];
        for count in 1..=2 {
            let (ada, ben) = (start(desk, "ada"), start(desk, "ben"));
            assert_eq!(ended(desk.vm.resume(ada, answer())), format!(r#"["ada",{count}]"#));
            assert_eq!(ended(desk.vm.resume(ben, answer())), format!(r#"["ben",{count}]"#));
        }
    });
}

#[test]
fn tenant_executions_that_wait_share_their_globals() {
    at_desk(roomy(), |desk| {
        let source =
            "return function(_, ctx) mine = ctx.execution_id ctx.run('x') return { mine, ctx.execution_id } end";
        let (program, limits) = (desk.compile(source), desk.limits.clone());
        let start = |desk: &mut Desk, execution_id| {
            let call = Call { state: State::Tenant, execution_id, ..call(&limits, "") };
            waiting(desk.vm.begin(&program, &call)).run
        };
        let (ada, ben) = (start(desk, "ada"), start(desk, "ben"));
        let answer = || vec![Answer { id: 1, outcome: Ok(b"1".to_vec()) }];

        assert_eq!(ended(desk.vm.resume(ada, answer())), r#"["ben","ada"]"#);
        assert_eq!(ended(desk.vm.resume(ben, answer())), r#"["ben","ben"]"#);
    });
}

#[test]
fn kept_scripts_serve_every_entry() {
    at_desk(roomy(), |desk| {
        let source = "local n = 0 return { handle = function() n += 1 return n end, on = { tick = function() n += 10 return n end } }";
        let (program, limits) = (desk.compile(source), desk.limits.clone());
        let mut next = |entry| {
            let call = Call { state: State::Tenant, entry, ..call(&limits, "") };
            desk.vm.run(&program, &call).outcome.unwrap().into_json()
        };

        assert_eq!(next(Entry::Handle), b"1");
        assert_eq!(next(Entry::Event("tick")), b"11");
        assert_eq!(next(Entry::Handle), b"12");
    });
}

#[test]
fn libraries_are_read_only_in_every_mode() {
    at_desk(roomy(), |desk| {
        let program = desk.compile("return function() return (pcall(function() string.find = print end)) end");
        for state in [State::Fresh, State::Pooled, State::Tenant] {
            assert_eq!(run(desk, &program, state), "false");
        }
    });
}

#[test]
fn idle_instances_give_way_when_memory_is_needed() {
    at_desk(roomy(), |desk| {
        let source =
            "local big = {} for i = 1, 60 do big[i] = ('x'):rep(1e5) .. i end return function() return #big end";
        let (program, limits) = (desk.compile(source), desk.limits.clone());
        for script in ["a", "b", "c", "d", "e"] {
            let call = Call { state: State::Pooled, script, ..call(&limits, "") };
            assert_eq!(desk.vm.run(&program, &call).outcome.unwrap().into_json(), b"60");
        }
    });
}
