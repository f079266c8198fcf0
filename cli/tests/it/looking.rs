//! list, status, versions.

use contract::api::{ExecutorList, Health, ScriptInfo, ScriptList, Status, VersionInfo, VersionList};
use contract::release::Entry;
use contract::{Code, Version};

use super::fake::{Fake, Reply};
use super::program::moonswarm;

fn scripts() -> ScriptList {
    let entry = Entry {
        version: Version::of(b"abc"),
        generation: 7,
        object: "tenants/acme/scripts/risk.luau".into(),
        size: 3,
        pushed_at_ms: 4_102_444_800_000,
        pushed_by: "ada".into(),
    };
    let info = ScriptInfo {
        tenant: "acme".parse().unwrap(),
        script: "risk".parse().unwrap(),
        running: Some(entry),
        refused: None,
        source: None,
    };
    ScriptList { release: 417, scripts: vec![info] }
}

#[test]
fn scripts_are_listed() {
    let fake = Fake::answering([Reply::json(&scripts())]);

    insta::assert_snapshot!(moonswarm("list").manager(&fake).run(), @"
    exit 0
    ---- stdout
    TENANT  SCRIPT  VERSION       GENERATION  SIZE  PUSHED                                BY
    acme    risk    ba7816bf8f01  7           3 B   2100-01-01T00:00:00Z (in the future)  ada

    1 script of 1 tenant in release 417
    ");
    assert_eq!(fake.asked_once().line, "GET /v1/scripts");
}

#[test]
fn scripts_of_one_tenant_are_asked_for() {
    let fake = Fake::answering([Reply::json(&scripts())]);

    let said = moonswarm("list --tenant acme --json").manager(&fake).run();

    assert_eq!(said.json(), serde_json::to_value(scripts()).unwrap());
    assert_eq!(fake.asked_once().line, "GET /v1/tenants/acme/scripts");
}

#[test]
fn an_unknown_tenant_is_told_in_the_managers_words() {
    let fake = Fake::answering([
        Reply::problem(Code::UnknownTenant, "no script of tenant `acne` is in release 417"),
        Reply::problem(Code::UnknownTenant, "no script of tenant `acne` is in release 417"),
    ]);

    insta::assert_snapshot!(moonswarm("list --tenant acne").manager(&fake).run(), @"
    exit 1
    ---- stderr
    error: cannot list scripts: no script of tenant `acne` is in release 417
      manager: MANAGER
    ");
    let said = moonswarm("list --tenant acne --json").manager(&fake).run();
    assert_eq!(said.json()["error"]["code"], "unknown_tenant");
    assert_eq!(said.json()["error"]["status"], 404);
}

#[test]
fn status_tells_manager_and_executors() {
    let ok = || Health { ok: true, detail: "fine".into() };
    let status = Status {
        stack: "dev".into(),
        program: "0.1.0".into(),
        release: 417,
        scripts: 1,
        tenants: 1,
        executors: 0,
        executors_current: 0,
        bucket: ok(),
        notifications: ok(),
        swarm: ok(),
        refused: Vec::new(),
    };
    let executors = ExecutorList { release: 417, executors: Vec::new() };
    let replies = || [Reply::json(&status), Reply::json(&executors)];

    let fake = Fake::answering(replies());
    insta::assert_snapshot!(moonswarm("status").manager(&fake).run(), @"
    exit 0
    ---- stdout
    stack dev: release 417, 1 script of 1 tenant (manager 0.1.0)

    no  executors      none is connected
    ok  bucket         fine
    ok  notifications  fine
    ok  swarm          fine
    ");

    let fake = Fake::answering(replies());
    let said = moonswarm("status --json").manager(&fake).run();
    assert_eq!(said.json()["status"]["release"], 417);
    assert_eq!(said.json()["executors"]["release"], 417);
}

#[test]
fn versions_are_listed_newest_first_as_the_manager_gives_them() {
    let version = |generation, running| VersionInfo {
        version: Some(Version::of(b"abc")),
        generation,
        size: 3,
        pushed_at_ms: 4_102_444_800_000,
        pushed_by: "ada".into(),
        running,
    };
    let list = VersionList {
        tenant: "acme".parse().unwrap(),
        script: "risk".parse().unwrap(),
        versions: vec![version(8, true), version(7, false)],
    };
    let fake = Fake::answering([Reply::json(&list)]);

    insta::assert_snapshot!(moonswarm("versions risk --tenant acme").manager(&fake).run(), @"
    exit 0
    ---- stdout
       VERSION       GENERATION  SIZE  PUSHED                                BY
    *  ba7816bf8f01  8           3 B   2100-01-01T00:00:00Z (in the future)  ada
       ba7816bf8f01  7           3 B   2100-01-01T00:00:00Z (in the future)  ada
    ");
    assert_eq!(fake.asked_once().line, "GET /v1/tenants/acme/scripts/risk/versions");
}

#[test]
fn another_web_server_is_recognised() {
    let fake = Fake::answering([Reply::Words(200, "<h1>It works!</h1>"), Reply::Words(503, "")]);

    insta::assert_snapshot!(moonswarm("list").manager(&fake).run(), @"
    exit 1
    ---- stderr
    error: cannot list scripts: MANAGER answered 200 OK, but not as a Moonswarm manager does: <h1>It works!</h1>

    hint: check that --manager names a Moonswarm manager of this release
    ");
    assert_eq!(moonswarm("list").manager(&fake).run().exit, 6);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let fake = Fake::answering([Reply::json(&scripts())]);

    assert_eq!(moonswarm("list").manager(&fake).run_unread(), 0);
}
