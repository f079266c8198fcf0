//! The API: good input, and all bad input.

use contract::api::{ChangeAnswer, ExecutorList, ReleaseList, ScriptInfo, ScriptList, VersionList};
use contract::release::SignedRelease;
use reqwest::Method;

use crate::world::{Options, RISK, World};

#[tokio::test]
async fn a_new_script_is_created_and_the_same_content_changes_nothing() {
    let world = World::start().await;

    let first = world.put("acme/risk", "?wait=1s", "return 1").await;
    let second = world.put("acme/risk", "?wait=1s", "return 1").await;

    assert_eq!((first.status, second.status), (201, 200));
    let (first, second): (ChangeAnswer, ChangeAnswer) = (first.body(), second.body());
    assert!(!first.unchanged && second.unchanged);
    assert_eq!((second.release, second.generation), (first.release, first.generation));
    assert!(second.live.unwrap().is_complete());
}

#[tokio::test]
async fn a_script_is_shown_with_source_and_generation() {
    let world = World::start().await;
    let pushed = world.push("acme/risk", "return 1").await;

    let answer = world.get("/v1/tenants/acme/scripts/risk").await;

    assert_eq!(answer.headers["etag"], format!("\"{}\"", pushed.generation.unwrap()));
    let info: ScriptInfo = answer.body();
    assert_eq!(info.source.as_deref(), Some("return 1"));
    let running = info.running.unwrap();
    assert_eq!((running.pushed_by.as_str(), running.object.as_str(), running.size), ("ada", RISK, 8));
}

#[tokio::test]
async fn lists_are_by_tenant_and_name() {
    let world = World::start().await;
    for name in ["b/x", "a/y", "a/x"] {
        world.push(name, "return 1").await;
    }

    let all: ScriptList = world.get("/v1/scripts").await.body();
    let some: ScriptList = world.get("/v1/scripts?tenant=a").await.body();
    let same: ScriptList = world.get("/v1/tenants/a/scripts").await.body();

    let names = |list: &ScriptList| -> Vec<String> {
        list.scripts.iter().map(|info| format!("{}/{}", info.tenant, info.script)).collect()
    };
    assert_eq!(names(&all), ["a/x", "a/y", "b/x"]);
    assert_eq!(names(&some), ["a/x", "a/y"]);
    assert_eq!(some, same);
}

#[tokio::test]
async fn a_push_for_another_generation_is_told_who_was_first() {
    let world = World::start().await;
    world.push("acme/risk", "return 1").await;
    let path = "/v1/tenants/acme/scripts/risk";

    let answer = world.call(Method::PUT, path, &[("if-match", "\"999\"")], "return 2").await;
    let created = world.call(Method::PUT, path, &[("if-none-match", "*")], "return 2").await;

    insta::assert_snapshot!(answer.problem(), @r#"
    412 conflict: `acme/risk` is at generation 2, written by ada at 2026-01-01T00:00:00.002Z; the change was made for generation 999
    hint: look at what is there, then push with `If-Match: "2"`
    "#);
    insta::assert_snapshot!(created.problem(), @r"
    412 conflict: `acme/risk` is at generation 2, written by ada at 2026-01-01T00:00:00.002Z; the change was made for no such script
    hint: look at what is there, then push again
    ");
    assert_eq!(world.release(), 2);
}

#[tokio::test]
async fn a_push_for_the_right_generation_goes_through() {
    let world = World::start().await;
    let first = world.push("acme/risk", "return 1").await;
    let tag = first.generation.unwrap().to_string();

    let answer = world.call(Method::PUT, "/v1/tenants/acme/scripts/risk", &[("if-match", &tag)], "return 2").await;

    assert_eq!(answer.body::<ChangeAnswer>().release, 3);
}

#[tokio::test]
async fn of_two_authors_at_once_one_wins() {
    let world = World::start().await;
    world.push("acme/risk", "return 0").await;
    // The other author uploads while this manager still believes in the old generation.
    world.bucket.upload(RISK, "return 'other'");

    let answer = world.put("acme/risk", "", "return 'mine'").await;

    let problem = answer.problem();
    assert!(problem.starts_with("412 conflict: `acme/risk` is at generation 4, written by bucket upload"), "{problem}");
    assert_eq!(world.bucket.live(RISK).unwrap().1, "return 'other'");
}

#[tokio::test]
async fn a_push_over_a_deleted_object_goes_through() {
    let world = World::start().await;
    world.push("acme/risk", "return 1").await;
    world.bucket.delete_live(RISK);

    let answer = world.push("acme/risk", "return 2").await;

    assert_eq!(answer.release, 3);
}

#[tokio::test]
async fn a_script_that_came_as_lua_stays_in_its_object() {
    let world = World::start().await;
    let object = "tenants/acme/scripts/risk.lua";
    world.bucket.upload(object, "return 1");
    world.reconcile().await.unwrap();

    world.push("acme/risk", "return 2").await;

    assert_eq!(world.bucket.live(object).unwrap().1, "return 2");
    assert!(world.bucket.live(RISK).is_none());
}

#[tokio::test]
async fn a_removed_script_is_gone_from_bucket_and_release() {
    let world = World::start().await;
    let [follower] = world.followers(["one"]).await;
    world.push("acme/risk", "return 1").await;
    world.bucket.upload("tenants/acme/scripts/risk.lua", "return 'older sibling'");

    let answer = world.call(Method::DELETE, "/v1/tenants/acme/scripts/risk?wait=5s", &[], "").await;

    let answer: ChangeAnswer = answer.body();
    assert_eq!((answer.version, answer.generation, answer.release), (None, None, 3));
    assert!(follower.source("acme", "risk").is_none());
    assert!(world.bucket.live(RISK).is_none());
    world.reconcile().await.unwrap();
    assert_eq!(world.release(), 3);
}

#[tokio::test]
async fn a_removal_for_another_generation_or_of_nothing_is_refused() {
    let world = World::start().await;
    world.push("acme/risk", "return 1").await;

    let other = world.call(Method::DELETE, "/v1/tenants/acme/scripts/risk", &[("if-match", "7")], "").await;
    let nothing = world.call(Method::DELETE, "/v1/tenants/acme/scripts/nope", &[], "").await;
    let rolling = world.call(Method::DELETE, "/v1/tenants/acme/scripts/risk?activation=rolling", &[], "").await;

    assert_eq!((other.status, nothing.status, rolling.status), (412, 404, 400));
    assert_eq!(world.release(), 2);
}

#[tokio::test]
async fn versions_are_listed_newest_first() {
    let world = World::start().await;
    for source in ["return 1", "return 2"] {
        world.push("acme/risk", source).await;
    }
    world.bucket.upload(RISK, "return 3");

    let list: VersionList = world.get("/v1/tenants/acme/scripts/risk/versions").await.body();

    let shown: Vec<_> = list
        .versions
        .iter()
        .map(|info| format!("{} {} {} {}", info.generation, info.version.is_some(), info.pushed_by, info.running))
        .collect();
    assert_eq!(shown, ["6 false bucket upload false", "4 true ada true", "2 true ada false"]);
}

#[tokio::test]
async fn a_rollback_is_a_new_generation_of_the_old_content() {
    let world = World::start().await;
    let [follower] = world.followers(["one"]).await;
    let first = world.push("acme/risk", "return 1").await;
    let second = world.push("acme/risk", "return 2").await;

    let back: ChangeAnswer = world.rollback("acme/risk", None).await.body();

    assert_eq!((back.version, back.release), (first.version, 4));
    assert!(back.generation > second.generation);
    assert_eq!(follower.source("acme", "risk").unwrap(), "return 1");
    assert_eq!(world.bucket.live(RISK).unwrap().1, "return 1");
    let releases: ReleaseList = world.get("/v1/releases").await.body();
    assert_eq!(releases.releases[0].reason, "rollback acme/risk to 486d9affb60d by eve");
}

#[tokio::test]
async fn a_rollback_finds_versions_by_prefix_and_generation_also_of_uploads() {
    let world = World::start().await;
    let uploaded = world.bucket.upload(RISK, "return 1");
    world.reconcile().await.unwrap();
    world.push("acme/risk", "return 2").await;
    world.push("acme/risk", "return 3").await;

    let by_prefix: ChangeAnswer = world.rollback("acme/risk", Some("486d9a")).await.body();
    let by_default: ChangeAnswer = world.rollback("acme/risk", None).await.body();
    let by_generation: ChangeAnswer = world.rollback("acme/risk", Some(&uploaded.to_string())).await.body();

    let source = |answer: &ChangeAnswer| answer.version.clone().unwrap();
    assert_eq!(source(&by_prefix), contract::Version::of(b"return 1"));
    assert_eq!(source(&by_default), contract::Version::of(b"return 3"));
    assert_eq!(source(&by_generation), contract::Version::of(b"return 1"));
}

#[tokio::test]
async fn a_rollback_to_nothing_known_is_told() {
    let world = World::start().await;
    world.push("acme/risk", "return 1").await;

    insta::assert_snapshot!(world.rollback("acme/risk", None).await.problem(), @r"
    404 unknown_version: `acme/risk`: no older version with another content is kept
    hint: `moonswarm versions risk --tenant acme` shows those that are kept
    ");
    insta::assert_snapshot!(world.rollback("acme/risk", Some("abcdef")).await.problem(), @r"
    404 unknown_version: `acme/risk`: no kept version begins with `abcdef`; 1 are kept
    hint: `moonswarm versions risk --tenant acme` shows those that are kept
    ");
    insta::assert_snapshot!(world.rollback("acme/risk", Some("v2")).await.problem(), @r"
    400 bad_request: `v2` is neither a kept generation nor at least 6 lower-case hex digits of a version
    hint: `moonswarm versions risk --tenant acme` shows those that are kept
    ");
    assert_eq!(world.rollback("acme/nope", None).await.status, 404);
}

#[tokio::test]
async fn a_rollback_request_that_is_no_json_is_told() {
    let world = World::start().await;
    world.push("acme/risk", "return 1").await;
    let path = "/v1/tenants/acme/scripts/risk:rollback";

    insta::assert_snapshot!(world.call(Method::POST, path, &[], "{\"to\":").await.problem(), @r#"
    400 bad_json: the rollback request is not of its form: EOF while parsing a value at line 1 column 6
    hint: send nothing, or `{"to":"VERSION"}`
    "#);
    assert_eq!(world.call(Method::POST, path, &[], "{\"from\":\"x\"}").await.status, 400);
    insta::assert_snapshot!(world.call(Method::POST, "/v1/tenants/acme/scripts/risk:explode", &[], "").await.problem(), @r"
    405 method_not_allowed: `/v1/tenants/acme/scripts/risk:explode` does not take POST; the action on a script is `:rollback`
    hint: a script is pushed with PUT
    ");
}

#[tokio::test]
async fn a_script_with_a_syntax_error_is_refused_with_its_place() {
    let world = World::start().await;

    let answer = world.put("acme/risk", "", "local x = 1\nreturn (").await;

    assert_eq!(answer.status, 422);
    let problem = answer.problem();
    assert!(problem.starts_with("422 script_refused: "), "{problem}");
    assert!(problem.contains("\nat risk.luau:2"), "{problem}");
    assert_eq!((world.bucket.writes(), world.release()), (1, 1));
}

#[tokio::test]
async fn empty_scripts_and_scripts_that_are_no_text_are_refused() {
    let world = World::start().await;
    let path = "/v1/tenants/acme/scripts/risk";

    let empty = world.call(Method::PUT, path, &[], "").await;
    let binary = world.call(Method::PUT, path, &[], vec![0x72, 0xff, 0xfe]).await;

    assert_eq!((empty.status, binary.status), (422, 422));
    assert_eq!(world.release(), 1);
}

#[tokio::test]
async fn an_oversized_script_is_refused_with_both_numbers() {
    let world = World::start().await;
    let path = "/v1/tenants/acme/scripts/risk";
    let text = world.call(Method::PUT, path, &[], "-".repeat((256 << 10) + 1)).await;
    let large = "-".repeat((1536 << 10) + 1);
    let chunks: Vec<Result<String, std::io::Error>> = vec![Ok(large.clone())];
    let streamed = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));

    let announced = world.call(Method::PUT, path, &[], large).await;
    let streamed = world.call(Method::PUT, path, &[], streamed).await;

    insta::assert_snapshot!(announced.problem(), @"413 too_large: the script has 1572865 bytes, the most allowed is 1572864");
    insta::assert_snapshot!(streamed.problem(), @"413 too_large: the script has more than 1572864 bytes, the most allowed is 1572864");
    insta::assert_snapshot!(text.problem(), @"
    413 too_large: `risk.luau` has 262145 bytes, the limit is 256 KiB
    hint: nothing was changed; `moonswarm check FILE` judges as the manager does
    ");
    assert_eq!(world.release(), 1);
}

#[tokio::test]
async fn names_that_are_not_allowed_are_told() {
    let world = World::start().await;

    insta::assert_snapshot!(world.put("acme/a..b", "", "return 1").await.problem(), @"400 bad_request: script name `a..b` has `..` in it; names must not look like paths");
    insta::assert_snapshot!(world.put("..%2Facme/risk", "", "return 1").await.problem(), @"400 bad_request: tenant name `../acme` has '.' at position 1; names are letters, digits, `.`, `_`, `-`, and start with a letter or digit");
    let long = format!("acme/{}", "x".repeat(65));
    insta::assert_snapshot!(world.put(&long, "", "return 1").await.problem(), @"400 bad_request: script name has 65 bytes, the longest allowed is 64");
    assert_eq!(world.release(), 1);
}

#[tokio::test]
async fn unknown_tenants_and_scripts_are_told() {
    let world = World::start().await;
    world.push("acme/risk", "return 1").await;

    insta::assert_snapshot!(world.get("/v1/tenants/nobody/scripts").await.problem(), @r"
    404 unknown_tenant: tenant `nobody` has no scripts
    hint: `moonswarm list` shows all scripts; a tenant begins with its first push
    ");
    insta::assert_snapshot!(world.get("/v1/tenants/acme/scripts/risc").await.problem(), @r"
    404 unknown_script: tenant `acme` has no script `risc`
    hint: `moonswarm list --tenant acme` shows its scripts
    ");
    assert_eq!(world.get("/v1/tenants/nobody/scripts/x").await.status, 404);
    assert_eq!(world.get("/v1/tenants/acme/scripts/risc/versions").await.status, 404);
}

#[tokio::test]
async fn malformed_queries_and_headers_are_told() {
    let world = World::start().await;

    insta::assert_snapshot!(world.put("acme/risk", "?wait=soon", "return 1").await.problem(), @"400 bad_request: `wait=soon` is no duration; use for example `wait=10s`");
    insta::assert_snapshot!(world.put("acme/risk", "?wait=1h", "return 1").await.problem(), @"400 bad_request: `wait=1h` is longer than 10 minutes");
    assert_eq!(world.put("acme/risk", "?activation=magic", "return 1").await.status, 400);
    let path = "/v1/tenants/acme/scripts/risk";
    assert_eq!(world.call(Method::PUT, path, &[("if-match", "x")], "return 1").await.status, 400);
    let long = "x".repeat(129);
    assert_eq!(world.call(Method::PUT, path, &[("x-moonswarm-author", &long)], "return 1").await.status, 400);
    assert_eq!(world.release(), 1);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let world = World::start().await;

    insta::assert_snapshot!(world.get("/v2/scripts").await.problem(), @r"
    404 not_found: there is no `/v2/scripts` here
    hint: the API begins with `/v1/`
    ");
    insta::assert_snapshot!(world.call(Method::POST, "/v1/scripts", &[], "").await.problem(), @"405 method_not_allowed: `/v1/scripts` does not take POST");
    insta::assert_snapshot!(world.call(Method::POST, "/readyz", &[], "").await.problem(), @"405 method_not_allowed: `/readyz` does not take POST");
}

#[tokio::test]
async fn releases_are_the_history_of_the_pointer() {
    let world = World::start().await;
    world.push("acme/risk", "return 1").await;
    world.push("acme/risk", "return 2").await;

    let list: ReleaseList = world.get("/v1/releases").await.body();
    let old: SignedRelease = world.get("/v1/releases/1").await.body();

    let shown: Vec<_> = list.releases.iter().map(|info| (info.number, info.reason.as_str(), info.scripts)).collect();
    assert_eq!(
        shown,
        [(3, "push acme/risk by ada", 1), (2, "push acme/risk by ada", 1), (1, "first release, without scripts", 0)]
    );
    assert_eq!(old.verify("dev", &world.keys).unwrap().number, 1);
    insta::assert_snapshot!(world.get("/v1/releases/9").await.problem(), @r"
    404 unknown_version: release 9 is not among those kept
    hint: `GET /v1/releases` lists them
    ");
    assert_eq!(world.get("/v1/releases/x").await.status, 400);
}

#[tokio::test]
async fn executors_are_listed_by_node() {
    let world = World::start().await;
    let _followers = world.followers(["b", "a"]).await;

    let list: ExecutorList = world.get("/v1/executors").await.body();

    let ids: Vec<_> = list.executors.iter().map(|executor| (executor.id.as_str(), executor.connected)).collect();
    assert_eq!(ids, [("a", true), ("b", true)]);
}

#[tokio::test]
async fn the_api_wants_its_token_but_for_probes() {
    let world = World::with(Options { token: Some("s3cret"), ..Options::default() }).await;
    let plain = reqwest::Client::new();
    let ask = async |path: &str, token: Option<&str>| {
        let mut request = plain.get(format!("{}{path}", world.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap()
    };

    assert_eq!(ask("/livez", None).await.status(), 200);
    assert_eq!(ask("/readyz", None).await.status(), 200);
    for path in ["/v1/status", "/metrics", "/v1/nothing"] {
        let answer = ask(path, None).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["www-authenticate"]),
            (401, &"Bearer".parse().unwrap()),
            "{path}"
        );
        assert_eq!(ask(path, Some("wrong")).await.status(), 401, "{path}");
    }
    assert_eq!(ask("/v1/status", Some("s3cret")).await.status(), 200);
}

#[tokio::test]
async fn a_manager_that_never_saw_the_bucket_is_alive_but_not_ready() {
    let bucket = std::sync::Arc::new(crate::bucket::MemoryBucket::default());
    bucket.set_down(true);
    let world = World::over(bucket, &contract::release::SigningKey::generate(), Options::default()).await;

    assert_eq!(world.get("/livez").await.status, 200);
    let problem = world.get("/readyz").await.problem();
    let push = world.put("acme/risk", "", "return 1").await;

    assert!(problem.starts_with("503 not_ready: this manager has not read the release pointer yet: read the release pointer: bucket `scripts` does not answer"), "{problem}");
    assert_eq!((push.status, world.bucket.writes()), (503, 0));
    assert_eq!(world.status().await.release, 0);
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let world = World::start().await;
    let _followers = world.followers(["one"]).await;
    world.push("acme/risk", "return 1").await;
    world.get("/nowhere").await;

    let text = world.get("/metrics").await.text;

    for line in [
        r#"moonswarm_manager_releases_total{outcome="committed"} 2"#,
        r#"moonswarm_manager_problems_total{code="not_found"} 1"#,
        "moonswarm_manager_executors 1",
        "moonswarm_manager_release 2",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
