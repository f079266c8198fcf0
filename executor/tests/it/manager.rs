//! A manager for tests: takes feed streams and lets the test speak for it.

use std::time::Duration;

use contract::feed::feed_server::{Feed, FeedServer};
use contract::feed::{Activate, FromExecutor, Hello, Prepare, ToExecutor, from_executor, to_executor};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct Manager {
    pub(crate) url: String,
    streams: mpsc::Receiver<Stream>,
}

/// One stream of one executor.
pub(crate) struct Stream {
    pub(crate) authorization: Option<String>,
    to: mpsc::Sender<Result<ToExecutor, Status>>,
    from: Streaming<FromExecutor>,
}

struct Service {
    streams: mpsc::Sender<Stream>,
    token: Option<&'static str>,
}

#[tonic::async_trait]
impl Feed for Service {
    type FollowStream = ReceiverStream<Result<ToExecutor, Status>>;

    async fn follow(&self, request: Request<Streaming<FromExecutor>>) -> Result<Response<Self::FollowStream>, Status> {
        let authorization = request.metadata().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        if self.token.is_some_and(|token| authorization != Some(format!("Bearer {token}"))) {
            return Err(Status::unauthenticated("no token"));
        }
        let (to, messages) = mpsc::channel(16);
        let stream = Stream { authorization, to, from: request.into_inner() };
        self.streams.send(stream).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

impl Manager {
    pub(crate) async fn start() -> Self {
        Self::start_with_token(None).await
    }

    pub(crate) async fn start_with_token(token: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, streams) = mpsc::channel(16);
        let service = FeedServer::new(Service { streams: sender, token });
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { url, streams }
    }

    /// The next stream that an executor opens, and how it introduced itself.
    pub(crate) async fn next(&mut self) -> (Stream, Hello) {
        let stream = timeout(DEADLINE, self.streams.recv()).await.expect("no executor connected in time");
        let mut stream = stream.unwrap();
        match stream.hear().await {
            Some(from_executor::Kind::Hello(hello)) => (stream, hello),
            other => panic!("expected Hello, heard {other:?}"),
        }
    }
}

impl Stream {
    pub(crate) async fn say(&self, kind: to_executor::Kind) {
        self.to.send(Ok(ToExecutor { kind: Some(kind) })).await.unwrap();
    }

    /// What the executor says next; `None` if it ended the stream.
    pub(crate) async fn hear(&mut self) -> Option<from_executor::Kind> {
        let message = timeout(DEADLINE, self.from.message()).await.expect("the executor said nothing in time");
        message.ok().flatten().map(|message| message.kind.unwrap())
    }

    /// Brings a release to the executor, up to the acknowledgement.
    pub(crate) async fn release(&mut self, prepare: Prepare) {
        self.say(to_executor::Kind::Prepare(prepare)).await;
        let release = match self.hear().await {
            Some(from_executor::Kind::Prepared(prepared)) => prepared.release,
            other => panic!("expected Prepared, heard {other:?}"),
        };
        self.say(to_executor::Kind::Activate(Activate { release })).await;
        match self.hear().await {
            Some(from_executor::Kind::Activated(activated)) => assert_eq!(activated.release, release),
            other => panic!("expected Activated, heard {other:?}"),
        }
    }
}
