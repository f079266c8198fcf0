//! Keeps a child process alive: starts it, talks to it, and replaces it when it dies, gets stuck or talks nonsense.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::pin::pin;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use bytes::Bytes;
use contract::Code;
use futures_util::{SinkExt, StreamExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::codec::{FramedRead, FramedWrite};

use super::START_DEADLINE;
use super::backoff::Backoff;
use super::codec::Codec;
use super::flights::{Ask, Flights};
use super::message::{Containment, FromChild, ToChild};
use super::talk::Talker;
use crate::strategy::common::Common;
use crate::strategy::entry::UPKEEP_EVERY;
use crate::strategy::inbox::Inbox;
use crate::strategy::job::fault;
use crate::strategy::warden::stuck_after;

type Reader = FramedRead<OwnedReadHalf, Codec<FromChild>>;
pub(super) type Writer = FramedWrite<OwnedWriteHalf, Codec<FromChild>>;

/// How long a child may take to end once it was told to.
const END_DEADLINE: Duration = Duration::from_secs(1);

/// Asks of a child that wait to be taken up; with more it is not read.
const ASKS_MAX: usize = 64;

/// One place in the pool, and the children that fill it one after another.
pub(super) struct Supervised {
    name: String,
    program: PathBuf,
    inbox: Arc<Inbox>,
    common: Common,
    /// Told once, of the first child.
    started: Option<Sender<Result<Containment, String>>>,
}

/// Why a child is not there any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The executor ends.
    #[error("it was told to end")]
    Told,
    #[error("it could not be started")]
    Start(#[source] std::io::Error),
    #[error("it could not begin: {0}")]
    Unable(String),
    #[error("it said nothing for {} s", .0.as_secs_f32())]
    Silent(Duration),
    #[error("it talked nonsense")]
    Nonsense(#[source] std::io::Error),
    #[error("it ended by itself ({0})")]
    Died(String),
}

impl End {
    pub(super) fn broken(err: std::io::Error) -> Self {
        match err.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::Died(String::new()),
            _ => Self::Nonsense(err),
        }
    }

    /// As it is counted.
    fn cause(&self) -> &'static str {
        match self {
            Self::Told => "told",
            Self::Start(_) | Self::Unable(_) => "start",
            Self::Silent(_) => "stuck",
            Self::Nonsense(_) => "protocol",
            Self::Died(_) => "exit",
        }
    }
}

/// Keeps all of them until their inboxes are closed.
pub(super) async fn keep_all(all: Vec<Supervised>) {
    futures_util::future::join_all(all.into_iter().map(Supervised::keep)).await;
}

impl Supervised {
    pub(super) fn new(
        index: usize,
        program: PathBuf,
        inbox: Arc<Inbox>,
        common: Common,
        started: Sender<Result<Containment, String>>,
    ) -> Self {
        Self { name: format!("process-{index}"), program, inbox, common, started: Some(started) }
    }

    async fn keep(mut self) {
        let _life = self.common.lives.begin();
        let mut backoff = Backoff::default();
        loop {
            let begun = Instant::now();
            let end = self.live().await;
            if let End::Told = end {
                return;
            }
            let pause = backoff.after(begun.elapsed());
            tracing::error!(
                worker = self.name,
                error = telemetry::chain(&end),
                again_in_s = pause.as_secs(),
                "a worker process is lost; another takes its place"
            );
            self.common.metrics().count_restart(end.cause());
            self.inbox.fail_running(&fault(
                Code::Internal,
                "the process that had the execution was lost; whether the script ran is not known",
            ));
            if let Some(started) = self.started.take() {
                let _ = started.send(Err(telemetry::chain(&end)));
            }
            if pause > Duration::ZERO {
                // Callers would rather hear now than in seconds.
                self.inbox.fail_waiting(&fault(Code::Internal, "the process for the script ends again and again"));
                sleep(pause).await;
            }
        }
    }

    /// One child, from its start to its end.
    async fn live(&mut self) -> End {
        let (mut child, stream) = match start(&self.program) {
            Ok(started) => started,
            Err(err) => return End::Start(err),
        };
        let end = self.talk(stream).await;
        // The socket is closed now. A child that does not end of that is killed as `child` is dropped.
        let status = match timeout(END_DEADLINE, child.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            _ => "killed".to_owned(),
        };
        match end {
            End::Died(_) => End::Died(status),
            other => other,
        }
    }

    async fn talk(&mut self, stream: UnixStream) -> End {
        let (reader, writer) = stream.into_split();
        let mut reader: Reader = FramedRead::new(reader, Codec::default());
        let mut writer: Writer = FramedWrite::new(writer, Codec::default());
        match self.begin(&mut reader, &mut writer).await {
            Ok(containment) => {
                if let Some(started) = self.started.take() {
                    let _ = started.send(Ok(containment));
                }
            }
            Err(end) => return end,
        }
        let vms = Vms::new(&self.name, &self.common);
        let life = self.inbox.begin_life();
        let (flights, (asks, asked)) = (Flights::default(), mpsc::channel(ASKS_MAX));
        let hears = Listener { inbox: &self.inbox, common: &self.common, vms: &vms, flights: &flights, asks };
        let mut listening = pin!(hears.listen(reader));
        let talks = Talker::new(writer, &self.inbox, &self.common, &vms, &flights, asked);
        let end = tokio::select! {
            end = &mut listening => end,
            end = talks.talk(life) => end,
        };
        if let End::Told = end {
            // Its last words.
            let _ = timeout(self.common.limits.wall + END_DEADLINE, listening).await;
        }
        end
    }

    async fn begin(&self, reader: &mut Reader, writer: &mut Writer) -> Result<Containment, End> {
        let begin = ToChild::Begin { limits: self.common.limits.clone() };
        writer.send((begin, Bytes::new())).await.map_err(End::broken)?;
        match hear(reader, START_DEADLINE).await? {
            (FromChild::Ready(containment), _) => Ok(containment),
            (FromChild::Unable { why }, _) => Err(End::Unable(why)),
            _ => Err(End::Nonsense(std::io::Error::other("it spoke before it was ready"))),
        }
    }
}

/// A child with nothing but a socket as its standard input.
fn start(program: &PathBuf) -> std::io::Result<(Child, UnixStream)> {
    let (ours, theirs) = StdStream::pair()?;
    ours.set_nonblocking(true)?;
    let child = Command::new(program)
        .arg0("moonswarm-executor")
        .arg("worker")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    Ok((child, UnixStream::from_std(ours)?))
}

/// Takes what the child says.
struct Listener<'a> {
    inbox: &'a Inbox,
    common: &'a Common,
    vms: &'a Vms<'a>,
    flights: &'a Flights,
    asks: mpsc::Sender<Ask>,
}

impl Listener<'_> {
    async fn listen(self, mut reader: Reader) -> End {
        let mut stay = stuck_after(&self.common.limits);
        loop {
            // What a policy allowed once may still be under way.
            let active = self.common.serving.active();
            stay = stay.max(active.as_ref().map_or(Duration::ZERO, |active| active.longest_stay()));
            drop(active);
            let (message, body) = match hear(&mut reader, stay + 2 * UPKEEP_EVERY).await {
                Ok(heard) => heard,
                Err(end) => return end,
            };
            match message {
                FromChild::Done { ticket, ended } => {
                    self.flights.end(ticket);
                    self.inbox.answer(ticket, ended.unpack(body));
                }
                FromChild::Ask { number, ticket, wanted } => {
                    // Who talks to the child takes them; it ends only with this.
                    let _ = self.asks.send(Ask { number, ticket, wanted, payload: body }).await;
                }
                FromChild::Said(all) => all.iter().for_each(|said| said.tell(self.common.metrics())),
                FromChild::Vms(now) => self.vms.publish(now),
                FromChild::Ready(_) | FromChild::Unable { .. } => {
                    return End::Nonsense(std::io::Error::other("it began twice"));
                }
            }
        }
    }
}

async fn hear(reader: &mut Reader, patience: Duration) -> Result<(FromChild, Bytes), End> {
    match timeout(patience, reader.next()).await {
        Err(_) => Err(End::Silent(patience)),
        Ok(None) => Err(End::Died(String::new())),
        Ok(Some(heard)) => heard.map_err(End::broken),
    }
}

/// The VMs of a child as it told of them; forgotten with it.
pub(super) struct Vms<'a> {
    worker: &'a str,
    common: &'a Common,
}

impl<'a> Vms<'a> {
    fn new(worker: &'a str, common: &'a Common) -> Self {
        Self { worker, common }
    }

    fn publish(&self, vms: Vec<crate::strategy::VmStatus>) {
        let metrics = self.common.metrics();
        let count = |vms: usize| i64::try_from(vms).unwrap_or(i64::MAX);
        let now = count(vms.len());
        let before = metrics.board.publish(self.worker, vms);
        metrics.vms.inc_by(now - count(before));
    }

    pub(super) fn of_gone_tenants(&self, common: &Common) -> Vec<String> {
        let active = common.serving.active();
        let stays = |tenant: &str| active.as_ref().is_some_and(|active| active.has_tenant(tenant));
        let vms = common.metrics().board.of(self.worker);
        vms.into_iter().map(|vm| vm.tenant).filter(|tenant| !stays(tenant)).collect()
    }
}

impl Drop for Vms<'_> {
    fn drop(&mut self) {
        self.publish(Vec::new());
    }
}
