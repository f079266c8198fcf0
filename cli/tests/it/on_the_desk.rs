//! run and check: the sandbox without any manager.

use super::program::{Files, moonswarm, project};

#[test]
fn a_result_goes_to_stdout_and_the_log_to_stderr() {
    let script = "return function(input, ctx)\n  ctx.log.info('amount ' .. input.amount)\n  return { output = input.amount + 1 }\nend\n";
    let files = Files::new(&[("risk.luau", script), ("risk.json", r#"{"amount":7}"#)]);

    insta::assert_snapshot!(moonswarm("run risk.luau --input risk.json").within(&files).run(), @r#"
    exit 0
    ---- stdout
    {"output":8}
    ---- stderr
    info   amount 7
    "#);

    let said = moonswarm("run risk.luau --input - --json").stdin(r#"{"amount":8}"#).within(&files).run();
    assert_eq!(said.json()["output"]["output"], 9);
    assert_eq!(said.json()["log"][0]["message"], "amount 8");
}

#[test]
fn an_error_points_into_the_script() {
    let script = "return function(input)\n  local missing = input.customer\n  return { output = missing.name }\nend\n";
    let files = Files::new(&[("rules/risk.luau", script), ("risk.json", "{}")]);

    insta::assert_snapshot!(moonswarm("run rules/risk.luau --input risk.json").within(&files).run(), @"
    exit 3
    ---- stderr
    error: risk.luau:3: attempt to index nil with 'name'
      --> rules/risk.luau:3
      |
    3 |   return { output = missing.name }
      |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    ");

    let said = moonswarm("run rules/risk.luau --input risk.json --json").within(&files).run();
    assert_eq!(said.exit, 3);
    assert_eq!(said.json()["error"]["code"], "script_error");
    assert_eq!(said.json()["error"]["diagnostics"][0]["line"], 3);
}

#[test]
fn an_endless_loop_ends_at_the_deadline() {
    let files = Files::new(&[("loop.luau", "return function() while true do end end")]);

    let said = moonswarm("run loop.luau --json").within(&files).run();

    assert_eq!(said.exit, 3);
    assert_eq!(said.json()["error"]["code"], "deadline_exceeded");
}

#[test]
fn input_that_is_no_json_is_not_the_scripts_fault() {
    let files = Files::new(&[("risk.luau", "return function(input) return input end"), ("risk.json", "{\"amount\":}")]);

    insta::assert_snapshot!(moonswarm("run risk.luau --input risk.json").within(&files).run(), @"
    exit 1
    ---- stderr
    error: input is not usable JSON: expected value at line 1 column 11

    hint: the input is at fault, not the script: check --input
    ");
}

#[test]
fn script_and_input_cannot_both_be_standard_input() {
    insta::assert_snapshot!(moonswarm("run - --input -").run(), @"
    exit 2
    ---- stderr
    error: standard input cannot be both the script and its input

    hint: name a file for one of them
    ");
}

#[test]
fn every_file_is_checked() {
    let files =
        Files::new(&[("good.luau", "return function() end"), ("bad.luau", "return function(\n"), ("empty.luau", "")]);

    insta::assert_snapshot!(moonswarm("check good.luau bad.luau empty.luau").within(&files).run(), @"
    exit 3
    ---- stdout
    ok good.luau version 55e8251a909e
    ---- stderr
    error: bad.luau:2: Expected identifier when parsing variable name, got <eof>
      --> bad.luau:2
    error: `empty.luau` is empty
    ");

    let said = moonswarm("check good.luau bad.luau --json").within(&files).run();
    assert_eq!(said.exit, 3);
    assert_eq!(said.json()["files"][0]["ok"], true);
    assert_eq!(said.json()["files"][1]["error"]["code"], "script_refused");
}

#[test]
fn a_file_that_cannot_be_read_does_not_stop_the_check() {
    let files = Files::new(&[("good.luau", "return function() end")]);

    let said = moonswarm("check nope.luau good.luau").within(&files).run();

    assert_eq!(said.exit, 1);
    assert!(said.stdout.starts_with("ok good.luau version "), "{said}");
    assert!(said.stderr.contains("`nope.luau`"), "{said}");
}

#[test]
fn the_examples_run() {
    for (script, input) in [("risk.luau", "risk.json"), ("founding.lua", "founding.json")] {
        let (script, input) = (project("examples").join(script), project("examples").join(input));

        let said = moonswarm("run").arg(&script).arg("--input").arg(&input).arg("--json").run();

        assert_eq!(said.exit, 0, "{said}");
        assert!(said.json()["output"]["output"] != serde_json::Value::Null, "{said}");
    }
}

#[test]
fn the_guides_scripts_answer_what_the_guide_says() {
    let guide = fs_err::read_to_string(project("docs/guide.md")).unwrap();
    let scripts: Vec<&str> = guide.split("```luau\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect();
    assert!(scripts.len() >= 4, "the guide has only {} scripts", scripts.len());

    for script in scripts {
        let (first, _) = script.split_once('\n').unwrap();
        let (input, answer) = first.strip_prefix("-- ").unwrap().split_once(" answers ").unwrap();
        let files = Files::new(&[("guide.luau", script)]);

        let said = moonswarm("run guide.luau --input -").stdin(input).within(&files).run();

        assert_eq!(said.stdout.trim_end(), answer, "{script}\n{said}");
    }
}
