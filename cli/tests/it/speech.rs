//! Help, usage errors, colors and completions: words that need neither manager nor sandbox.

use super::program::{Files, moonswarm};

#[test]
fn help_tells_every_command_and_exit_code() {
    insta::assert_snapshot!(moonswarm("--help").run(), @"
    exit 0
    ---- stdout
    Push business rules to a Moonswarm, see them live, take them back

    Usage: moonswarm [OPTIONS] <COMMAND>

    Commands:
      push         Check a script and make it the one that runs
      list         Show the scripts that run
      status       Show what the manager sees: release, executors, bucket, notifications
      versions     Show the kept versions of a script, newest first
      rollback     Make an older version of a script the one that runs
      remove       Take a script out of the release; the bucket keeps its versions
      run          Run a script here, in the sandbox and under the limits of the executors
      check        Check scripts and run their tests here, as the manager does before it takes one
      call         Ask an executor to run a script
      policy       Say on which terms scripts run: limits, rates, what they may reach
      types        Print the type declarations of all that scripts may use, for editors
      completions  Print the completion script of a shell
      help         Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Global options:
          --manager <URL>       Address of a manager [env: MOONSWARM_MANAGER=] [default:
                                http://127.0.0.1:7700]
          --token-file <FILE>   File with the manager's token; MOONSWARM_TOKEN may hold the token itself
                                [env: MOONSWARM_TOKEN_FILE=]
          --json                Print one JSON document on stdout and nothing else, errors too
          --color <WHEN>        When to use colors [default: auto] [possible values: auto, always,
                                never]
          --timeout <DURATION>  Longest time for one request, beyond what --wait adds [default: 30s]

    Exit codes:
      0  done
      1  any other error
      2  the command line or a setting is wrong
      3  the script is at fault: refused, or its execution failed
      4  somebody else changed the script first
      5  committed, but not live on every executor in time
      6  the manager or executor gave no answer
    ");
}

#[test]
fn help_of_push_tells_every_flag() {
    insta::assert_snapshot!(moonswarm("push --help").run(), @"
    exit 0
    ---- stdout
    Check a script and make it the one that runs

    Usage: moonswarm push [OPTIONS] --tenant <NAME> <FILE>

    Arguments:
      <FILE>  The script: a file, a folder, a .zip or .tar; `-` reads standard input and needs --name

    Options:
          --tenant <NAME>               Whose script it is [env: MOONSWARM_TENANT=]
          --name <NAME>                 Name of the script [default: the file's name without its ending,
                                        or the folder's]
          --wait[=<DURATION>]           Wait until every executor runs it, at most this long [without a
                                        value: 30s]
          --author <NAME>               Who does this, for the history [default: the user's name] [env:
                                        MOONSWARM_AUTHOR=]
          --activation <MODE>           Swap in memory (live), or replace every executor by a service
                                        update (rolling) [default: live] [possible values: live,
                                        rolling]
          --if-generation <GENERATION>  Push only if this generation is the running one; 0 = only if
                                        there is no such script
      -h, --help                        Print help

    Global options:
          --manager <URL>       Address of a manager [env: MOONSWARM_MANAGER=] [default:
                                http://127.0.0.1:7700]
          --token-file <FILE>   File with the manager's token; MOONSWARM_TOKEN may hold the token itself
                                [env: MOONSWARM_TOKEN_FILE=]
          --json                Print one JSON document on stdout and nothing else, errors too
          --color <WHEN>        When to use colors [default: auto] [possible values: auto, always,
                                never]
          --timeout <DURATION>  Longest time for one request, beyond what --wait adds [default: 30s]

    Examples:
      moonswarm push risk.luau --tenant acme --wait
      moonswarm push rules/basket --tenant acme --wait
      moonswarm push risk.luau --tenant acme --if-generation 1795307950143920 --json
    ");
}

#[test]
fn a_command_line_that_lacks_something_is_a_usage_error() {
    insta::assert_snapshot!(moonswarm("versions risk").run(), @"
    exit 2
    ---- stderr
    error: the following required arguments were not provided:
      --tenant <NAME>

    Usage: moonswarm versions --tenant <NAME> <SCRIPT>

    For more information, try '--help'.
    ");
}

#[test]
fn names_that_look_like_paths_are_usage_errors() {
    insta::assert_snapshot!(moonswarm("versions risk --tenant ../etc").run(), @"
    exit 2
    ---- stderr
    error: invalid value '../etc' for '--tenant <NAME>': tenant name `../etc` has '.' at position 1; names are letters, digits, `.`, `_`, `-`, and start with a letter or digit

    For more information, try '--help'.
    ");
    assert_eq!(moonswarm("versions --tenant acme").arg("x".repeat(65)).run().exit, 2);
}

#[test]
fn with_json_a_usage_error_is_json_too() {
    let said = moonswarm("versions risk --json").run();

    assert_eq!(said.exit, 2);
    assert_eq!(said.json()["error"]["code"], "usage");
}

#[test]
fn colors_come_only_when_asked_for_or_on_a_terminal() {
    let files = Files::new(&[]);
    let push = |color: &str| moonswarm("push nope.luau --tenant acme --color").arg(color).within(&files).run().stderr;

    assert!(push("always").starts_with("\u{1b}["));
    assert!(push("auto").starts_with("error: "));
    assert!(push("never").starts_with("error: "));
}

#[test]
fn shells_get_their_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let said = moonswarm("completions").arg(shell).run();
        assert_eq!(said.exit, 0);
        assert!(said.stdout.contains("rollback"), "{shell}");
    }
}
