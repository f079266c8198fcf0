//! Services: kept running, in an order, with a readiness and a health.

use crate::support::{Running, run};

#[test]
fn a_service_that_ends_is_started_again_and_the_supervisor_stays_for_it() {
    let script = Running::start("init.service{name='web', backoff={first=0.01}, 'sh', '-c', 'echo life $$'}");
    let lives = [script.line_with("web | life"), script.line_with("web | life"), script.line_with("web | life")];
    assert_ne!(lives[0], lives[1]);
    script.signal("TERM");
    assert_eq!(script.end().1, 143);
}

#[test]
fn on_failure_does_not_repeat_a_success_and_never_repeats_nothing() {
    let once = run(
        "init.service{name='a', restart='on-failure', 'echo', 'one'} init.service{name='b', restart='never', 'sh', '-c', 'echo two; exit 4'}",
    );
    let mut lines: Vec<_> = once.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!((lines, once.code), (vec!["a | one", "b | two"], 4), "{once:?}");
}

#[test]
fn retries_have_an_end_and_the_pauses_between_grow() {
    let ended = run(
        "init.service{name='web', restart='on-failure', retries=3, backoff={first=0.01, factor=3}, 'sh', '-c', 'exit 3'}",
    );
    insta::assert_snapshot!(ended.stderr.trim_end(), @r"
    moonswarm-init: service 'web' ended with code 3; starts again in 0.01 s
    moonswarm-init: service 'web' ended with code 3; starts again in 0.03 s
    moonswarm-init: service 'web' ended with code 3; starts again in 0.09 s
    moonswarm-init: service 'web' ended with code 3; given up after 3 restarts
    ");
    assert_eq!(ended.code, 3);
}

#[test]
fn a_program_that_can_t_start_is_told_and_counted_as_a_failure() {
    let ended = run("init.service{name='web', retries=0, '/no/such'}");
    assert!(ended.stderr.contains("service 'web' did not start: start `/no/such`: No such file"), "{ended:?}");
    assert_eq!(ended.code, 1);
}

#[test]
fn a_service_starts_when_those_before_it_are_ready_and_stops_before_them() {
    let life = "'trap \"echo $0 stops; exit\" TERM; sleep 0.1; echo $0 is up; while :; do sleep 0.05; done'";
    let script = Running::start(&format!(
        "init.service{{name='db', ready={{line='is up'}}, 'sh', '-c', {life}, 'db'}}
         init.service{{name='web', after={{'db'}}, ready={{line='is up'}}, 'sh', '-c', {life}, 'web'}}"
    ));
    assert_eq!(script.line_with(""), "db | db is up");
    assert_eq!(script.line_with(""), "web | web is up");
    script.signal("TERM");
    assert_eq!(script.end(), ("web | web stops\ndb | db stops".to_owned(), 143));
}

#[test]
fn what_never_becomes_ready_keeps_back_those_after_it() {
    let ended = run(
        "init.service{name='db', restart='never', ready={line='up'}, 'false'} init.service{name='web', after={'db'}, 'echo', 'started'}",
    );
    assert_eq!(ended.stdout, "", "{ended:?}");
    assert!(ended.stderr.contains("service 'web' does not start: 'db' is failed"), "{ended:?}");
    assert_eq!(ended.code, 1);
}

#[test]
fn an_unhealthy_service_is_started_again() {
    let script = Running::start(
        "local asked = 0
         init.service{name='web', backoff={first=0.01}, 'sh', '-c', 'echo life; exec sleep 1000',
            health={every=0.02, failures=2, fn=function() asked += 1 return asked > 2 end}}",
    );
    script.line_with("life");
    script.line_with("life");
    script.signal("TERM");
    script.end();
}

#[test]
fn what_a_service_left_in_its_group_goes_with_it() {
    let script = Running::start(
        "init.service{name='web', backoff={first=0.01}, 'sh', '-c', 'sleep 1000 & echo left $!; exit 1'}",
    );
    let left: u32 = script.line_with("left").rsplit(' ').next().unwrap().parse().unwrap();
    script.line_with("left");
    let begin = std::time::Instant::now();
    while crate::support::is_alive(left) {
        assert!(begin.elapsed() < crate::support::DEADLINE, "process {left} is still there");
        std::thread::yield_now();
    }
    script.signal("TERM");
    script.end();
}

#[test]
fn the_main_service_s_end_is_the_end() {
    let ended = run(
        "init.service{name='side', 'sleep', '1000'} init.service{name='main', main=true, restart='never', 'sh', '-c', 'exit 6'}",
    );
    assert_eq!(ended.code, 6, "{ended:?}");
    let script = Running::start(
        "init.service{name='main', main=true, ready={line='up'}, 'sh', '-c', 'trap \"exit 7\" TERM; echo up; while :; do sleep 0.05; done'}",
    );
    script.line_with("up");
    script.signal("TERM");
    assert_eq!(script.end().1, 7);
    let returned = run("return init.service{name='one', restart='on-failure', 'true'}");
    assert_eq!(returned.code, 0, "{returned:?}");
}

#[test]
fn a_service_can_be_stopped_started_and_restarted_by_the_script() {
    let ended = run("
        local web = init.service{name='web', 'sleep', '1000'}
        web:ready() local first = web:pid()
        web:restart() web:ready()
        print(web:pid() ~= first, web:state())
        web:stop() print(web:state(), web:pid())
        web:start() web:ready() print(web:state())
        init.exit()");
    assert_eq!((ended.stdout.as_str(), ended.code), ("true\trunning\nstopped\tnil\nrunning\n", 0), "{ended:?}");
}

#[test]
fn before_runs_before_each_start() {
    let ended = run("
        local n = 0
        init.service{name='web', restart='on-failure', retries=1, backoff={first=0.01}, 'false',
            before=function() n += 1 print('before', n) if n == 2 then error('no') end end}");
    assert_eq!(ended.stdout, "before\t1\nbefore\t2\n");
    assert!(ended.stderr.contains("did not start, 'before' failed: init:5: no"), "{ended:?}");
}

#[test]
fn mistakes_in_a_service_are_named() {
    let first = |code: &str| run(code).stderr.lines().next().unwrap_or_default().to_owned();
    insta::assert_snapshot!(first("init.service{'true', after={'db'}}"), @"moonswarm-init: init:2: service 'true' comes after 'db', which is not declared: declare it before");
    insta::assert_snapshot!(first("init.service{'true', restart='no'}"), @"moonswarm-init: init:2: option 'restart' is 'no': expected one of always, on-failure, never");
    insta::assert_snapshot!(first("init.service{name='x'}"), @"moonswarm-init: init:2: there is nothing to start: the first entry is the program");
    insta::assert_snapshot!(first("init.service{'true', restart='never'} init.service{'true'}"), @"moonswarm-init: init:2: there is a service 'true' already: give this one another name");
}
