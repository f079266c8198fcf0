//! The examples that authors start from.

use std::fmt::Write as _;
use std::path::Path;

use crate::{at_desk, roomy};

/// Answer and log of `examples/SCRIPT` with `examples/INPUT`.
#[track_caller]
fn run(script: &str, input: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let source = fs_err::read_to_string(folder.join(script)).unwrap();
    let input = fs_err::read_to_string(folder.join(input)).unwrap();
    let mut text = String::new();
    at_desk(roomy(), |desk| {
        let execution = desk.run(&source, &input);
        text = crate::sorted(&execution.outcome.unwrap().into_json());
        for line in execution.log {
            write!(text, "\n{}: {}", line.level.as_str(), line.message).unwrap();
        }
    });
    text
}

#[test]
fn risk_scores_an_order() {
    insta::assert_snapshot!(
        run("risk.luau", "risk.json"),
        @r#"{"output":{"decision":"review","reasons":["large_amount"],"score":30,"total":1250.5,"user_id":"user-12345"}}"#
    );
}

#[test]
fn pricing_prices_a_basket() {
    insta::assert_snapshot!(run("pricing.luau", "pricing.json").replace('\t', " "), @r#"
    {"output":{"cents":18501,"currency":"EUR","lines":[{"cents":12900,"qty":1,"sku":"anvil"},{"cents":7656,"qty":6,"sku":"rope-10m"}]}}
    debug: priced 2 lines with 10 % discount
    "#);
}

#[test]
fn the_founding_form_runs_unchanged() {
    let text = run("founding.lua", "founding.json");
    let (before, date) = text.rsplit_once(' ').unwrap();

    assert_eq!(date.len(), "2024-06-10".len());
    insta::assert_snapshot!(before, @r#"
    {"output":{"group":"test","score":617,"user_id":"user-12345"}}
    info: scoring user-12345
    info: request 1718000000000000001 at
    "#);
}
