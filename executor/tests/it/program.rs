//! The executor as a program: exit codes, signals, lifeline, health.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::world::World;

const PROGRAM: &str = env!("CARGO_BIN_EXE_moonswarm-executor");

pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Reads on from where the program listened, so that it never waits for us to.
    log: Option<JoinHandle<String>>,
    _world: World,
}

impl Program {
    /// Has it end in good order; what it logged since it listened.
    pub(crate) fn terminate(&mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert_eq!(ended(self), Some(0));
        self.log.take().unwrap().join().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command(arguments).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// Started, and read up to the line that tells its address.
pub(crate) fn start(world: World, more: &[&str]) -> Program {
    let keys = world.dir.path().join("signing.pub");
    fs_err::write(&keys, world.signer.public_key_file()).unwrap();
    let (keys, config) = (keys.display().to_string(), world.settings.release_config.display().to_string());
    let flags = ["serve", "--listen", "127.0.0.1:0", "--feed", "http://127.0.0.1:1", "--log-format", "json"];
    let flags = [&flags[..], &["--public-keys", &keys, "--release-config", &config], more].concat();
    let child = command(&flags).stdin(Stdio::piped()).spawn().unwrap();
    let mut program = Program { child, address: world.settings.listen, log: None, _world: world };
    let mut log = BufReader::new(program.child.stderr.take().unwrap());
    let mut seen = String::new();
    loop {
        let begin = seen.len();
        assert_ne!(log.read_line(&mut seen).unwrap(), 0, "the program ended before it listened:\n{seen}");
        let line: serde_json::Value = serde_json::from_str(&seen[begin..]).unwrap();
        if line["message"] == "listening" {
            program.address = line["address"].as_str().unwrap().parse().unwrap();
            program.log = Some(std::thread::spawn(move || {
                let mut rest = String::new();
                log.read_to_string(&mut rest).unwrap();
                rest
            }));
            return program;
        }
    }
}

#[track_caller]
fn ended(program: &mut Program) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = program.child.try_wait().unwrap() {
            return status.code();
        }
        assert!(Instant::now() < deadline, "the program still runs");
        std::thread::yield_now();
    }
}

fn world() -> World {
    World::with_release(&[("acme", "x", "return function() return 1 end")])
}

#[test]
fn bad_settings_end_with_2_and_name_every_fault() {
    let (code, stderr) = output(&["--listen", "0.0.0.0:7701", "--public-keys", "/nowhere", "--drain", "x"]);

    assert_eq!(code, Some(2));
    for word in ["`--token-file`", "/nowhere", "`--drain` is `x`"] {
        assert!(stderr.contains(word), "{word} is not in\n{stderr}");
    }
    assert_eq!(output(&["--no-such-flag"]).0, Some(2));
}

#[test]
fn sigterm_drains_and_ends_with_0() {
    let mut program = start(world(), &[]);
    let health = format!("http://{}/readyz", program.address);
    assert_eq!(output(&["health", "--url", &health]), (Some(0), String::new()));

    let pid = program.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());

    assert_eq!(ended(&mut program), Some(0));
    let (code, stderr) = output(&["health", "--url", &health]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("does not answer"), "{stderr}");
}

#[test]
fn the_end_of_stdin_ends_it_where_that_was_asked_for() {
    let mut program = start(world(), &["--lifeline"]);

    drop(program.child.stdin.take());

    assert_eq!(ended(&mut program), Some(0));
}

/// The processes that `parent` started, by their ids.
fn children(parent: u32) -> Vec<String> {
    let mut children = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{parent}/task")).unwrap() {
        let text = fs_err::read_to_string(task.unwrap().path().join("children")).unwrap();
        children.extend(text.split_whitespace().map(str::to_owned));
    }
    children
}

#[test]
fn worker_processes_end_with_their_executor_even_when_that_is_killed() {
    let mut program = start(world(), &["--strategy", "process-pool", "--workers", "2"]);
    let workers = children(program.child.id());
    assert_eq!(workers.len(), 2);

    program.child.kill().unwrap();
    program.child.wait().unwrap();

    let deadline = Instant::now() + Duration::from_secs(10);
    // A process that has ended and that nobody waited for has no command line any more.
    let lives = |id: &String| fs_err::read(format!("/proc/{id}/cmdline")).is_ok_and(|line| !line.is_empty());
    while workers.iter().any(lives) {
        assert!(Instant::now() < deadline, "worker processes {workers:?} outlive their executor");
        std::thread::yield_now();
    }
}

#[test]
fn with_too_many_stuck_workers_it_drains_and_asks_to_be_replaced() {
    const STUCK: usize = 5;
    let names: Vec<_> = (0..STUCK).map(|index| format!("tenant{index}")).collect();
    let scripts: Vec<_> = names.iter().map(|name| (name.as_str(), "x", "return function() return 1 end")).collect();
    let flags = ["--strategy", "thread-per-tenant", "--drills", "--drain", "100ms"];
    let mut program = start(World::with_release(&scripts), &flags);

    for name in &names {
        let mut stream = TcpStream::connect(program.address).unwrap();
        let head = format!("POST /v1/run/{name}/x HTTP/1.1\r\nhost: x\r\nx-moonswarm-drill: stick\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        // Left alone: the answer is of no interest.
        std::mem::forget(stream);
    }

    assert_eq!(ended(&mut program), Some(1));
}

#[test]
fn health_says_why_it_is_not() {
    let program = start(World::new(), &[]);

    let (code, stderr) = output(&["health", "--url", &format!("http://{}/readyz", program.address)]);

    assert_eq!(code, Some(1));
    assert!(stderr.contains("answers `HTTP/1.0 503 Service Unavailable`"), "{stderr}");
    assert!(output(&["health", "--url", "ftp://x"]).1.contains("is no http:// URL"));
}

#[test]
fn a_second_one_on_the_same_port_says_so() {
    let program = start(world(), &[]);
    let (listen, dir) = (program.address.to_string(), tempfile::tempdir().unwrap());
    let keys = dir.path().join("signing.pub");
    fs_err::write(&keys, World::new().signer.public_key_file()).unwrap();

    let (code, stderr) = output(&["--listen", &listen, "--public-keys", &keys.display().to_string()]);

    assert_eq!(code, Some(1));
    assert!(stderr.contains("is another executor running there?"), "{stderr}");
}
