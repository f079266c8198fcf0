//! Keeps a child process alive: starts it, talks to it, and replaces it when it dies, gets stuck or talks nonsense.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use contract::policy::Effective;
use contract::{Code, TenantName};
use futures_util::{SinkExt, StreamExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::time::{interval, sleep, timeout};
use tokio_util::codec::{FramedRead, FramedWrite};

use super::START_DEADLINE;
use super::backoff::Backoff;
use super::codec::Codec;
use super::message::{Containment, FromChild, ScriptNumber, ToChild};
use crate::release::{Script, Terms};
use crate::strategy::common::Common;
use crate::strategy::entry::UPKEEP_EVERY;
use crate::strategy::inbox::{Inbox, Life};
use crate::strategy::job::{Entry, Job, fault};
use crate::strategy::warden::stuck_after;

type Reader = FramedRead<OwnedReadHalf, Codec<FromChild>>;
type Writer = FramedWrite<OwnedWriteHalf, Codec<FromChild>>;

/// How long a child may take to end once it was told to.
const END_DEADLINE: Duration = Duration::from_secs(1);

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
enum End {
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
    fn broken(err: std::io::Error) -> Self {
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
        tokio::select! {
            end = listen(reader, &self.inbox, &self.common, &vms) => end,
            end = tell(writer, &self.inbox, &self.common, &vms, life) => end,
        }
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
async fn listen(mut reader: Reader, inbox: &Inbox, common: &Common, vms: &Vms<'_>) -> End {
    let mut stay = stuck_after(&common.limits);
    loop {
        // What a policy allowed once may still be under way.
        stay = stay.max(common.serving.active().as_ref().map_or(Duration::ZERO, |active| active.longest_stay()));
        let (message, body) = match hear(&mut reader, stay + 2 * UPKEEP_EVERY).await {
            Ok(heard) => heard,
            Err(end) => return end,
        };
        match message {
            FromChild::Done { ticket, ended } => inbox.answer(ticket, ended.unpack(body)),
            FromChild::Vms(now) => vms.publish(now),
            FromChild::Ready(_) | FromChild::Unable { .. } => {
                return End::Nonsense(std::io::Error::other("it began twice"));
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

/// Gives the child its jobs.
async fn tell(mut writer: Writer, inbox: &Inbox, common: &Common, vms: &Vms<'_>, life: Life) -> End {
    let mut sent = Sent::default();
    let mut ticks = interval(UPKEEP_EVERY);
    loop {
        let told = tokio::select! {
            next = inbox.next(life) => {
                let Some((ticket, Job { script, entry, id, input, siblings, drill, .. })) = next else {
                    return End::Told;
                };
                match prepare(&mut writer, &mut sent, &script, &siblings.terms).await {
                    Ok(number) => {
                        let event = match entry {
                            Entry::Handle => None,
                            Entry::Event(event) => Some(event),
                        };
                        let run = ToChild::Run { ticket, script: number, event, id: id.to_string(), drill };
                        writer.send((run, input)).await
                    }
                    Err(err) => Err(err),
                }
            }
            _ = ticks.tick() => {
                let mut tenants = vms.of_gone_tenants(common);
                let scripts = sent.forget(common, &mut tenants);
                if scripts.is_empty() && tenants.is_empty() {
                    continue;
                }
                writer.send((ToChild::Forget { scripts, tenants }, Bytes::new())).await
            }
        };
        match told {
            Ok(()) => {}
            // It does not listen; what it said last, and that it ended, is for the reader.
            Err(err) if err.kind() == ErrorKind::BrokenPipe => std::future::pending().await,
            Err(err) => return End::broken(err),
        }
    }
}

/// Tells the child of the script and of its tenant's terms, as far as it does not know them.
async fn prepare(
    writer: &mut Writer,
    sent: &mut Sent,
    script: &Arc<Script>,
    terms: &Arc<Terms>,
) -> std::io::Result<ScriptNumber> {
    if sent.are_new(&script.tenant, terms) {
        let effective = Box::new(terms.effective.clone());
        let message = ToChild::Terms { tenant: script.tenant.to_string(), effective };
        writer.send((message, Bytes::new())).await?;
    }
    let (number, is_new) = sent.number(script);
    if is_new {
        introduce(writer, number, script).await?;
    }
    Ok(number)
}

async fn introduce(writer: &mut Writer, number: ScriptNumber, script: &Script) -> std::io::Result<()> {
    let message = ToChild::Script {
        number,
        tenant: script.tenant.to_string(),
        name: script.name.to_string(),
        file: script.program.file().to_owned(),
    };
    writer.send((message, Bytes::copy_from_slice(&script.source))).await
}

/// Which scripts and terms a child has.
#[derive(Default)]
struct Sent {
    terms: HashMap<TenantName, Arc<Terms>>,
    /// By address, which is nobody else's while the weak reference is kept.
    numbers: HashMap<*const Script, (ScriptNumber, Weak<Script>)>,
    next: ScriptNumber,
}

impl Sent {
    /// The script's number, and whether it is a new one.
    fn number(&mut self, script: &Arc<Script>) -> (ScriptNumber, bool) {
        if let Some((number, _)) = self.numbers.get(&Arc::as_ptr(script)) {
            return (*number, false);
        }
        let number = self.next;
        self.next += 1;
        self.numbers.insert(Arc::as_ptr(script), (number, Arc::downgrade(script)));
        (number, true)
    }

    /// Whether these are other terms than the child has of the tenant.
    fn are_new(&mut self, tenant: &TenantName, terms: &Arc<Terms>) -> bool {
        match self.terms.get(tenant) {
            Some(known) if Arc::ptr_eq(known, terms) => false,
            None if terms.effective == Effective::default() => false,
            _ => {
                self.terms.insert(tenant.clone(), Arc::clone(terms));
                true
            }
        }
    }

    /// Numbers of scripts that no release has any more; adds tenants that the release does not have any more.
    fn forget(&mut self, common: &Common, tenants: &mut Vec<String>) -> Vec<ScriptNumber> {
        let active = common.serving.active();
        let gone = |tenant: &TenantName| active.as_ref().is_none_or(|active| !active.has_tenant(tenant.as_str()));
        tenants.extend(self.terms.extract_if(|tenant, _| gone(tenant)).map(|(tenant, _)| tenant.to_string()));
        let gone = self.numbers.extract_if(|_, (_, script)| script.strong_count() == 0);
        gone.map(|(_, (number, _))| number).collect()
    }
}

/// The VMs of a child as it told of them; forgotten with it.
struct Vms<'a> {
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

    fn of_gone_tenants(&self, common: &Common) -> Vec<String> {
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
