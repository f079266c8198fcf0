//! Folders and archives in place of files.

use contract::api::{Activation, ChangeAnswer};
use contract::{Version, ids};

use super::fake::{Fake, Reply};
use super::program::{Files, moonswarm, project};

const MAIN: &str = "local vip = require('./rules/vip')\nreturn { handle = vip.handle, tests = vip.tests }\n";
const VIP: &str = "local function handle(input)\n  return { output = input.n + 1 }\nend\nreturn { handle = handle, tests = {\n  counts = function(t) t.equal(handle({ n = 1 }).output, 2) end,\n} }\n";

fn basket(vip: &str) -> Files {
    Files::new(&[
        ("basket/init.luau", MAIN),
        ("basket/rules/vip.luau", vip),
        ("basket/README.md", "words"),
        ("in.json", r#"{"n":6}"#),
    ])
}

fn answer() -> ChangeAnswer {
    ChangeAnswer {
        tenant: "acme".parse().unwrap(),
        script: "basket".parse().unwrap(),
        version: Some(Version::of(b"abc")),
        generation: Some(7),
        release: 417,
        unchanged: false,
        activation: Activation::Live,
        live: None,
    }
}

#[test]
fn a_folder_is_pushed_under_its_name_and_as_the_same_bytes_each_time() {
    let fake = Fake::answering([Reply::json(&answer()), Reply::json(&answer())]);

    for path in ["basket", "./basket/"] {
        let said = moonswarm("push --tenant acme").arg(path).within(&basket(VIP)).manager(&fake).run();
        assert_eq!(said.exit, 0, "{said}");
    }

    let asked = fake.asked();
    assert!(asked[0].line.starts_with("PUT /v1/tenants/acme/scripts/basket?"), "{}", asked[0].line);
    assert_eq!(asked[0].header("content-type"), Some("application/x-tar"));
    assert_eq!(ids::Form::of(&asked[0].body), ids::Form::Tar);
    assert_eq!(asked[0].body, asked[1].body);
}

#[test]
fn a_folder_runs_and_is_checked_with_its_tests() {
    let files = basket(VIP);

    insta::assert_snapshot!(moonswarm("run basket --input in.json").within(&files).run(), @r#"
    exit 0
    ---- stdout
    {"output":7}
    "#);
    let said = moonswarm("check basket --json").within(&files).run();
    assert_eq!(said.exit, 0, "{said}");
    assert_eq!((&said.json()["files"][0]["ok"], &said.json()["files"][0]["tests"]), (&true.into(), &1.into()));
    let said = moonswarm("check basket").within(&files).run();
    assert!(said.stdout.starts_with("ok basket version ") && said.stdout.ends_with(", 1 test\n"), "{said}");
}

#[test]
fn a_test_that_fails_points_into_its_module_and_nothing_is_sent() {
    let fake = Fake::answering([]);

    insta::assert_snapshot!(moonswarm("push basket --tenant acme").within(&basket(&VIP.replace("+ 1", "+ 2"))).manager(&fake).run(), @r#"
    exit 3
    ---- stderr
    error: rules/vip.luau:5: test "counts" failed: got 3, expected 2
      --> basket/rules/vip.luau:5
      |
    5 |   counts = function(t) t.equal(handle({ n = 1 }).output, 2) end,
      |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    hint: nothing was sent and nothing changed; correct the script and push again
    "#);
    assert_eq!(fake.asked().len(), 0);
}

#[test]
fn every_module_that_is_wrong_is_shown() {
    let files = Files::new(&[("basket/init.luau", "local = 1\n"), ("basket/a.luau", "\nreturn =\n")]);

    insta::assert_snapshot!(moonswarm("check basket").within(&files).run(), @"
    exit 3
    ---- stderr
    error: a.luau:2: Expected identifier when parsing expression, got '='; and 1 more
      --> basket/a.luau:2
      |
    2 | return =
      | ^^^^^^^^ Expected identifier when parsing expression, got '='
      --> basket/init.luau:1
      |
    1 | local = 1
      | ^^^^^^^^^ Expected identifier when parsing variable name, got '='
    ");
}

#[test]
fn a_folder_without_a_script_says_what_it_wants() {
    let files = Files::new(&[("basket/README.md", "words")]);

    insta::assert_snapshot!(moonswarm("check basket").within(&files).run(), @"
    exit 3
    ---- stderr
    error: `basket` has no `init.luau` or `main.luau` at its root; it has no `.luau` file at all
    ");
}

#[test]
fn an_archive_is_pushed_as_it_is() {
    let folder = basket(VIP);
    let fake = Fake::answering([Reply::json(&answer()), Reply::json(&answer())]);
    moonswarm("push basket --tenant acme").within(&folder).manager(&fake).run();
    let tar = fake.asked()[0].body.clone();
    folder.write("archive/basket.tar", &tar);

    let said = moonswarm("push archive/basket.tar --tenant acme").within(&folder).manager(&fake).run();

    assert_eq!(said.exit, 0, "{said}");
    let asked = &fake.asked()[1];
    assert!(asked.line.starts_with("PUT /v1/tenants/acme/scripts/basket?"), "{}", asked.line);
    assert_eq!(asked.body, tar);
}

#[test]
fn the_types_are_printed() {
    let said = moonswarm("types").run();

    assert_eq!(said.exit, 0);
    assert!(said.stdout.contains("\nexport type Context = {\n"), "{said}");
}

#[test]
fn the_example_of_a_package_holds_its_tests() {
    let said = moonswarm("check").arg(project("examples/basket")).run();
    assert!(said.stdout.ends_with(", 3 tests\n"), "{said}");

    let said =
        moonswarm("run").arg(project("examples/basket")).arg("--input").arg(project("examples/basket.json")).run();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&said.stdout).unwrap()["output"]["discount"], 1725);
}
