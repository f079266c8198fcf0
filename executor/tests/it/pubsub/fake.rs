//! Pub/Sub as far as a subscriber sees it: over gRPC, with the test in the place of everything behind it.
//!
//! It does nothing by itself: what is sent, sent again and broken off is the test's word. It only remembers.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// Far beyond what anything here takes on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

type Answers = mpsc::Sender<Result<pb::StreamingPullResponse, Status>>;
type Answering<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;

/// What subscribers did. Ids are those of acknowledgements.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) acked: Vec<String>,
    pub(super) nacked: Vec<String>,
    pub(super) opened: Vec<pb::StreamingPullRequest>,
}

pub(super) struct Fake {
    pub(super) url: String,
    streams: mpsc::Receiver<Answers>,
    stream: Option<Answers>,
    seen: watch::Receiver<Seen>,
}

/// A message to be sent; its acknowledgement's id is the second part.
pub(super) struct Sent<'a>(pub(super) &'a str, pub(super) &'a str);

impl Fake {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (opened, streams) = mpsc::channel(16);
        let (saw, seen) = watch::channel(Seen::default());
        let server = tonic::transport::Server::builder().add_service(Subscriber { opened, saw: Arc::new(saw) });
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { url, streams, stream: None, seen }
    }

    /// Sends a message for `acme/risk`. `attempt` is told where there is a dead letter topic, and 0 elsewhere.
    pub(super) async fn send(&mut self, message: Sent<'_>, attempt: i32) {
        let attributes = [("tenant", "acme"), ("script", "risk")];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        self.send_with(message, attempt, attributes, "{}").await;
    }

    pub(super) async fn send_with(
        &mut self,
        Sent(message_id, ack_id): Sent<'_>,
        delivery_attempt: i32,
        attributes: std::collections::HashMap<String, String>,
        data: &str,
    ) {
        let message = pb::PubsubMessage {
            message_id: message_id.into(),
            attributes,
            data: data.as_bytes().to_vec(),
            ..Default::default()
        };
        let received = pb::ReceivedMessage { ack_id: ack_id.into(), message: Some(message), delivery_attempt };
        let answer = pb::StreamingPullResponse { received_messages: vec![received], ..Default::default() };
        self.say(Ok(answer)).await;
    }

    /// Ends the stream that is open, in a way that no client repairs by itself.
    pub(super) async fn break_off(&mut self) {
        self.say(Err(Status::not_found("the subscription is gone"))).await;
        self.stream = None;
    }

    async fn say(&mut self, answer: Result<pb::StreamingPullResponse, Status>) {
        if self.stream.is_none() {
            let opened = timeout(PATIENCE, self.streams.recv()).await;
            self.stream = opened.expect("nobody pulls");
        }
        self.stream.as_ref().unwrap().send(answer).await.unwrap();
    }

    pub(super) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    pub(super) async fn until(&mut self, what: &str, fact: impl Fn(&Seen) -> bool) {
        let waited = timeout(PATIENCE, self.seen.wait_for(|seen| fact(seen))).await.is_ok();
        assert!(waited, "waited until {what}; last seen: {:?}", self.seen());
    }
}

#[derive(Clone)]
struct Subscriber {
    opened: mpsc::Sender<Answers>,
    saw: Arc<watch::Sender<Seen>>,
}

impl NamedService for Subscriber {
    const NAME: &'static str = "google.pubsub.v1.Subscriber";
}

impl Service<http::Request<Body>> for Subscriber {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let subscriber = self.clone();
        Box::pin(async move {
            let method = request.uri().path().rsplit('/').next().unwrap_or_default();
            Ok(match method {
                "StreamingPull" => Grpc::new(ProstCodec::default()).streaming(Pull(subscriber), request).await,
                "Acknowledge" => Grpc::new(ProstCodec::default()).unary(Acknowledge(subscriber), request).await,
                "ModifyAckDeadline" => Grpc::new(ProstCodec::default()).unary(Modify(subscriber), request).await,
                method => Status::unimplemented(method).into_http(),
            })
        })
    }
}

/// A method of the service, as tonic takes it.
macro_rules! method {
    ($name:ident($input:ty) -> $output:ty, $body:expr) => {
        struct $name(Subscriber);

        impl Service<Request<$input>> for $name {
            type Response = Response<$output>;
            type Error = Status;
            type Future = Answering<$output>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: Request<$input>) -> Self::Future {
                let subscriber = self.0.clone();
                Box::pin(async move { $body(subscriber, request.into_inner()).await })
            }
        }
    };
}

method!(
    Pull(Streaming<pb::StreamingPullRequest>) -> ReceiverStream<Result<pb::StreamingPullResponse, Status>>,
    async |subscriber: Subscriber, mut requests: Streaming<pb::StreamingPullRequest>| {
        let first = requests.message().await?.ok_or_else(|| Status::invalid_argument("a stream without a request"))?;
        let (answers, receiver) = mpsc::channel(16);
        subscriber.saw.send_modify(|seen| seen.opened.push(first));
        subscriber.opened.send(answers).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
);

method!(Acknowledge(pb::AcknowledgeRequest) -> (), async |subscriber: Subscriber, request: pb::AcknowledgeRequest| {
    subscriber.saw.send_modify(|seen| seen.acked.extend(request.ack_ids));
    Ok(Response::new(()))
});

method!(Modify(pb::ModifyAckDeadlineRequest) -> (), async |subscriber: Subscriber, request: pb::ModifyAckDeadlineRequest| {
    // Any other number of seconds extends the lease.
    if request.ack_deadline_seconds == 0 {
        subscriber.saw.send_modify(|seen| seen.nacked.extend(request.ack_ids));
    }
    Ok(Response::new(()))
});
