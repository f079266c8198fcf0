//! call.

use contract::{Code, Diagnostic, Problem};

use super::fake::{Fake, Reply};
use super::program::{Files, moonswarm};

const HEADERS: [(&str, &str); 3] =
    [("x-moonswarm-release", "417"), ("x-moonswarm-version", "ba78"), ("x-moonswarm-execution-id", "0197")];

fn answer() -> Reply {
    Reply::With(HEADERS.to_vec(), r#"{"output":{"score":7}}"#.into())
}

fn input() -> Files {
    Files::new(&[("risk.json", r#"{"amount":7}"#), ("token", "caller")])
}

#[test]
fn the_answer_is_printed_as_it_came() {
    let fake = Fake::answering([answer()]);

    let said = moonswarm("call risk --tenant acme --input risk.json")
        .env("MOONSWARM_TOKEN", "of-the-manager")
        .within(&input())
        .executor(&fake)
        .run();

    insta::assert_snapshot!(said, @r#"
    exit 0
    ---- stdout
    {"output":{"score":7}}
    "#);
    let asked = fake.asked_once();
    assert_eq!(asked.line, "POST /v1/run/acme/risk");
    assert_eq!(asked.body, r#"{"amount":7}"#);
    assert_eq!(asked.header("authorization"), None, "the manager's token is not for executors");
}

#[test]
fn an_executor_with_a_token_gets_its_own() {
    let fake = Fake::answering([answer()]);

    moonswarm("call risk --tenant acme --executor-token-file token").within(&input()).executor(&fake).run();

    assert_eq!(fake.asked_once().header("authorization"), Some("Bearer caller"));
}

#[test]
fn who_answered_is_told_beside_the_answer() {
    let fake = Fake::answering([answer(), answer()]);

    let said = moonswarm("call risk --tenant acme --verbose").executor(&fake).run();
    assert_eq!(said.stdout, "{\"output\":{\"score\":7}}\n");
    let lines: Vec<_> = said.stderr.lines().collect();
    assert_eq!(lines[..3], ["release    417", "version    ba78", "execution  0197"]);

    let said = moonswarm("call risk --tenant acme --json --input -").stdin("1").executor(&fake).run();
    assert_eq!(said.json()["release"], 417);
    assert_eq!(said.json()["output"]["output"]["score"], 7);
    assert_eq!(fake.asked()[1].body, "1");
}

#[test]
fn a_script_that_fails_is_at_fault() {
    let diagnostic = Diagnostic { file: "risk.luau".into(), line: 3, column: None, message: "amount is nil".into() };
    let mut problem = Problem::new(Code::ScriptError, "acme/risk raised an error").with_diagnostics(vec![diagnostic]);
    problem.request_id = "0197".into();
    let fake = Fake::answering([Reply::Problem(problem)]);

    insta::assert_snapshot!(moonswarm("call risk --tenant acme").executor(&fake).run(), @"
    exit 3
    ---- stderr
    error: cannot call `acme/risk`: acme/risk raised an error
      --> risk.luau:3: amount is nil
      executor: EXECUTOR
      request: 0197
    ");
}

#[test]
fn an_executor_that_is_not_there_is_unreachable() {
    let said = moonswarm("call risk --tenant acme --executor http://127.0.0.1:1").run();

    insta::assert_snapshot!(said, @"
    exit 6
    ---- stderr
    error: cannot call `acme/risk`: no executor answers at http://127.0.0.1:1: Connection refused (os error 111)

    hint: is `cargo xtask dev` running? Otherwise say where the executor is with --executor
    ");
}
