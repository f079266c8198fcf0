//! A caller with one keep-alive connection.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct Caller {
    connection: SendRequest<Full<Bytes>>,
    token: Option<&'static str>,
    drill: Option<&'static str>,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("-", |value| value.to_str().unwrap())
    }

    pub(crate) fn problem(&self) -> contract::Problem {
        assert_eq!(self.header("content-type"), "application/problem+json");
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Caller {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (connection, driver) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(driver);
        Self { connection, token: None, drill: None }
    }

    pub(crate) fn with_token(mut self, token: &'static str) -> Self {
        self.token = Some(token);
        self
    }

    /// Asks for a fault on purpose in place of the script, from now on.
    pub(crate) fn with_drill(mut self, drill: &'static str) -> Self {
        self.drill = Some(drill);
        self
    }

    pub(crate) async fn ask(&mut self, method: Method, path: &str, body: impl Into<Bytes>) -> Reply {
        self.try_ask(method, path, body).await.unwrap()
    }

    pub(crate) async fn try_ask(
        &mut self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Reply, hyper::Error> {
        let mut request = Request::builder().method(method).uri(path).header("host", "executor");
        if let Some(token) = self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(drill) = self.drill {
            request = request.header("x-moonswarm-drill", drill);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        self.connection.ready().await?;
        let reply = timeout(DEADLINE, self.connection.send_request(request)).await.expect("no answer in time")?;
        let (head, body) = reply.into_parts();
        let body = String::from_utf8(body.collect().await?.to_bytes().to_vec()).unwrap();
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
    }

    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.ask(Method::GET, path, "").await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &str) -> Reply {
        self.ask(Method::POST, path, body.to_owned()).await
    }
}
