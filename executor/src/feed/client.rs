//! The stream to a manager: connect, follow, and when it breaks, the next one. While there is none, the executor serves
//! what it has.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use contract::Token;
use contract::feed::feed_client::FeedClient;
use contract::feed::{AUTHORIZATION, FromExecutor, Goodbye, Hello, from_executor};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;
use tonic::{Request, Status, Streaming};

use super::backoff::Backoff;
use super::follower::{Follower, Step, Work};
use super::wire;
use crate::release::{Refusal, Serving, Trust};

/// From the first packet to an open stream.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// A manager that says nothing is asked this often (HTTP/2 PING), and given up when the answer takes as long: a host
/// that vanished is noticed within 4 s.
const PING_EVERY: Duration = Duration::from_secs(2);

/// A manager that does not read our answers for this long is as good as dead.
const SEND_DEADLINE: Duration = Duration::from_secs(5);

/// How long a manager may take to end the stream after our goodbye.
const GOODBYE_DEADLINE: Duration = Duration::from_millis(500);

/// A stream that stood this long was a good one.
const STEADY: Duration = Duration::from_secs(2);

/// Answers that wait to be sent; each message of the manager has at most one.
const ANSWERS_MAX: usize = 16;

/// Whom to follow, and as whom.
#[derive(Debug)]
pub struct Link {
    /// URLs of managers; empty = follow nobody.
    pub addresses: Vec<String>,
    /// What they are shown.
    pub token: Option<Token>,
    /// Id of this life of this process.
    pub executor: String,
    /// Where it runs.
    pub node: String,
}

/// Why a stream did not come about or ended.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("connect to {address}")]
    Connect {
        address: String,
        #[source]
        err: tonic::transport::Error,
    },
    #[error("{address} does not answer within {} s", CONNECT_DEADLINE.as_secs())]
    Silent { address: String },
    #[error("{address} refuses the feed: {code}: {message}; is `--feed-token-file` the manager's?")]
    Refused { address: String, code: tonic::Code, message: String },
    #[error("the stream to {address} broke: {code}: {message}")]
    Broke { address: String, code: tonic::Code, message: String },
    #[error("{address} ended the stream")]
    Ended { address: String },
    #[error("{address} takes no answers")]
    Stuck { address: String },
}

enum End {
    /// We drain and said so.
    Goodbye,
    /// It did not come about.
    NotConnected(Lost),
    /// It stood, and broke.
    Broken(Lost),
}

/// Follows the managers of `link` until `goodbye`. Takes the calling thread, which should have a large stack.
pub fn follow(link: Link, serving: Arc<Serving>, trust: Arc<Trust>, goodbye: CancellationToken) {
    // Blocking threads compile; they take the stack size from here.
    let runtime = Builder::new_current_thread().enable_all().thread_stack_size(crate::STACK_BYTES).build();
    match runtime {
        Ok(runtime) => {
            runtime.block_on(follow_all(&link, &serving, &trust, &goodbye));
            // A compilation that is under way at the end is of no use to anybody.
            runtime.shutdown_background();
        }
        Err(err) => tracing::error!(error = telemetry::chain(&err), "no feed: the release at hand stays"),
    }
}

async fn follow_all(link: &Link, serving: &Arc<Serving>, trust: &Arc<Trust>, goodbye: &CancellationToken) {
    let mut backoff = Backoff::default();
    // One WARN for each loss, not for each attempt after it.
    let mut told = false;
    for address in link.addresses.iter().cycle() {
        let follower = Follower::new(Arc::clone(serving), Arc::clone(trust));
        let begun = Instant::now();
        let ended = session(link, address, serving, follower, goodbye).await;
        serving.metrics().feed_connected.set(0);
        let lost = match ended {
            End::Goodbye => return,
            End::NotConnected(lost) => lost,
            End::Broken(lost) => {
                // A manager that takes streams and drops them at once must not be asked forty times a second.
                if begun.elapsed() >= STEADY {
                    backoff.reset();
                }
                told = false;
                lost
            }
        };
        if told {
            tracing::debug!(error = telemetry::chain(&lost), "no manager yet");
        } else {
            warn(serving, &lost);
            told = true;
        }
        tokio::select! {
            () = sleep(backoff.next()) => {}
            () = goodbye.cancelled() => return,
        }
    }
}

fn warn(serving: &Serving, lost: &Lost) {
    let active = serving.active();
    let served = active.as_deref().and_then(|active| Some((active.number(), active.served()?)));
    let state = served.map_or_else(
        || "no release is loaded".to_owned(),
        |(number, served)| {
            let age = SystemTime::now().duration_since(served.since).unwrap_or_default();
            let age = humantime::format_duration(Duration::from_secs(age.as_secs()));
            format!("release {number} goes on answering, as it has for {age}")
        },
    );
    tracing::warn!(error = telemetry::chain(lost), "no manager is followed; {state}");
}

async fn session(
    link: &Link,
    address: &str,
    serving: &Serving,
    mut follower: Follower,
    goodbye: &CancellationToken,
) -> End {
    let mut opening = pin!(timeout(CONNECT_DEADLINE, open(link, address, serving)));
    let opened = tokio::select! {
        opened = &mut opening => opened,
        () = goodbye.cancelled() => {
            // It may have read our hello already, and would take a stream that only breaks for an executor it lost.
            if let Ok(Ok(Ok((answers, messages)))) = timeout(GOODBYE_DEADLINE, opening).await {
                say_goodbye(answers, messages).await;
            }
            return End::Goodbye;
        }
    };
    let (answers, mut messages) = match opened {
        Ok(Ok(stream)) => stream,
        Ok(Err(lost)) => return End::NotConnected(lost),
        Err(_) => return End::NotConnected(Lost::Silent { address: address.to_owned() }),
    };
    serving.metrics().feed_connected.set(1);
    tracing::info!(manager = address, "feed connected");
    loop {
        let message = tokio::select! {
            message = messages.message() => message,
            () = goodbye.cancelled() => {
                say_goodbye(answers, messages).await;
                return End::Goodbye;
            }
        };
        let message = match message {
            Ok(Some(message)) => message,
            Ok(None) => return End::Broken(Lost::Ended { address: address.to_owned() }),
            Err(status) => return End::Broken(broke(address, &status)),
        };
        let answer = match follower.take(message, Instant::now()) {
            Step::Wait => continue,
            Step::Answer(answer) => answer,
            Step::Prepare(work) => compile(&mut follower, work).await,
        };
        if answers.send_timeout(answer, SEND_DEADLINE).await.is_err() {
            return End::Broken(Lost::Stuck { address: address.to_owned() });
        }
    }
}

type Stream = (mpsc::Sender<FromExecutor>, Streaming<contract::feed::ToExecutor>);

async fn open(link: &Link, address: &str, serving: &Serving) -> Result<Stream, Lost> {
    let connect = |err| Lost::Connect { address: address.to_owned(), err };
    // A new connection each time, so that the name is resolved anew: a manager may come back under another address.
    let channel = Endpoint::from_shared(address.to_owned())
        .map_err(connect)?
        .connect_timeout(CONNECT_DEADLINE)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY)
        .keep_alive_while_idle(true)
        .connect()
        .await
        .map_err(connect)?;
    let (answers, outgoing) = mpsc::channel(ANSWERS_MAX);
    // The stream opens with this message, before the manager answers.
    answers.try_send(hello(link, serving)).expect("the channel is new and empty");
    let mut request = Request::new(ReceiverStream::new(outgoing));
    if let Some(token) = &link.token {
        let mut value = MetadataValue::try_from(token.bearer()).expect("a token is visible ASCII");
        value.set_sensitive(true);
        request.metadata_mut().insert(AUTHORIZATION, value);
    }
    let response = FeedClient::new(channel).follow(request).await.map_err(|status| refused(address, &status))?;
    Ok((answers, response.into_inner()))
}

fn hello(link: &Link, serving: &Serving) -> FromExecutor {
    let active = serving.active();
    let statement = active.as_deref().map(|active| active.statement());
    wire::from(from_executor::Kind::Hello(Hello {
        executor: link.executor.clone(),
        node: link.node.clone(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        active: statement.map_or(0, |statement| statement.number),
        active_digest: statement.map(|statement| statement.digest.clone()).unwrap_or_default(),
    }))
}

/// Beside this thread, so that the manager's pings are answered meanwhile.
async fn compile(follower: &mut Follower, work: Work) -> FromExecutor {
    let number = work.number();
    let result = tokio::task::spawn_blocking(move || work.run()).await.unwrap_or_else(|err| {
        tracing::error!(release = number, error = telemetry::chain(&err), "compiling broke down");
        Err(Refusal::Internal { number, detail: "compiling broke down; the executor's log tells more".to_owned() })
    });
    follower.finish(number, result)
}

async fn say_goodbye(answers: mpsc::Sender<FromExecutor>, mut messages: Streaming<contract::feed::ToExecutor>) {
    let said = answers.send_timeout(wire::from(from_executor::Kind::Goodbye(Goodbye {})), GOODBYE_DEADLINE).await;
    drop(answers);
    if said.is_ok() {
        // The manager ends its side when it has read ours; leaving before that could take the message along.
        let _ = timeout(GOODBYE_DEADLINE, async { while let Ok(Some(_)) = messages.message().await {} }).await;
    }
}

fn refused(address: &str, status: &Status) -> Lost {
    Lost::Refused { address: address.to_owned(), code: status.code(), message: status.message().to_owned() }
}

fn broke(address: &str, status: &Status) -> Lost {
    Lost::Broke { address: address.to_owned(), code: status.code(), message: status.message().to_owned() }
}
