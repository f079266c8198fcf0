//! Whom a script reaches, and with what.

use executor::outbound::{Counts, HttpGrant, Outbound};
use serde_json::json;

use super::server::Server;
use super::{Prepared, ask, budget, get, grant, outbound, rendered, said, settings};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-One: 1\r\nx-one: 2\r\n\r\nhi";

#[tokio::test]
async fn a_request_goes_out_as_it_was_asked_and_its_answer_comes_back() {
    let server = Server::say(OK).await;

    let hosts = grant(&[&server.address.to_string()]);
    let asked = json!({
        "url": server.url("/v1/score?user=1#part"), "method": "POST", "body": "{}",
        "headers": { "Content-Type": "application/json" },
    });
    let answer = ask(&outbound(), &hosts, &budget(), asked).await.unwrap();

    assert_eq!(answer, json!({ "status": 200, "headers": { "content-length": "2", "x-one": "1, 2" }, "body": "hi" }));
    let request = server.requests().concat().replace(&server.address.to_string(), "HOST").replace('\r', "");
    insta::assert_snapshot!(request, @"
    POST /v1/score?user=1 HTTP/1.1
    content-type: application/json
    host: HOST
    user-agent: moonswarm/0.1.0
    content-length: 2

    {}
    ");
}

#[tokio::test]
async fn a_redirect_is_returned_and_not_followed() {
    let elsewhere = Server::say(OK).await;
    let moved = format!("HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", elsewhere.url("/"));
    let server = Server::say(&moved).await;

    let answer = get(&outbound(), &server.url("/")).await.unwrap();

    assert_eq!(answer["status"], 302);
    assert_eq!(answer["headers"]["location"], elsewhere.url("/"));
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn nothing_is_unpacked() {
    let server = Server::say("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n\u{1f}a").await;

    let answer = get(&outbound(), &server.url("/")).await.unwrap();

    assert_eq!((&answer["headers"]["content-encoding"], &answer["body"]), (&json!("gzip"), &json!("\u{1f}a")));
}

#[tokio::test]
async fn a_host_that_is_not_listed_is_refused_before_its_name_is_looked_up() {
    let resolver = Prepared::new(&[&["127.0.0.1"]]);
    let outbound = Outbound::with_resolver(settings("127.0.0.0/8"), Counts::default(), resolver.clone());
    let hosts = grant(&["api.example.com", "*.b.example:8443"]);
    let refused = async |url| said(ask(&outbound, &hosts, &budget(), json!({ "url": url })).await);

    assert_eq!(
        refused("https://evil.com/").await,
        "host `evil.com` is not in this script's list (api.example.com, *.b.example:8443)"
    );
    assert!(refused("http://api.example.com.evil.com").await.starts_with("host `api.example.com.evil.com` is not in"));
    assert!(refused("http://api.example.com:8080").await.starts_with("host `api.example.com:8080` is not in"));
    assert!(refused("https://a.b.example").await.starts_with("host `a.b.example` is not in"));
    let nothing = ask(&outbound, &HttpGrant::default(), &budget(), json!({ "url": "http://a.example" })).await;
    assert_eq!(said(nothing), "host `a.example` is not in this script's list (which is empty)");
    assert_eq!(resolver.lookups(), 0);
}

#[tokio::test]
async fn what_is_not_public_is_not_reached_in_any_form() {
    let server = Server::say(OK).await;
    let port = server.address.port();
    let outbound = Outbound::new(settings("203.0.113.0/24"), Counts::default());

    for host in ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "[::ffff:127.0.0.1]", "localhost"] {
        let refused = said(get(&outbound, &format!("http://{host}:{port}/")).await);
        assert!(refused.ends_with("leads to a loopback address, which scripts may not reach"), "{host}: {refused}");
    }
    let metadata = said(get(&outbound, "http://169.254.169.254/computeMetadata/v1/").await);
    assert_eq!(metadata, "host `169.254.169.254` leads to a link-local address, which scripts may not reach");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_name_that_leads_to_metadata_or_into_a_private_network_is_refused_without_its_address() {
    let answers: [&[&str]; 4] = [&["169.254.169.254"], &["fd00:ec2::254"], &["10.1.2.3", "::1"], &[]];
    let outbound = Outbound::with_resolver(settings("203.0.113.0/24"), Counts::default(), Prepared::new(&answers));

    let mut refused = Vec::new();
    // One more than was prepared: then there is no such name.
    for _ in 0..=answers.len() {
        refused.push(said(get(&outbound, "http://metadata.google.internal/").await));
    }

    insta::assert_snapshot!(refused.join("\n"), @"
    host `metadata.google.internal` leads to a link-local address, which scripts may not reach
    host `metadata.google.internal` leads to a metadata service, which scripts may not reach
    host `metadata.google.internal` leads to a loopback address, which scripts may not reach
    the name of host `metadata.google.internal` can't be looked up
    the name of host `metadata.google.internal` can't be looked up
    ");
}

/// Here 127.0.0.1 is opened and stands for a public address; all other loopback addresses are not.
#[tokio::test]
async fn a_name_that_changes_its_address_after_the_check_gains_nothing() {
    let public = Server::say(OK).await;
    let port = public.address.port();
    let private = Server::start_at(&format!("127.0.0.2:{port}"), super::server::Manner::Say(OK.into())).await;
    let resolver = Prepared::new(&[&["127.0.0.1"], &["127.0.0.2"], &["127.0.0.2", "127.0.0.1"]]);
    let outbound = Outbound::with_resolver(settings("127.0.0.1/32"), Counts::default(), resolver.clone());
    let url = format!("http://rebinding.example:{port}/");

    // Looked up once, checked, and connected to what was checked.
    get(&outbound, &url).await.unwrap();
    assert_eq!((resolver.lookups(), public.connections()), (1, 1));
    // The next request does not rely on the last check.
    assert!(said(get(&outbound, &url).await).contains("a loopback address"));
    // Of several addresses only those that may be reached are tried.
    get(&outbound, &url).await.unwrap();
    assert_eq!((resolver.lookups(), public.connections(), private.connections()), (3, 2, 0));
}

#[tokio::test]
async fn a_host_that_does_not_listen_is_told_without_details_of_this_machine() {
    let address = {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        server.local_addr().unwrap()
    };
    let resolver = Prepared::new(&[&["127.0.0.1"]]);
    let outbound = Outbound::with_resolver(settings("127.0.0.0/8"), Counts::default(), resolver);

    let failed = said(get(&outbound, &format!("http://gone.example:{}/", address.port())).await);

    assert_eq!(
        failed.replace(&address.port().to_string(), "PORT"),
        "host `gone.example:PORT` can't be connected to: connection refused"
    );
}

#[test]
fn a_request_may_move_between_threads() {
    fn moves(_: impl Send) {}
    let (outbound, hosts, budget) = (outbound(), grant(&[]), budget());

    moves(outbound.request(&hosts, &budget, b"{}"));
}

#[tokio::test]
async fn what_became_of_requests_is_counted() {
    let (server, counts) = (Server::say(OK).await, Counts::default());
    let outbound = Outbound::new(settings("127.0.0.0/8"), counts.clone());

    get(&outbound, &server.url("/")).await.unwrap();
    get(&outbound, "http://10.0.0.1/").await.unwrap_err();
    ask(&outbound, &grant(&[]), &budget(), json!({})).await.unwrap_err();
    drop(Box::pin(get(&outbound, "http://10.0.0.1/")));

    let text = rendered(&counts);
    for line in [
        r#"outbound_requests_total{outcome="answered"} 1"#,
        r#"outbound_requests_total{outcome="refused"} 1"#,
        r#"outbound_requests_total{outcome="malformed"} 1"#,
        "outbound_under_way 0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
