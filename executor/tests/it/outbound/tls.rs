//! `https`: who is trusted, and that the name is checked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use executor::outbound::{Counts, Outbound, OutboundFlags, OutboundSettings};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::server::{Manner, speak};
use super::{Prepared, get, said, settings};

/// An authority that this test made up.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server that proves to be `name` by a certificate of `authority`.
async fn server(authority: &CertifiedIssuer<'_, KeyPair>, name: &str) -> SocketAddr {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let (acceptor, seen) = (TlsAcceptor::from(Arc::new(config)), Mutex::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that trusts nobody ends the handshake.
            if let Ok(stream) = acceptor.accept(stream).await {
                let answer = Manner::Say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi".into());
                let _ = speak(stream, answer, &seen).await;
            }
        }
    });
    address
}

/// What an operator gets who trusts what is in `pem`, as far as `example.com` is on loopback.
fn trusting(pem: &str) -> Outbound<Prepared> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    fs_err::write(&file, pem).unwrap();
    let flags = OutboundFlags {
        outbound_hosts: vec!["*".to_owned()],
        outbound_allow: vec!["127.0.0.0/8".into()],
        outbound_ca_file: Some(file),
        outbound_at_once: 4,
        outbound_tenant_at_once: 4,
    };
    Outbound::with_resolver(
        flags.settings().unwrap(),
        Counts::default(),
        Prepared::new(&[&["127.0.0.1"], &["127.0.0.1"]]),
    )
}

#[tokio::test]
async fn a_server_with_a_certificate_of_a_trusted_authority_is_spoken_to() {
    let authority = authority();
    let address = server(&authority, "example.com").await;

    let answer = get(&trusting(&authority.pem()), &format!("https://example.com:{}/", address.port())).await.unwrap();

    assert_eq!(answer["body"], "hi");
}

#[tokio::test]
async fn a_server_that_can_not_prove_its_name_is_not_spoken_to() {
    let (known, unknown) = (authority(), authority());
    let outbound = trusting(&known.pem());

    let other = server(&known, "other.example").await;
    let refused = said(get(&outbound, &format!("https://example.com:{}/", other.port())).await);
    assert!(
        refused.contains("can't be connected to: invalid peer certificate: certificate not valid for name"),
        "{refused}"
    );

    let stranger = server(&unknown, "example.com").await;
    let refused = said(get(&outbound, &format!("https://example.com:{}/", stranger.port())).await);
    assert!(refused.contains("can't be connected to: invalid peer certificate: "), "{refused}");
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_told() {
    let plain = super::server::Server::say("HTTP/1.1 200 OK\r\n\r\n").await;
    let url = format!("https://example.com:{}/", plain.address.port());

    // It waits for a request that never comes in a form that it reads; only the time limit ends that.
    let grant = super::grant(&[&format!("example.com:{}", plain.address.port())]);
    let asked = serde_json::json!({ "url": url, "timeout": 0.1 });
    let refused = said(super::ask(&trusting(&authority().pem()), &grant, &super::budget(), asked).await);

    assert!(refused.ends_with("did not answer within 100ms, the request's timeout"), "{refused}");
}

#[tokio::test]
async fn without_authorities_https_is_refused_and_says_what_to_do() {
    let settings = OutboundSettings { authorities: None, ..settings("127.0.0.0/8") };
    let outbound = Outbound::with_resolver(settings, Counts::default(), Prepared::new(&[&["127.0.0.1"]]));

    let refused = said(get(&outbound, "https://example.com/").await);

    assert_eq!(
        refused,
        "host `example.com` can't be asked by https: this executor has no certificate authorities; \
         an operator names their file in `--outbound-ca-file`"
    );
}
