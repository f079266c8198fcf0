//! The cases. A case returns an error that says what happened instead.

use anyhow::{Result, ensure};

use super::stage::{Init, Stage};

/// One case: what must happen, and how that is brought about.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) run: fn(&Stage, Init) -> Result<()>,
}

/// What any first process should do.
pub(super) const SHARED: &[Case] = &[
    Case {
        name: "the exit code is the program's",
        run: |stage, init| stage.under(init, &[], &["/bin/probe", "exit", "7"])?.ends_with(7),
    },
    Case {
        name: "SIGTERM reaches the program, and the exit code says so",
        run: |stage, init| stopped(stage, init, "TERM", 143),
    },
    Case { name: "SIGINT likewise", run: |stage, init| stopped(stage, init, "INT", 130) },
    Case { name: "SIGQUIT likewise", run: |stage, init| stopped(stage, init, "QUIT", 131) },
    Case { name: "SIGHUP is handed on", run: |stage, init| handed_on(stage, init, "HUP", "got SIGHUP") },
    Case { name: "SIGUSR1 is handed on", run: |stage, init| handed_on(stage, init, "USR1", "got SIGUSR1") },
    Case {
        name: "SIGWINCH that a process sends is handed on",
        run: |stage, init| handed_on(stage, init, "WINCH", "got SIGWINCH"),
    },
    Case {
        name: "a real-time signal is handed on",
        run: |stage, init| handed_on(stage, init, "RTMIN+3", "got a real-time signal"),
    },
    Case {
        name: "a signal reaches the program's whole process group",
        run: |stage, init| {
            let container = stage.under(init, &[], &["/bin/probe", "family"])?;
            container.says("ready", 2)?;
            container.signal("HUP")?;
            container.says("got SIGHUP", 2)
        },
    },
    Case {
        name: "of 1,000 orphans no zombie stays",
        run: |stage, init| {
            let container = stage.under(init, &[], &["/bin/probe", "orphans", "1000"])?;
            container.says("1000 orphans made", 1)?;
            container.wait_for(|| {
                let zombies = container.probe(&["zombies"])?;
                Ok(if zombies.trim() == "zombies 0" { Ok(()) } else { Err(zombies) })
            })
        },
    },
    Case {
        name: "the program gets what is written to the container",
        run: |stage, init| {
            let said = stage.talk(init, "some words", &["/bin/probe", "echo"])?;
            ensure!(said == "some words", "it said {said:?}");
            Ok(())
        },
    },
    Case {
        name: "the program has three descriptors, and no signal is blocked or ignored",
        run: |stage, init| {
            let container = stage.under(init, &[], &["/bin/probe", "descriptors"])?;
            container.ends_with(0)?;
            let said = container.said()?;
            let none = "0000000000000000";
            // Rust's own start ignores SIGPIPE in the probe.
            let expected = format!("open [0, 1, 2]\nSigBlk:\t{none}\nSigIgn:\t0000000000001000\n");
            ensure!(said == expected, "it said {said:?}");
            Ok(())
        },
    },
    Case {
        name: "the keys of a terminal are the program's",
        run: |stage, init| {
            let container = stage.under(init, &["--tty", "--interactive"], &["/bin/probe", "terminal"])?;
            container.says("its own", 1)
        },
    },
    Case {
        name: "it works read-only, without root, without capabilities",
        run: |stage, init| {
            let options =
                ["--read-only", "--user", "65532:65532", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"];
            stage.under(init, &options, &["/bin/probe", "exit", "3"])?.ends_with(3)
        },
    },
];

/// The program gets the signal and ends by it.
fn stopped(stage: &Stage, init: Init, signal: &str, code: i64) -> Result<()> {
    let container = stage.under(init, &[], &["/bin/probe", "wait"])?;
    container.says("ready", 1)?;
    container.signal(signal)?;
    container.says(&format!("got SIG{signal}"), 1)?;
    container.ends_with(code)
}

/// The program gets the signal and goes on.
fn handed_on(stage: &Stage, init: Init, signal: &str, says: &str) -> Result<()> {
    let container = stage.under(init, &[], &["/bin/probe", "wait"])?;
    container.says("ready", 1)?;
    container.signal(signal)?;
    container.says(says, 1)?;
    container.signal("TERM")?;
    container.ends_with(143)
}

/// Starts a script, waits until it says `up`, and sends it SIGTERM.
fn terminated(stage: &Stage, code: &str) -> Result<super::stage::Container> {
    let container = stage.script(code)?;
    container.says("up", 1)?;
    container.signal("TERM")?;
    Ok(container)
}

/// What only a supervisor with a script does.
pub(super) const OWN: &[Case] = &[
    Case {
        name: "SIGTERM before the first child ends a script that sleeps",
        run: |stage, _| terminated(stage, "print('up') init.sleep(1000)")?.ends_with(143),
    },
    Case {
        name: "SIGTERM while the script is still busy is not lost",
        run: |stage, _| {
            let busy = "print('up') local n = 0 for i = 1, 3e8 do n += i end print('through') init.sleep(1000)";
            let container = terminated(stage, busy)?;
            container.ends_with(143)?;
            container.says("through", 1)
        },
    },
    Case {
        name: "SIGTERM during child:status() ends the child, and the script comes to its end",
        run: |stage, _| {
            let code = "local c = init.exec('/bin/probe', 'wait') c:ready{line='ready'} print('up') print('status', c:status()) return 7";
            let container = terminated(stage, code)?;
            container.ends_with(7)?;
            container.says("status\t15", 1)
        },
    },
    Case {
        name: "a child that ignores SIGTERM is killed after its grace",
        run: |stage, _| {
            let code =
                "local c = init.exec{'/bin/probe', 'deaf', grace=0.5} c:ready{line='ready'} print('up') return c";
            terminated(stage, code)?.ends_with(137)
        },
    },
    Case {
        name: "100 MB of output that nobody reads leave the memory flat",
        run: |stage, _| {
            let code = "local function kib() return tonumber(string.match(init.files.read('/proc/self/status'), 'VmRSS:%s*(%d+)')) end
                local before = kib()
                local c = init.exec{'/bin/probe', 'flood', 100, stdout='pipe'} c:wait()
                local text, dropped = c:stdout()
                print('grown', kib() - before, 'of', #text + dropped)";
            let container = stage.script(code)?;
            container.ends_with(0)?;
            let said = container.said()?;
            let words: Vec<&str> = said.split_whitespace().collect();
            let grown: i64 = words.get(1).and_then(|word| word.parse().ok()).unwrap_or(i64::MAX);
            // Kept are 1 MiB, twice while they come, and once more as a string.
            ensure!(grown < 8 * 1024 && words.last() == Some(&"104857600"), "it said {said:?}");
            Ok(())
        },
    },
    Case {
        name: "1,000 orphans are adopted and counted",
        run: |stage, _| {
            let code = "local c = init.exec('/bin/probe', 'orphans', 1000) c:ready{line='made'}
                while init.orphans() < 1000 do init.sleep(0.01) end print('adopted', init.orphans())";
            let container = stage.script(code)?;
            container.ends_with(0)?;
            container.says("adopted\t1000", 1)
        },
    },
    Case {
        name: "daemons that a child left behind are asked to end when the script has",
        run: |stage, _| {
            let code = "init.exec('/bin/probe', 'daemon'):wait() local c = init.exec('/bin/probe', 'daemon') c:ready{line='ready'} return 4";
            let container = stage.script(code)?;
            container.ends_with(4)?;
            container.says("got SIGTERM", 1)
        },
    },
    Case {
        name: "services start in order and stop in the other",
        run: |stage, _| {
            let code = "local ready = {line='ready'}
                init.service{name='db', '/bin/probe', 'wait', ready=ready}
                init.service{name='web', after={'db'}, '/bin/probe', 'wait', ready=ready}:ready() print('up')";
            let container = terminated(stage, code)?;
            container.ends_with(143)?;
            let said = container.said()?;
            let ours: Vec<&str> = said.lines().filter(|line| line.contains(" | ")).collect();
            let expected = ["db | ready", "web | ready", "web | got SIGTERM", "db | got SIGTERM"];
            ensure!(ours == expected, "it said {ours:?}");
            Ok(())
        },
    },
];
