//! The scripts in `examples/init` that need nothing but a shell.

use std::process::{Command, Stdio};

use crate::support::{Ended, Running, finish};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/init");

fn command(name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moonswarm-init"));
    command.arg(format!("{FOLDER}/{name}")).stdin(Stdio::null());
    command
}

fn example(name: &str) -> Ended {
    finish(command(name))
}

#[test]
fn the_api_example_shows_each_function() {
    let ended = example("api.lua");

    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    for line in ["said:\thello from a child", "ended with:\t0", "ended by signal:\t15", "ended by signal:\t9", "done"] {
        assert!(ended.stdout.contains(line), "`{line}` is missing: {ended:?}");
    }
}

#[test]
fn the_simple_example_waits_for_both_children() {
    let ended = example("simple.lua");

    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.ends_with("first ended with\t0\nsecond ended with\t0\n"), "{ended:?}");
}

#[test]
fn the_advanced_example_updates_and_goes_on_until_it_is_told_to_stop() {
    let mut command = command("advanced.lua");
    command.arg("0.2");
    let script = Running::begin(command);

    script.line_with("works");
    script.line_with("updates");
    script.line_with("update\tdone");
    script.line_with("works");
    script.signal("TERM");
    assert_eq!(script.end().1, 143);
}
