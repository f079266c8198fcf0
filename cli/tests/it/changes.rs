//! push, rollback, remove.

use contract::api::{Activation, ChangeAnswer, ExecutorInfo, ExecutorList, Laggard, Live};
use contract::{Code, Diagnostic, Problem, Version};

use super::fake::{Fake, Reply};
use super::program::{Files, moonswarm};

const RISK: &str = "return function(input)\n  return { output = input.amount }\nend\n";

fn risk() -> Files {
    Files::new(&[("rules/risk.luau", RISK)])
}

fn answer() -> ChangeAnswer {
    ChangeAnswer {
        tenant: "acme".parse().unwrap(),
        script: "risk".parse().unwrap(),
        version: Some(Version::of(b"abc")),
        generation: Some(7),
        release: 417,
        unchanged: false,
        activation: Activation::Live,
        live: None,
    }
}

fn live(executors: u32, laggards: Vec<Laggard>) -> ChangeAnswer {
    let acknowledged = executors - u32::try_from(laggards.len()).unwrap();
    ChangeAnswer { live: Some(Live { executors, acknowledged, elapsed_ms: 38.2, laggards }), ..answer() }
}

fn laggard() -> Laggard {
    Laggard { executor: "executor-3".into(), node: "node-b".into(), reason: "feed lost 1.2 s ago".into() }
}

#[test]
fn a_push_sends_the_script_and_tells_when_it_is_live_everywhere() {
    let fake = Fake::answering([Reply::json(&live(6, Vec::new()))]);

    let said = moonswarm("push rules/risk.luau --tenant acme --wait --author ada").within(&risk()).manager(&fake).run();

    insta::assert_snapshot!(said, @"
    exit 0
    ---- stdout
    release 417 live on 6/6 executors in 38 ms
      acme/risk version ba7816bf8f01, generation 7
    ");
    let asked = fake.asked_once();
    assert_eq!(asked.line, "PUT /v1/tenants/acme/scripts/risk?wait=30000ms&activation=live");
    assert_eq!(asked.body, RISK);
    assert_eq!(asked.header("x-moonswarm-author"), Some("ada"));
    assert_eq!(asked.header("authorization"), None);
    assert_eq!(asked.header("if-match"), None);
}

#[test]
fn a_push_that_is_not_waited_for_is_committed() {
    let fake = Fake::answering([Reply::json(&answer())]);

    let said = moonswarm("push rules/risk.luau --activation rolling")
        .env("MOONSWARM_TENANT", "acme")
        .env("USER", "grace")
        .within(&risk())
        .manager(&fake)
        .run();

    insta::assert_snapshot!(said, @"
    exit 0
    ---- stdout
    release 417 committed
      acme/risk version ba7816bf8f01, generation 7
    ");
    let asked = fake.asked_once();
    assert_eq!(asked.line, "PUT /v1/tenants/acme/scripts/risk?activation=rolling");
    assert_eq!(asked.header("x-moonswarm-author"), Some("grace"));
}

#[test]
fn a_push_of_what_already_runs_says_so() {
    let fake = Fake::answering([Reply::json(&ChangeAnswer { unchanged: true, ..answer() })]);

    let said = moonswarm("push rules/risk.luau --tenant acme").within(&risk()).manager(&fake).run();

    insta::assert_snapshot!(said, @"
    exit 0
    ---- stdout
    release 417 unchanged
      acme/risk already runs version ba7816bf8f01, generation 7
    ");
}

#[test]
fn with_json_a_push_prints_the_managers_answer() {
    let fake = Fake::answering([Reply::json(&live(6, Vec::new()))]);

    let said = moonswarm("push rules/risk.luau --tenant acme --wait=5s --json").within(&risk()).manager(&fake).run();

    assert_eq!(said.exit, 0);
    assert_eq!(said.json(), serde_json::to_value(live(6, Vec::new())).unwrap());
}

#[test]
fn laggards_are_named_and_told_apart_from_success() {
    let replies = || [Reply::json(&live(6, vec![laggard()]))];
    let push = "push rules/risk.luau --tenant acme --wait";

    let fake = Fake::answering(replies());
    insta::assert_snapshot!(moonswarm(push).within(&risk()).manager(&fake).run(), @"
    exit 5
    ---- stderr
    error: release 417 is committed, but live on only 5 of 6 executors after 38 ms
      script: acme/risk version ba7816bf8f01, generation 7
      not live: executor-3 on node-b: feed lost 1.2 s ago

    hint: executors take the release as soon as they can; `moonswarm status` shows how far they are
    ");

    let fake = Fake::answering(replies());
    let said = moonswarm(push).arg("--json").within(&risk()).manager(&fake).run();
    assert_eq!(said.exit, 5);
    assert_eq!(said.json()["live"]["laggards"][0]["executor"], "executor-3");
}

#[test]
fn a_push_that_no_executor_runs_is_not_live() {
    let fake = Fake::answering([Reply::json(&live(0, Vec::new()))]);

    let said = moonswarm("push rules/risk.luau --tenant acme --wait").within(&risk()).manager(&fake).run();

    insta::assert_snapshot!(said, @"
    exit 5
    ---- stderr
    error: release 417 is committed, but no executor is connected that could run it
      script: acme/risk version ba7816bf8f01, generation 7

    hint: executors take the release as soon as they can; `moonswarm status` shows how far they are
    ");
}

#[test]
fn a_push_that_takes_its_time_shows_who_is_waited_for() {
    let executor = |id: &str, release| ExecutorInfo {
        id: id.into(),
        node: "node-a".into(),
        program: "0.1.0".into(),
        release,
        connected: true,
        since_ms: 5,
    };
    let executors = ExecutorList { release: 417, executors: vec![executor("a", 417), executor("b", 416)] };
    let done = serde_json::to_string(&live(2, Vec::new())).unwrap();
    let fake = Fake::answering([Reply::AfterLooks(done)]).executors(&executors);

    let said = moonswarm("push rules/risk.luau --tenant acme --wait").within(&risk()).manager(&fake).run();

    insta::assert_snapshot!(said, @"
    exit 0
    ---- stdout
    release 417 live on 2/2 executors in 38 ms
      acme/risk version ba7816bf8f01, generation 7
    ---- stderr
    waiting for executors: 1/2 on release 417
    ");
}

#[test]
fn a_script_with_a_syntax_error_never_leaves_the_desk() {
    let fake = Fake::answering([]);
    let files = Files::new(&[("risk.luau", "return function(input)\n  local = 1\nend\n")]);

    let said = moonswarm("push risk.luau --tenant acme").within(&files).manager(&fake).run();

    insta::assert_snapshot!(said, @"
    exit 3
    ---- stderr
    error: risk.luau:2: Expected identifier when parsing variable name, got '='
      --> risk.luau:2
      |
    2 |   local = 1
      |   ^^^^^^^^^

    hint: nothing was sent and nothing changed; correct the script and push again
    ");
    assert_eq!(fake.asked().len(), 0);
}

#[test]
fn a_refusal_by_the_manager_points_into_the_script() {
    let diagnostic =
        Diagnostic { file: "risk.luau".into(), line: 2, column: Some(12), message: "`output` is too good".into() };
    let problem = Problem::new(Code::ScriptRefused, "policy `modest` forbids it").with_diagnostics(vec![diagnostic]);
    let fake = Fake::answering([Reply::Problem(problem)]);

    let said = moonswarm("push rules/risk.luau --tenant acme").within(&risk()).manager(&fake).run();

    insta::assert_snapshot!(said, @"
    exit 3
    ---- stderr
    error: cannot push `acme/risk`: policy `modest` forbids it
      --> risk.luau:2:12
      |
    2 |   return { output = input.amount }
      |            ^ `output` is too good
      manager: MANAGER
    ");
}

#[test]
fn a_script_too_large_for_the_manager_is_at_fault() {
    let fake = Fake::answering([Reply::problem(Code::TooLarge, "`risk.luau` has 300 bytes, 200 are allowed")]);

    assert_eq!(moonswarm("push rules/risk.luau --tenant acme").within(&risk()).manager(&fake).run().exit, 3);
}

#[test]
fn somebody_elses_change_is_not_overwritten() {
    let problem = Problem::new(Code::Conflict, "generation 8 runs, pushed by bob 2 min ago; you asked for 7");
    let fake = Fake::answering([Reply::Problem(problem)]);

    let said = moonswarm("push rules/risk.luau --tenant acme --if-generation 7").within(&risk()).manager(&fake).run();

    insta::assert_snapshot!(said, @"
    exit 4
    ---- stderr
    error: cannot push `acme/risk`: generation 8 runs, pushed by bob 2 min ago; you asked for 7
      manager: MANAGER

    hint: look at what runs now with `moonswarm versions risk --tenant acme`
    ");
    assert_eq!(fake.asked_once().header("if-match"), Some("\"7\""));
}

#[test]
fn generation_0_means_only_if_there_is_none() {
    let fake = Fake::answering([Reply::json(&answer())]);

    moonswarm("push rules/risk.luau --tenant acme --if-generation 0").within(&risk()).manager(&fake).run();

    assert_eq!(fake.asked_once().header("if-none-match"), Some("*"));
}

#[test]
fn a_manager_that_is_not_there_is_unreachable() {
    let files = risk();
    let push = || moonswarm("push rules/risk.luau --tenant acme --manager http://127.0.0.1:1").within(&files);

    insta::assert_snapshot!(push().run(), @"
    exit 6
    ---- stderr
    error: cannot push `acme/risk`: no manager answers at http://127.0.0.1:1: Connection refused (os error 111)
      nothing was sent: what ran still runs

    hint: is `cargo xtask dev` running? Otherwise say where the manager is with --manager
    ");
    let said = push().arg("--json").run();
    assert_eq!(said.exit, 6);
    assert_eq!(said.json()["error"]["code"], "unreachable");
    assert_eq!(said.json()["error"]["exit_code"], 6);
}

#[test]
fn a_push_without_answer_may_have_happened() {
    let fake = Fake::answering([Reply::Silence]);

    let said = moonswarm("push rules/risk.luau --tenant acme --timeout 300ms").within(&risk()).manager(&fake).run();

    insta::assert_snapshot!(said, @"
    exit 6
    ---- stderr
    error: cannot push `acme/risk`: the manager at MANAGER gave no answer within 300ms
      not known: whether the change was made

    hint: find out with `moonswarm versions risk --tenant acme`
    ");
    assert_eq!(fake.asked().len(), 1, "a push is never sent twice");
}

#[test]
fn a_script_from_standard_input_needs_a_name() {
    let fake = Fake::answering([Reply::json(&answer())]);

    insta::assert_snapshot!(moonswarm("push - --tenant acme").stdin(RISK).manager(&fake).run(), @"
    exit 2
    ---- stderr
    error: standard input has no name to call the script after

    hint: name it with --name
    ");

    assert_eq!(moonswarm("push - --tenant acme --name risk").stdin(RISK).manager(&fake).run().exit, 0);
    assert_eq!(fake.asked_once().body, RISK);
}

#[test]
fn a_file_whose_name_is_no_script_name_needs_another() {
    let files = Files::new(&[("my rule.luau", RISK)]);

    let said = moonswarm("push --tenant acme").arg("my rule.luau").within(&files).run();

    insta::assert_snapshot!(said, @"
    exit 2
    ---- stderr
    error: cannot call the script after `my rule.luau`: script name `my rule` has ' ' at position 3; names are letters, digits, `.`, `_`, `-`, and start with a letter or digit

    hint: name it with --name
    ");
}

#[test]
fn a_missing_file_is_named() {
    insta::assert_snapshot!(moonswarm("push nope.luau --tenant acme").within(&risk()).run(), @"
    exit 1
    ---- stderr
    error: cannot read the script: failed to open file `nope.luau`: No such file or directory (os error 2)

    hint: paths start at the current directory; `-` means standard input
    ");
}

#[test]
fn the_token_is_shown_to_the_manager() {
    let fake = Fake::answering([Reply::json(&answer()), Reply::json(&answer())]);
    let files = Files::new(&[("risk.luau", RISK), ("token", "s3cret\n")]);
    let push = || moonswarm("push risk.luau --tenant acme").within(&files).manager(&fake);

    push().env("MOONSWARM_TOKEN", "other").env("MOONSWARM_TOKEN_FILE", "token").run();
    push().env("MOONSWARM_TOKEN", "other").run();

    let tokens: Vec<_> = fake.asked().iter().map(|asked| asked.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(tokens, ["Bearer s3cret", "Bearer other"]);
}

#[test]
fn a_token_file_that_is_missing_or_empty_stops_everything() {
    let files = Files::new(&[("risk.luau", RISK), ("empty", "\n")]);

    for file in ["no-such", "empty"] {
        let said = moonswarm("push risk.luau --tenant acme --token-file").arg(file).within(&files).run();
        assert_eq!(said.exit, 2, "{said}");
        assert!(said.stderr.contains(file), "{said}");
    }
}

#[test]
fn a_rollback_asks_for_the_version_and_waits() {
    let fake = Fake::answering([Reply::json(&live(6, Vec::new())), Reply::json(&answer())]);

    let said = moonswarm("rollback risk --tenant acme --to ba7816 --wait=2s --author ada").manager(&fake).run();
    moonswarm("rollback risk --tenant acme").manager(&fake).run();

    insta::assert_snapshot!(said, @"
    exit 0
    ---- stdout
    release 417 live on 6/6 executors in 38 ms
      acme/risk version ba7816bf8f01, generation 7
    ");
    let asked = fake.asked();
    assert_eq!(asked[0].line, "POST /v1/tenants/acme/scripts/risk:rollback?wait=2000ms&activation=live");
    assert_eq!(asked[0].body, r#"{"to":"ba7816"}"#);
    assert_eq!(asked[0].header("x-moonswarm-author"), Some("ada"));
    assert_eq!(asked[1].line, "POST /v1/tenants/acme/scripts/risk:rollback?activation=live");
    assert_eq!(asked[1].body, "{}");
}

#[test]
fn a_removal_names_what_went() {
    let gone = ChangeAnswer { version: None, generation: None, ..answer() };
    let fake = Fake::answering([Reply::json(&gone)]);

    let said = moonswarm("remove risk --tenant acme --if-generation 7").manager(&fake).run();

    insta::assert_snapshot!(said, @"
    exit 0
    ---- stdout
    release 417 committed
      acme/risk is not in the release
    ");
    let asked = fake.asked_once();
    assert_eq!(asked.line, "DELETE /v1/tenants/acme/scripts/risk?activation=live");
    assert_eq!(asked.header("if-match"), Some("\"7\""));
}
