//! Every function of the API, by what it promises.

use std::process::{Command, Stdio};

use crate::support::{Ended, finish, run, run_with};

/// Runs code that prints, and gives what it printed; it must end well.
#[track_caller]
fn says(code: &str) -> String {
    let Ended { stdout, stderr, code } = run(code);
    assert_eq!((code, stderr.as_str()), (0, ""), "it said: {stdout}");
    stdout.trim_end().to_owned()
}

/// Runs code that fails, and gives the first line of why.
#[track_caller]
fn fails(code: &str) -> String {
    let ended = run(code);
    assert_eq!(ended.code, 1, "{ended:?}");
    ended.stderr.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn without_a_script_the_usage_is_told_and_that_is_no_failure() {
    let ended = finish(Command::new(env!("CARGO_BIN_EXE_moonswarm-init")));
    assert_eq!(ended.code, 0);
    assert!(ended.stdout.starts_with("Usage: moonswarm-init [script [args...]]"), "{ended:?}");
}

#[test]
fn arg_has_the_program_the_script_and_the_words_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("boot.lua");
    fs_err::write(&file, "#!/bin/moonswarm-init\nprint(arg[-1] ~= nil, arg[0], arg[1], arg[2], ...)").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_moonswarm-init"));
    command.arg(&file).args(["one", "--two"]);
    let ended = finish(command);
    assert_eq!(ended.stdout, format!("true\t{}\tone\t--two\tone\t--two\n", file.display()), "{ended:?}");

    assert_eq!(run_with("print(arg[1])", &["x"]).stdout, "x\n");
}

#[test]
fn a_script_that_ends_ends_with_0_and_one_that_fails_with_1_and_the_line() {
    assert_eq!(run("").code, 0);
    insta::assert_snapshot!(fails("error('no such thing')"), @"moonswarm-init: init:2: no such thing");
    insta::assert_snapshot!(fails("local = 3"), @"moonswarm-init: init:2: Expected identifier when parsing variable name, got '='");
    let missing = finish({
        let mut command = Command::new(env!("CARGO_BIN_EXE_moonswarm-init"));
        command.arg("/no/such.lua");
        command
    });
    insta::assert_snapshot!(missing.stderr.trim_end(), @"moonswarm-init: read the script `/no/such.lua`: No such file or directory (os error 2)");
}

#[test]
fn the_script_s_value_is_the_exit_code() {
    assert_eq!(run("return 7").code, 7);
    assert_eq!(run("return init.exec('sh', '-c', 'exit 9')").code, 9);
    assert_eq!(run("return init.exec('sh', '-c', 'kill -KILL $$')").code, 128 + 9);
    assert_eq!(run("init.exit(5)").code, 5);
    assert_eq!(run("os.exit(6)").code, 6);
}

#[test]
fn pid_is_the_supervisor_s() {
    assert_eq!(
        says("local c = init.exec{'sh', '-c', 'echo $PPID', stdout='pipe'} print(tonumber(c:stdout()) == init.pid())"),
        "true"
    );
}

#[test]
fn kill_sends_a_signal_and_returns_0() {
    assert_eq!(
        says("local c = init.exec('sleep', 60) print(init.kill(c:pid(), init.signal.SIGTERM), c:status())"),
        "0\t15"
    );
    assert_eq!(says("print(init.kill(init.pid(), 0))"), "0", "0 asks whether the process is there");
}

#[test]
fn kill_raises_what_the_kernel_says() {
    insta::assert_snapshot!(fails("init.kill(99999999, 'TERM')"), @"moonswarm-init: init:2: send SIGTERM to process 99999999: No such process (os error 3)");
    insta::assert_snapshot!(fails("init.kill(1, 'SIGNAL')"), @"moonswarm-init: init:2: SIGNAL is no signal: expected a number or a name as in init.signal");
}

#[test]
fn kill_of_a_child_that_has_ended_never_reaches_whoever_has_its_number_now() {
    let why = "pid = c:pid() c:wait() print(c:kill(), pcall(init.kill, pid, 9))";
    let said = says(&format!("local c, pid = init.exec('true') {why}"));
    assert!(said.starts_with("nil\tfalse\tprocess "), "{said}");
    assert!(said.ends_with("was a child of this supervisor and has ended"), "{said}");
}

#[test]
fn sleep_waits_at_least_so_long_and_returns_it() {
    assert_eq!(says("local t = os.clock() local s = init.sleep(0.05) print(s)"), "0.05");
    insta::assert_snapshot!(fails("init.sleep(-1)"), @"moonswarm-init: init:2: the time to sleep is -1: expected a number of seconds, 0 or more");
    insta::assert_snapshot!(fails("init.sleep(0/0)"), @"moonswarm-init: init:2: the time to sleep is nan: expected a number of seconds, 0 or more");
}

#[test]
fn every_runs_again_and_again_with_its_arguments_and_after_errors_until_it_is_cancelled() {
    let code = "
        local runs, done = 0, false
        local handle
        handle = init.every(0.01, function(word, more)
            runs += 1
            if runs == 1 then error('first') end
            if runs == 3 then print(word, more) handle:cancel() done = true end
        end, 'a', 'b')
        while not done do init.sleep(0.01) end
        init.sleep(0.1)
        print(runs)";
    let ended = run(code);
    assert_eq!(ended.stdout, "a\tb\n3\n", "{ended:?}");
    assert!(ended.stderr.contains("error in 'init.every' task: init:7: first"), "{ended:?}");
}

#[test]
fn every_ends_with_the_script_and_refuses_to_spin() {
    assert_eq!(run("init.every(0.01, function() end) return 3").code, 3);
    insta::assert_snapshot!(fails("init.every(0, print)"), @"moonswarm-init: init:2: the time between is 0: expected a number of seconds, greater than 0");
}

#[test]
fn cron_runs_at_the_pattern_s_times_and_refuses_what_is_none() {
    let code = "
        local runs = 0
        local handle = init.cron('* * * * * *', function(word) runs += 1 print(word) end, 'tick')
        while runs < 1 do init.sleep(0.05) end
        handle:cancel()";
    assert!(says(code).starts_with("tick"));
    assert!(fails("init.cron('soon', print)").starts_with("moonswarm-init: init:2: read the cron pattern `soon`"));
}

#[test]
fn exec_finds_programs_by_path_takes_anything_as_arguments_and_flattens_lists() {
    assert_eq!(says("print(init.exec{'echo', 1, {'two', {true}}, stdout='pipe'}:stdout())"), "1 two true");
    assert_eq!(says("local c = init.exec('echo', 1, {'two'}) c:wait()"), "1 two");
    insta::assert_snapshot!(fails("init.exec('no-such-program')"), @"moonswarm-init: init:2: start `no-such-program`: No such file or directory (os error 2) (is the program in PATH, and its interpreter or loader in the image?)");
    insta::assert_snapshot!(fails("init.exec{'true', stduot='pipe'}"), @"moonswarm-init: init:2: there is no option 'stduot' here: see docs/init.md");
    insta::assert_snapshot!(fails("init.exec{'true', stdout='file'}"), @"moonswarm-init: init:2: option 'stdout' is 'file': expected one of inherit, pipe, null, log");
}

#[test]
fn exec_sets_environment_folder_and_input() {
    let env = "env={A='1', HOME=false}, cwd='/', stdout='pipe'";
    assert_eq!(says(&format!("print(init.exec{{'sh', '-c', 'echo $A-$HOME-$PWD', {env}}}:stdout())")), "1--/");
    assert_eq!(says("print(init.exec{'env', clear_env=true, env={A='1'}, stdout='pipe'}:stdout())"), "A=1");
    assert_eq!(says("print(init.exec{'cat', input='words', stdout='pipe'}:stdout())"), "words");
    let talk =
        "local c = init.exec{'cat', stdin='pipe', stdout='pipe'} c:write('a') c:write('b') c:close() print(c:stdout())";
    assert_eq!(says(talk), "ab");
}

#[test]
fn exec_as_another_user_needs_one_that_is_there() {
    insta::assert_snapshot!(fails("init.exec{'true', user='no-such-user'}"), @"moonswarm-init: init:2: user `no-such-user` is not in /etc/passwd: use a name from there or a number");
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if root {
        assert_eq!(
            says("print(init.exec{'sh', '-c', 'id -u; id -g; id -G', user='1234:77', stdout='pipe'}:stdout())"),
            "1234\n77\n77"
        );
    }
}

#[test]
fn a_child_s_pid_is_its_own() {
    assert_eq!(
        says("local c = init.exec{'sh', '-c', 'echo $$', stdout='pipe'} print(tonumber(c:stdout()) == c:pid())"),
        "true"
    );
}

#[test]
fn stdout_and_stderr_wait_for_the_end_and_give_everything_once() {
    let both = "local c = init.exec{'sh', '-c', 'echo out; echo err >&2', stdout='pipe'} print(c:stdout(), c:stderr())";
    assert_eq!(says(both), "out\n\terr");
    assert_eq!(says("print(init.exec{'true', stdout='pipe'}:stdout())"), "nil", "nothing is nil");
    let again = "local c = init.exec{'echo', 'x', stdout='pipe'} c:stdout() c:stdout()";
    insta::assert_snapshot!(fails(again), @"moonswarm-init: init:2: stdout of 'echo': stream already consumed");
    insta::assert_snapshot!(fails("init.exec{'true', stdout='inherit'}:stdout()"), @r#"moonswarm-init: init:2: stdout of 'true': it is not read by the supervisor: start the child with "log" or "pipe""#);
}

#[test]
fn of_too_much_output_the_end_is_kept_and_the_rest_counted() {
    let code = "local c = init.exec{'sh', '-c', 'head -c 100000 /dev/zero; echo end', stdout='pipe', keep=4}
        local text, dropped = c:stdout() print(text == 'end\\n', dropped)";
    assert_eq!(says(code), "true\t100000");
}

#[test]
fn output_is_in_the_log_line_by_line_and_can_still_be_asked_for() {
    let ended = run(
        "local c = init.exec{'sh', '-c', 'echo one; printf two; echo three >&2', name='web'} c:wait() print(c:stdout())",
    );
    assert_eq!(ended.stdout, "web | one\nweb | two\none\ntwo\n");
    assert_eq!(ended.stderr, "web | three\n");
}

#[test]
fn status_is_the_exit_code_or_the_signal() {
    assert_eq!(
        says("print(init.exec('sh', '-c', 'exit 3'):status(), init.exec('sh', '-c', 'kill -TERM $$'):status())"),
        "3\t15"
    );
}

#[test]
fn status_of_one_coroutine_does_not_keep_another_from_pid_and_kill() {
    let code = "local c = init.exec('sleep', 60)
        init.spawn(function() print(c:pid() > 0, c:kill()) end)
        print(c:status())";
    assert_eq!(says(code), "true\t9\n9");
}

#[test]
fn kill_of_a_child_is_sigkill_and_returns_9_then_nil() {
    assert_eq!(
        says("local c = init.exec('sleep', 60) print(c:kill()) c:wait() print(c:kill(), c:running())"),
        "9\nnil\tfalse"
    );
    assert_eq!(says("local c = init.exec('sleep', 60) print(c:kill('SIGTERM'), c:status())"), "15\t15");
}

#[test]
fn wait_gives_code_or_signal_or_nil_when_the_time_is_over() {
    let code = "local c = init.exec('sleep', 60)
        print(c:wait{timeout = 0.01}, c:result())
        c:kill()
        local r = c:wait{timeout = 30}
        print(r.code, r.signal, r.ok)
        print(init.exec('true'):wait().ok)";
    assert_eq!(says(code), "nil\tnil\nnil\t9\tfalse\ntrue");
}

#[test]
fn stop_asks_first_and_kills_after_the_grace() {
    let deaf = "local c = init.exec{'sh', '-c', 'trap \"\" TERM; echo up; while :; do sleep 1; done', stdout='pipe'}
        c:ready{line='up'} print(c:stop{grace = 0.1}.signal)";
    assert_eq!(says(deaf), "9");
    assert_eq!(says("print(init.exec('sleep', 60):stop().signal)"), "15");
}

#[test]
fn a_child_is_ready_when_what_was_named_is_so() {
    assert_eq!(
        says("print(init.exec{'sh', '-c', 'echo is up now; sleep 60', stdout='pipe'}:ready{line='up'})"),
        "true"
    );
    let by_function =
        "local n = 0 print(init.exec('sleep', 60):ready{fn=function() n += 1 return n == 3 end, every=0.01})";
    assert_eq!(says(by_function), "true");
    let never =
        "print(init.exec('sleep', 60):ready{fn=function() return false, 'not yet' end, every=0.01, timeout=0.05})";
    assert_eq!(says(never), "nil\t'sleep' is not ready: not yet");
    let ended = "print(init.exec('true'):ready{line='up'})";
    assert_eq!(says(ended), "nil\t'true' is not ready: it has ended; before that: no line had 'up' in it");
}

#[test]
fn readiness_is_asked_over_http_tcp_and_unix_sockets() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        // Not ready at first, then ready; the last one is the question over TCP.
        for answer in ["HTTP/1.1 503 Service Unavailable\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", ""] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            if !answer.is_empty() {
                let _ = stream.read(&mut request).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        }
    });
    let code = format!(
        "local c = init.exec('sleep', 60)
         print(c:ready{{http='http://127.0.0.1:{port}/ready', every=0.01}}, c:ready{{tcp={port}}})
         print(c:ready{{unix='/no/such/socket', timeout=0.01}})"
    );
    let said = says(&code);
    server.join().unwrap();
    assert_eq!(said, "true\ttrue\nnil\t'sleep' is not ready: No such file or directory (os error 2)");
    insta::assert_snapshot!(fails("init.exec('sleep', 60):ready{tcp='db:1'}"), @"moonswarm-init: init:2: `db:1` is no address: expected `127.0.0.1:PORT`, `[::1]:PORT` or `localhost:PORT`");
}

#[test]
fn signals_have_their_numbers() {
    assert_eq!(
        says("print(init.signal.SIGHUP, init.signal.SIGKILL, init.signal.SIGTERM, init.signal.SIGSYS)"),
        "1\t9\t15\t31"
    );
    assert_eq!(says("local n = 0 for name in init.signal do n += 1 end print(n >= 29)"), "true");
}

#[test]
fn waiting_within_a_coroutine_of_the_script_keeps_its_yields_apart() {
    let code = "
        local next = coroutine.wrap(function()
            for i = 1, 3 do init.sleep(0.001) coroutine.yield(i) end
        end)
        local other = coroutine.create(function(a) init.sleep(0.001) error('x ' .. a, 0) end)
        print(next(), next(), next())
        print(coroutine.resume(other, 'y'))";
    assert_eq!(says(code), "1\t2\t3\nfalse\tx y");
}

#[test]
fn tasks_run_beside_each_other_and_their_errors_end_only_themselves() {
    let ended = run("init.spawn(function(a) init.sleep(0.01) error(a) end, 'gone') init.sleep(0.2) print('here')");
    assert_eq!((ended.stdout.as_str(), ended.code), ("here\n", 0), "{ended:?}");
    assert!(ended.stderr.contains("error in 'init.spawn' task: init:2: gone"), "{ended:?}");
}

#[test]
fn files_are_read_written_listed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let code = format!(
        "local f, d = init.files, '{}/a/b'
        f.mkdir(d) f.write(d .. '/x', 'one', 0o600 or 384) f.append(d .. '/x', 'two') f.copy(d .. '/x', d .. '/y')
        f.symlink('x', d .. '/z') f.rename(d .. '/y', d .. '/w') f.chmod(d .. '/w', 420)
        print(f.read(d .. '/z'), table.concat(f.list(d), ' '), f.kind(d), f.kind(d .. '/x'), f.kind('/no'))
        f.remove(d) print(f.kind(d))",
        folder.path().display()
    )
    .replace("0o600 or ", "");
    assert_eq!(says(&code), "onetwo\tw x z\tfolder\tfile\tnil\nnil");
    insta::assert_snapshot!(fails("init.files.read('/no/such')"), @"moonswarm-init: init:2: read `/no/such`: No such file or directory (os error 2)");
}

#[test]
fn require_finds_init_and_modules_beside_the_script() {
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("main.luau"), "print(require('./part').value, require('./part') == require('./part'), require('init').pid() > 0) require('./none')").unwrap();
    fs_err::write(folder.path().join("part.luau"), "return { value = 5 }").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_moonswarm-init"));
    command.arg(folder.path().join("main.luau"));
    let ended = finish(command);
    assert_eq!(ended.stdout, "5\ttrue\ttrue\n", "{ended:?}");
    assert!(ended.stderr.contains("there is no module `./none` beside the script"), "{ended:?}");
}

#[test]
fn the_environment_can_be_read_and_words_written() {
    assert_eq!(says("print(init.env('PATH') ~= nil, os.getenv('NO_SUCH_VARIABLE'))"), "true\tnil");
    let ended = run("io.write('a', 1, '\\n') io.stderr:write('b\\n') init.log('c', 2)");
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("a1\n", "b\nmoonswarm-init: c 2\n"));
}

#[test]
fn children_get_no_descriptor_of_the_supervisor_and_no_blocked_signal() {
    let ask = "ls /proc/self/fd; grep -E '^Sig(Blk|Ign)' /proc/self/status";
    let code = format!(
        "local beside = init.exec{{'sleep', 60, stdin='pipe', stdout='pipe'}}
         io.write(init.exec{{'sh', '-c', [[{ask}]], stdout='pipe'}}:stdout())"
    );
    // What is open here for other reasons goes through, as it would without a supervisor.
    let mut plain = Command::new("sh");
    plain.args(["-c", ask]).stdin(Stdio::null());
    assert_eq!(says(&code), finish(plain).stdout.trim_end());
}
