//! The feed over gRPC: one bidirectional stream per executor.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use contract::Token;
use contract::feed::feed_server::Feed;
use contract::feed::{Abandon, Activate, FromExecutor, Hello, ToExecutor, from_executor, to_executor};
use futures_util::{Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use super::registry::{Command, Connection, EXECUTORS_MAX, Registry};

/// How long a stream may stay silent before it has said who it is.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);
/// Names and versions of executors, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// What an executor says is short; a longer message is not from one of ours.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;

type Answer = Result<ToExecutor, Status>;

/// The gRPC service. Cheap to clone.
#[derive(Clone)]
pub struct FeedService {
    registry: Arc<Registry>,
    token: Option<Token>,
    streams: TaskTracker,
    /// Streams that have not said who they are count as well.
    places: Arc<Semaphore>,
}

impl FeedService {
    /// Serves `registry` to whoever shows `token`; `None` lets everybody in.
    pub fn new(registry: Arc<Registry>, token: Option<Token>) -> Self {
        let places = Arc::new(Semaphore::new(EXECUTORS_MAX));
        Self { registry, token, streams: TaskTracker::new(), places }
    }
}

#[tonic::async_trait]
impl Feed for FeedService {
    type FollowStream = Pin<Box<dyn Stream<Item = Answer> + Send>>;

    async fn follow(&self, request: Request<Streaming<FromExecutor>>) -> Result<Response<Self::FollowStream>, Status> {
        let shown = request.metadata().get(contract::feed::AUTHORIZATION).map(|value| value.as_bytes());
        if self.token.as_ref().is_some_and(|token| !token.is_shown_in(shown)) {
            return Err(Status::unauthenticated(
                "the feed token is missing or wrong; start the executor with --feed-token-file",
            ));
        }
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted("this manager has no room for another stream"))?;
        // The answer must not wait for the hello: a client may send it only when it sees the answer's head.
        let (answer, stream) = mpsc::channel(1);
        let follower = Follower { registry: Arc::clone(&self.registry), from: request.into_inner(), to: answer };
        self.streams.spawn(follower.run(place));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

/// One stream.
struct Follower {
    registry: Arc<Registry>,
    from: Streaming<FromExecutor>,
    to: mpsc::Sender<Answer>,
}

impl Follower {
    async fn run(mut self, _place: OwnedSemaphorePermit) {
        let hello = match tokio::time::timeout(HELLO_DEADLINE, self.hello()).await {
            Ok(Ok(hello)) => hello,
            Ok(Err(status)) => return self.end(status).await,
            Err(_) => return self.end(Status::deadline_exceeded("no hello came")).await,
        };
        let connection = match self.registry.connect(&hello) {
            Ok(connection) => connection,
            Err(err) => return self.end(Status::unavailable(err.to_string())).await,
        };
        let Connection { serial, commands, closed } = connection;
        let executor = hello.executor;
        tracing::info!(
            executor,
            node = hello.node,
            program = hello.program,
            active = hello.active,
            "executor connected"
        );

        let (registry, to) = (Arc::clone(&self.registry), self.to.clone());
        let end = tokio::select! {
            end = read(&mut self.from, &registry, &executor, serial) => end,
            () = write(commands, to) => "the stream was given up",
            () = closed.cancelled() => "the stream was given up",
        };
        self.registry.lost(&executor, serial);
        tracing::info!(executor, node = hello.node, end, "executor disconnected");
        if closed.is_cancelled() {
            self.end(Status::unavailable("this manager ends the stream; connect again")).await;
        }
    }

    async fn hello(&mut self) -> Result<Hello, Status> {
        let first = self.from.next().await.transpose()?.and_then(|message| message.kind);
        let Some(from_executor::Kind::Hello(hello)) = first else {
            return Err(Status::invalid_argument("the first message must be a hello"));
        };
        let names = [&hello.executor, &hello.node, &hello.program, &hello.active_digest];
        if hello.executor.is_empty() || names.iter().any(|name| name.len() > NAME_BYTES_MAX) {
            return Err(Status::invalid_argument("the hello has no executor id, or a name is too long"));
        }
        Ok(hello)
    }

    async fn end(&self, status: Status) {
        // The other side may not read any more; it is not worth waiting for.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.to.send(Err(status))).await;
    }
}

/// Reads until the executor ends the stream. Why it ended.
async fn read(from: &mut Streaming<FromExecutor>, registry: &Registry, executor: &str, serial: u64) -> &'static str {
    loop {
        let Some(Ok(message)) = from.next().await else { return "the stream broke" };
        match message.kind {
            Some(from_executor::Kind::Prepared(prepared)) => registry.prepared(executor, serial, prepared.release),
            Some(from_executor::Kind::Refused(refused)) => registry.refused(executor, serial, refused),
            Some(from_executor::Kind::Activated(activated)) => registry.activated(executor, serial, activated.release),
            Some(from_executor::Kind::Goodbye(_)) => {
                registry.goodbye(executor, serial);
                return "it said goodbye";
            }
            // A second hello, or a kind that a later program knows.
            Some(from_executor::Kind::Hello(_)) | None => {}
        }
    }
}

/// Carries commands to the stream, each part when there is room for it.
async fn write(mut commands: mpsc::Receiver<Command>, to: mpsc::Sender<Answer>) {
    while let Some(command) = commands.recv().await {
        let messages: Box<dyn Iterator<Item = ToExecutor> + Send> = match command {
            Command::Prepare(delta) => Box::new(delta.parts()),
            Command::Activate(release) => one(to_executor::Kind::Activate(Activate { release })),
            Command::Abandon(release) => one(to_executor::Kind::Abandon(Abandon { release })),
        };
        for message in messages {
            if to.send(Ok(message)).await.is_err() {
                return;
            }
        }
    }
}

fn one(kind: to_executor::Kind) -> Box<dyn Iterator<Item = ToExecutor> + Send> {
    Box::new(std::iter::once(ToExecutor { kind: Some(kind) }))
}
