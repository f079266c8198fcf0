//! The HTTP face: results, problems, headers, probes, tokens, limits.

use contract::Token;
use contract::{Code, Version};
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::caller::Caller;
use crate::world::{World, running};

const DOUBLE: &str = "return function(input, ctx) return { output = input.n * 2 } end";
const FAILS: &str = "return function()\n  error('no luck')\nend";

#[tokio::test]
async fn a_result_names_release_version_and_execution() {
    let (_world, mut caller) = running(&[("acme", "double", DOUBLE)]).await;

    let reply = caller.post("/v1/run/acme/double", r#"{"n":21}"#).await;

    assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"output":42}"#), "{reply:?}");
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("x-moonswarm-release"), "1");
    assert_eq!(reply.header("x-moonswarm-version"), Version::of(DOUBLE.as_bytes()).as_str());
    assert_eq!(reply.header("x-moonswarm-execution-id").len(), 36);
}

#[tokio::test]
async fn the_founding_form_runs_and_an_empty_body_is_null() {
    let founding = "host_log('seen'); result = { output = input == nil }";
    let (_world, mut caller) = running(&[("default", "latest", founding)]).await;

    let reply = caller.post("/v1/run/default/latest", "").await;

    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.body.contains("true"), "{reply:?}");
}

#[tokio::test]
async fn a_script_error_points_into_the_script() {
    let (_world, mut caller) = running(&[("acme", "fails", FAILS)]).await;

    let reply = caller.post("/v1/run/acme/fails", "null").await;

    let problem = reply.problem();
    assert_eq!((reply.status, problem.code), (422, Code::ScriptError));
    assert_eq!((problem.diagnostics[0].file.as_str(), problem.diagnostics[0].line), ("fails.luau", 2));
    assert_eq!(problem.request_id, reply.header("x-moonswarm-execution-id"));
    assert_eq!(reply.header("x-moonswarm-release"), "1");
    assert_eq!(reply.header("x-moonswarm-version"), Version::of(FAILS.as_bytes()).as_str());
}

#[tokio::test]
async fn an_endless_script_is_told_its_limit_and_the_next_one_runs() {
    let (_world, mut caller) =
        running(&[("acme", "endless", "return function() while true do end end"), ("acme", "double", DOUBLE)]).await;

    let reply = caller.post("/v1/run/acme/endless", "null").await;

    let problem = reply.problem();
    assert_eq!((reply.status, problem.code), (422, Code::DeadlineExceeded));
    assert!(problem.hint.unwrap().contains("50ms (built in) of CPU time and 2s (built in) in all"));
    assert_eq!(caller.post("/v1/run/acme/double", r#"{"n":1}"#).await.status, 200);
}

#[tokio::test]
async fn broken_json_is_bad_json() {
    let (_world, mut caller) = running(&[("acme", "double", DOUBLE)]).await;

    let reply = caller.post("/v1/run/acme/double", r#"{"n":"#).await;

    assert_eq!((reply.status, reply.problem().code), (400, Code::BadJson));
}

#[tokio::test]
async fn unknown_and_malformed_names_are_told_apart() {
    let (_world, mut caller) = running(&[("acme", "double", DOUBLE)]).await;
    let long = format!("/v1/run/acme/{}", "x".repeat(65));

    let mut told = String::new();
    for path in
        ["/v1/run/nobody/double", "/v1/run/acme/risc", "/v1/run/acme/a..b", "/v1/run/%2e%2e/x", "/v1/run/acme", &long]
    {
        let reply = caller.post(path, "null").await;
        let problem = reply.problem();
        told.push_str(&format!("{} {}: {}\n", reply.status, problem.code, problem.detail));
    }

    insta::assert_snapshot!(told, @r"
    404 unknown_tenant: release 1 has no script of tenant `nobody`
    404 unknown_script: release 1 has no script `risc` of tenant `acme`
    400 bad_request: script name `a..b` has `..` in it; names must not look like paths
    400 bad_request: tenant name `..` has '.' at position 1; names are letters, digits, `.`, `_`, `-`, and start with a letter or digit
    404 not_found: there is nothing at /v1/run/acme
    400 bad_request: script name has 65 bytes, the longest allowed is 64
    ");
}

#[tokio::test]
async fn an_encoded_name_is_the_same_name() {
    let (_world, mut caller) = running(&[("acme", "double", DOUBLE)]).await;
    assert_eq!(caller.post("/v1/run/%61cme/doubl%65", r#"{"n":1}"#).await.status, 200);
}

#[tokio::test]
async fn other_paths_and_methods_are_problems() {
    let (_world, mut caller) = running(&[("acme", "double", DOUBLE)]).await;

    let reply = caller.get("/v2/run").await;
    assert_eq!((reply.status, reply.problem().code), (404, Code::NotFound));

    let reply = caller.get("/v1/run/acme/double").await;
    assert_eq!((reply.status, reply.problem().code, reply.header("allow")), (405, Code::MethodNotAllowed, "POST"));
    let reply = caller.post("/metrics", "").await;
    assert_eq!((reply.status, reply.header("allow")), (405, "GET, HEAD"));
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_declared_or_not() {
    let (_world, mut caller) = running(&[("acme", "double", DOUBLE)]).await;

    let reply = caller.post("/v1/run/acme/double", &" ".repeat((1 << 20) + 1)).await;
    assert_eq!((reply.status, reply.problem().code), (413, Code::TooLarge));
    insta::assert_snapshot!(reply.problem().detail, @"the body may have 1048576 bytes, this one has 1048577 bytes");

    let limit = format!(r#"{{"n":1}}{}"#, " ".repeat((1 << 20) - 7));
    assert_eq!(caller.post("/v1/run/acme/double", &limit).await.status, 200);
}

#[tokio::test]
async fn a_chunked_body_is_cut_off_at_the_limit() {
    let world = World::with_release(&[("acme", "double", DOUBLE)]);
    let mut stream = TcpStream::connect(world.start().address()).await.unwrap();
    stream
        .write_all(b"POST /v1/run/acme/double HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        .await
        .unwrap();

    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    for _ in 0..17 {
        stream.write_all(&chunk).await.unwrap();
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();

    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn a_refusal_of_a_declared_size_comes_before_the_body() {
    let world = World::with_release(&[("acme", "double", DOUBLE)]);
    let mut stream = TcpStream::connect(world.start().address()).await.unwrap();

    stream
        .write_all(b"POST /v1/run/acme/double HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();

    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn without_a_release_it_lives_but_is_not_ready() {
    let mut caller = Caller::connect(World::new().start().address()).await;

    assert_eq!(caller.get("/livez").await.status, 200);
    for reply in
        [caller.get("/readyz").await, caller.get("/v1/release").await, caller.post("/v1/run/acme/double", "null").await]
    {
        assert_eq!((reply.status, reply.problem().code), (503, Code::NotReady));
    }
}

#[tokio::test]
async fn the_release_tells_where_it_came_from() {
    let (_world, mut caller) = running(&[("acme", "double", DOUBLE), ("zoo", "double", DOUBLE)]).await;

    assert_eq!(caller.get("/readyz").await.body, "ready: release 1\n");
    let status: serde_json::Value = serde_json::from_str(&caller.get("/v1/release").await.body).unwrap();

    for (field, value) in [
        ("number", serde_json::json!(1)),
        ("source", "config".into()),
        ("scripts", 2.into()),
        ("tenants", 2.into()),
        ("feed_connected", false.into()),
    ] {
        assert_eq!(status[field], value, "{field} of {status}");
    }
}

#[tokio::test]
async fn executions_are_counted() {
    let (_world, mut caller) = running(&[("acme", "double", DOUBLE), ("acme", "fails", FAILS)]).await;
    caller.post("/v1/run/acme/double", r#"{"n":1}"#).await;
    caller.post("/v1/run/acme/fails", "null").await;
    caller.post("/v1/run/nobody/fails", "null").await;

    let reply = caller.get("/metrics").await;

    assert_eq!(reply.header("content-type"), telemetry::METRICS_MEDIA_TYPE);
    for line in [
        r#"moonswarm_executions_total{tenant="acme",code="ok"} 1"#,
        r#"moonswarm_executions_total{tenant="acme",code="script_error"} 1"#,
        r#"moonswarm_refused_requests_total{code="unknown_tenant"} 1"#,
        "moonswarm_release_number 1",
        "moonswarm_vms 1",
        "moonswarm_in_flight 1",
    ] {
        assert!(reply.body.contains(line), "`{line}` is not in\n{}", reply.body);
    }
}

#[tokio::test]
async fn all_but_the_probes_need_the_token() {
    let mut world = World::with_release(&[("acme", "double", DOUBLE)]);
    world.settings.token = Token::parse("s3cret").ok();
    let address = world.start().address();

    let mut stranger = Caller::connect(address).await.with_token("guess");
    assert_eq!(stranger.get("/livez").await.status, 200);
    assert_eq!(stranger.get("/readyz").await.status, 200);
    for path in ["/metrics", "/v1/release", "/v1/vms", "/nowhere"] {
        let reply = stranger.get(path).await;
        assert_eq!((reply.status, reply.header("www-authenticate")), (401, "Bearer"), "{path}");
    }
    let reply = stranger.post("/v1/run/acme/double", r#"{"n":1}"#).await;
    assert_eq!((reply.status, reply.problem().code), (401, Code::Unauthenticated));

    let mut friend = Caller::connect(address).await.with_token("s3cret");
    assert_eq!(friend.post("/v1/run/acme/double", r#"{"n":1}"#).await.status, 200);
    assert_eq!(friend.ask(Method::HEAD, "/metrics", "").await.status, 200);
}
