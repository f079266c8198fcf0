//! The executor as a program: exit codes, signals, lifeline, health.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::world::World;

const PROGRAM: &str = env!("CARGO_BIN_EXE_moonswarm-executor");

struct Program {
    child: Child,
    address: SocketAddr,
    _world: World,
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
fn start(world: World, more: &[&str]) -> Program {
    let keys = world.dir.path().join("signing.pub");
    fs_err::write(&keys, world.signer.public_key_file()).unwrap();
    let (keys, config) = (keys.display().to_string(), world.settings.release_config.display().to_string());
    let flags = ["serve", "--listen", "127.0.0.1:0", "--feed", "http://127.0.0.1:1", "--log-format", "json"];
    let flags = [&flags[..], &["--public-keys", &keys, "--release-config", &config], more].concat();
    let child = command(&flags).stdin(Stdio::piped()).spawn().unwrap();
    let mut program = Program { child, address: world.settings.listen, _world: world };
    let mut log = BufReader::new(program.child.stderr.take().unwrap());
    let mut seen = String::new();
    loop {
        let begin = seen.len();
        assert_ne!(log.read_line(&mut seen).unwrap(), 0, "the program ended before it listened:\n{seen}");
        let line: serde_json::Value = serde_json::from_str(&seen[begin..]).unwrap();
        if line["message"] == "listening" {
            program.address = line["address"].as_str().unwrap().parse().unwrap();
            // Read on, so that the program never waits for us to.
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return program;
        }
    }
}

#[track_caller]
fn ended(program: &mut Program) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(10);
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
