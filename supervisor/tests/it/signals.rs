//! Signals and the end of everything.

use crate::support::{DEADLINE, Running, is_alive, run, signal};

/// Waits until the process is gone, zombies not counted.
#[track_caller]
fn gone(pid: u32) {
    let begin = std::time::Instant::now();
    while is_alive(pid) {
        assert!(begin.elapsed() < DEADLINE, "process {pid} is still there");
        std::thread::yield_now();
    }
}

fn number(line: &str) -> u32 {
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_stop_signal_during_a_sleep_ends_the_script_with_its_number() {
    for (name, code) in [("TERM", 143), ("INT", 130), ("QUIT", 131)] {
        let script = Running::start("print('up') init.sleep(1000)");
        script.line_with("up");
        script.signal(name);
        assert_eq!(script.end(), (String::new(), code), "{name}");
    }
}

#[test]
fn a_stop_signal_reaches_the_children_and_a_script_that_waits_for_them_comes_to_its_end() {
    let script = Running::start(
        "local c = init.exec('sh', '-c', 'trap \"echo bye; exit 5\" TERM; echo up; while :; do sleep 0.05; done')
         print('status', c:status()) return 7",
    );
    script.line_with("up");
    script.signal("TERM");
    assert_eq!(script.end(), ("bye\nstatus\t5".to_owned(), 7));
}

#[test]
fn a_script_that_starts_its_child_again_is_not_kept_alive_by_that() {
    let script = Running::start("while true do print('again') init.exec('sleep', 60):status() end");
    script.line_with("again");
    script.signal("TERM");
    assert_eq!(script.end().1, 143);
}

#[test]
fn a_child_that_ignores_its_stop_signal_is_killed_after_its_grace() {
    let script = Running::start(
        "local c = init.exec{'sh', '-c', 'trap \"\" TERM; echo up; while :; do sleep 0.05; done', grace=0.2}
         return c",
    );
    script.line_with("up");
    script.signal("TERM");
    assert_eq!(script.end().1, 128 + 9);
}

#[test]
fn a_child_may_want_another_stop_signal() {
    let script = Running::start(
        "return init.exec{'sh', '-c', 'trap \"echo usr1; exit 3\" USR1; echo up; while :; do sleep 0.05; done', stop_signal='USR1'}",
    );
    script.line_with("up");
    script.signal("TERM");
    assert_eq!(script.end(), ("usr1".to_owned(), 3));
}

#[test]
fn other_signals_are_handed_on_to_whole_groups_and_end_nothing() {
    let script = Running::start(
        "return init.exec('sh', '-c', [[
            (trap 'echo inner' HUP; echo ready; while :; do sleep 0.05; done) &
            trap 'echo outer' HUP; trap 'kill -KILL 0' USR2; while :; do sleep 0.05; done]])",
    );
    script.line_with("ready");
    script.signal("HUP");
    let (first, second) = (script.line_with("er"), script.line_with("er"));
    assert!([&first, &second].iter().all(|line| *line == "inner" || *line == "outer"), "{first} {second}");
    assert_ne!(first, second);
    script.signal("USR2");
    assert_eq!(script.end().1, 137);
}

#[test]
fn one_child_s_end_is_no_signal_for_the_others() {
    let script = Running::start(
        "local c = init.exec('sh', '-c', 'trap \"echo told\" CHLD; echo up; read never')
         for i = 1, 20 do init.exec('true'):wait() end
         print('done')
         init.run()",
    );
    let mut between = script.line_with("");
    while between != "done" {
        assert_eq!(between, "up");
        between = script.line_with("");
    }
    script.signal("TERM");
    script.end();
}

#[test]
fn on_gives_a_signal_to_the_script_instead() {
    let script = Running::start(
        "init.on('SIGTERM', function(name, number) print('got', name, number) init.sleep(0.01) init.exit(4) end)
         init.on(init.signal.SIGUSR1, function() error('oh') end)
         init.exec('sh', '-c', 'trap \"echo child\" USR1 TERM; echo up; while :; do sleep 0.05; done')
         init.run()",
    );
    script.line_with("up");
    script.signal("USR1");
    script.signal("TERM");
    let (said, code) = script.end();
    assert!(said.starts_with("got\tSIGTERM\t15"), "{said}");
    assert_eq!(code, 4);
}

#[test]
fn on_with_nothing_gives_it_back_and_forward_hands_it_on() {
    let script = Running::start(
        "init.on('USR1', function() print('mine') init.on('USR1', nil) init.forward('USR1') end)
         init.exec('sh', '-c', 'trap \"echo child\" USR1; echo up; while :; do sleep 0.05; done')
         init.run()",
    );
    script.line_with("up");
    script.signal("USR1");
    script.line_with("mine");
    script.line_with("child");
    script.signal("USR1");
    script.line_with("child");
    script.signal("TERM");
    assert_eq!(script.end().1, 143);
}

#[test]
fn when_the_script_ends_its_children_are_asked_to_end_first() {
    let ended =
        run("local c = init.exec('sh', '-c', 'trap \"echo bye; exit\" TERM; echo up; while :; do sleep 0.05; done')
        c:ready{line='up'} return 6");
    assert_eq!((ended.stdout.as_str(), ended.code), ("up\nbye\n", 6), "{ended:?}");
}

#[test]
fn orphans_are_collected_and_none_outlives_the_supervisor() {
    let script = Running::start(
        "local c = init.exec{'sh', '-c', '(sleep 1000 & echo orphan $!) & wait', stdout='log'}
         c:wait()
         for i = 1, 50 do init.exec('sh', '-c', 'true & true & exec true'):wait() end
         init.run()",
    );
    let orphan = number(&script.line_with("orphan"));
    assert!(is_alive(orphan));
    script.signal("TERM");
    assert_eq!(script.end().1, 143);
    gone(orphan);
}

#[test]
fn no_zombie_stays_whoever_s_child_it_was() {
    let said = run("for i = 1, 20 do init.exec('sh', '-c', '(exit 3) & exec true') end
        local zombies repeat
            init.sleep(0.02)
            zombies = 0
            for _, name in init.files.list('/proc') do
                local ok, stat = pcall(init.files.read, `/proc/{name}/stat`)
                if tonumber(name) and ok and string.match(stat, `%) Z {init.pid()} `) then zombies += 1 end
            end
        until init.orphans() >= 1 and zombies == 0
        print('clean')");
    assert!(said.stdout.ends_with("clean\n"), "{said:?}");
}

#[test]
fn a_signal_to_a_child_alone_is_its_own() {
    let script = Running::start("local c = init.exec('sleep', 1000) print('pid', c:pid()) print('end', c:status())");
    let line = script.line_with("pid");
    signal(line.rsplit('\t').next().unwrap().parse().unwrap(), "INT");
    assert_eq!(script.end(), ("end\t2".to_owned(), 0));
}
