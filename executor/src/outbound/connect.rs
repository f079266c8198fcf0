//! One connection for one request: to an address that was checked, with TLS where asked, and closed behind the answer.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;

use super::RESPONSE_BYTES_MAX;
use super::address::Checked;
use super::error::OutboundError;

/// Headers of a response, and bytes of its head.
pub(super) const HEADERS_MAX: usize = 100;
pub(super) const HEADER_BYTES_MAX: usize = 64 << 10;

/// Addresses of one host that are tried, and how long each: a packet that was lost is sent again after a second (RFC 6298
/// §2).
const ADDRESSES_MAX: usize = 4;
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// TLS 1.2 and 1.3 by rustls and ring, trusting `authorities` and nobody else.
pub(super) fn tls(authorities: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has ciphers of TLS 1.2 and 1.3");
    let mut config = config.with_root_certificates(authorities).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Connects to the first of `addresses` that answers.
pub(super) async fn dial(addresses: &[Checked]) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for checked in addresses.iter().take(ADDRESSES_MAX) {
        match timeout(CONNECT_DEADLINE, TcpStream::connect(checked.address())).await {
            Ok(Ok(stream)) => {
                // A request is written at once and then waited for.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(err)) => last = err,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// Speaks TLS to who can prove to be `host`.
pub(super) async fn secure(
    config: Arc<ClientConfig>,
    host: &Host<String>,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let name = match host {
        Host::Domain(name) => ServerName::try_from(name.clone()).map_err(io::Error::other)?,
        Host::Ipv4(ip) => ServerName::from(std::net::IpAddr::from(*ip)),
        Host::Ipv6(ip) => ServerName::from(std::net::IpAddr::from(*ip)),
    };
    TlsConnector::from(config).connect(name, stream).await
}

/// Sends the request and reads the whole answer. Everything runs inside of this future, so that dropping it closes the
/// connection.
pub(super) async fn exchange<S>(
    stream: S,
    host: &str,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, OutboundError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let broken = |err: hyper::Error| {
        let host = host.to_owned();
        if err.is_parse_too_large() {
            OutboundError::HeadTooLarge { host }
        } else {
            OutboundError::Broken { host, err }
        }
    };
    let mut builder = http1::Builder::new();
    builder.max_headers(HEADERS_MAX).max_buf_size(HEADER_BYTES_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let mut exchange = pin!(async {
        let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        Ok(Response::from_parts(head, read(body, host).await?))
    });
    tokio::select! {
        answer = &mut exchange => answer,
        // When the server has closed, what it sent before is still to be read; an error reaches the exchange as well.
        _ = connection => exchange.await,
    }
}

async fn read(body: Incoming, host: &str) -> Result<Bytes, OutboundError> {
    let too_large = || OutboundError::ResponseTooLarge { host: host.to_owned() };
    if body.size_hint().lower() > RESPONSE_BYTES_MAX as u64 {
        return Err(too_large());
    }
    match Limited::new(body, RESPONSE_BYTES_MAX).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(err) if err.is::<LengthLimitError>() => Err(too_large()),
        Err(err) => {
            let err = err.downcast::<hyper::Error>().expect("the body of hyper has hyper's errors");
            Err(OutboundError::Broken { host: host.to_owned(), err: *err })
        }
    }
}
