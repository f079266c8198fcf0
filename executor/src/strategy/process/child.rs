//! Inside a child process: gives up its rights, then serves jobs that come by the socket.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdStream;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use contract::Code;
use futures_util::{SinkExt, StreamExt};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use sandbox::{Call, Engine, Limits};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::codec::Codec;
use super::confine;
use super::message::{Containment, Ended, FromChild, ScriptNumber, ToChild};
use crate::release::{Script, Tenant, Terms, Workshop};
use crate::strategy::Services;
use crate::strategy::entry;
use crate::strategy::host::VmHost;
use crate::strategy::inbox::Inbox;
use crate::strategy::job::{Entry, Job, Outcome, fault};

/// Outcomes on their way to the executor; when it does not read, jobs wait.
const ANSWERS_MAX: usize = 64;

type Reader = FramedRead<OwnedReadHalf, Codec<ToChild>>;
type Writer = FramedWrite<OwnedWriteHalf, Codec<ToChild>>;
type Answers = mpsc::Sender<(FromChild, Bytes)>;

/// The scripts that were sent, by number.
type Scripts = HashMap<ScriptNumber, Arc<Script>>;

/// The tenants that have terms of their own.
type Tenants = HashMap<String, Arc<Tenant>>;

/// The life of a child process, whose standard input is the socket. Ends when the executor closes that.
pub fn run() -> ExitCode {
    // Nobody sees what is written here, and a panic is answered for.
    std::panic::set_hook(Box::new(|_| {}));
    // Both before any thread begins: what they forbid is inherited.
    let limits = confine::limit();
    let landlock = confine::give_up_files();
    let served = thread::Builder::new().name("vms".into()).stack_size(crate::STACK_BYTES).spawn(move || {
        let limits = limits.map_err(|err| format!("limits of the process can't be set: {err}"))?;
        serve(Containment { seccomp: String::new(), landlock: landlock.into(), limits: limits.into() })
    });
    match served.map(thread::JoinHandle::join) {
        Ok(Ok(Ok(()))) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn serve(mut containment: Containment) -> Result<(), String> {
    let socket = || -> std::io::Result<StdStream> {
        let stream = StdStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        stream.set_nonblocking(true)?;
        Ok(stream)
    };
    let stream = socket().map_err(|err| format!("standard input is no socket: {err}"))?;
    // After each job the socket is looked at, so that a tenant's jobs can't keep another's from being seen.
    let runtime = Builder::new_current_thread().enable_all().event_interval(1).build();
    let runtime = runtime.map_err(|err| err.to_string())?;
    LocalSet::new().block_on(&runtime, async move {
        let stream = UnixStream::from_std(stream).map_err(|err| err.to_string())?;
        let (reader, writer) = stream.into_split();
        let mut reader: Reader = FramedRead::new(reader, Codec::default());
        let mut writer: Writer = FramedWrite::new(writer, Codec::default());
        let begun = start_engine().and_then(|engine| Ok((engine, confine::filter().map_err(|err| err.to_string())?)));
        let (engine, seccomp) = match begun {
            Ok(begun) => begun,
            Err(why) => {
                let _ = writer.send((FromChild::Unable { why: why.clone() }, Bytes::new())).await;
                return Err(why);
            }
        };
        containment.seccomp = seccomp.into();
        let Some(Ok((ToChild::Begin { limits }, _))) = reader.next().await else {
            return Err("the executor did not begin".to_owned());
        };
        writer.send((FromChild::Ready(containment), Bytes::new())).await.map_err(|err| err.to_string())?;
        work(reader, writer, engine, limits).await;
        Ok(())
    })
}

/// Starts the watchdog, which is the last thread that is started, and waits until it is at work: a thread begins with
/// system calls that are about to be forbidden.
fn start_engine() -> Result<Arc<Engine>, String> {
    let engine = Engine::start().map_err(|err| err.to_string())?;
    let limits = Limits::default();
    let endless = sandbox::compile("endless.luau", b"while true do end", &limits).map_err(|err| err.to_string())?;
    let mut vm = engine.vm(&limits).map_err(|err| err.to_string())?;
    let call = Call::new("", "", "", "", &limits);
    // Nobody but the watchdog ends this.
    match vm.run(&endless, &call).outcome {
        Err(fault) if fault.code == Code::DeadlineExceeded => Ok(engine),
        other => Err(format!("the watchdog is not at work: {other:?}")),
    }
}

async fn work(reader: Reader, writer: Writer, engine: Arc<Engine>, limits: Limits) {
    let workshop = Workshop { engine: Arc::clone(&engine), limits };
    let host = VmHost::new(engine, Services::default(), Gauge::default(), Counter::default());
    let (answers, outgoing) = mpsc::channel(ANSWERS_MAX);
    let (inbox, gone) = (Arc::new(Inbox::default()), Rc::new(RefCell::new(HashSet::new())));
    let writes = tokio::task::spawn_local(write(writer, outgoing));
    let reads = tokio::task::spawn_local({
        let (inbox, answers, gone) = (Arc::clone(&inbox), answers.clone(), Rc::clone(&gone));
        async move {
            read(reader, &inbox, &answers, &workshop, &gone).await;
            inbox.close();
        }
    });
    entry::serve(&host, &inbox, || {
        let gone = std::mem::take(&mut *gone.borrow_mut());
        let vms = host.sweep(|tenant| !gone.contains(tenant));
        // Lost when the executor does not read; then it has other sorrows.
        let _ = answers.try_send((FromChild::Vms(vms), Bytes::new()));
    })
    .await;
    drop(answers);
    let _ = reads.await;
    let _ = writes.await;
}

/// Reads until the executor ends the conversation or says something that is no message.
async fn read(
    mut reader: Reader,
    inbox: &Inbox,
    answers: &Answers,
    workshop: &Workshop,
    gone: &RefCell<HashSet<String>>,
) {
    let (mut scripts, mut tenants) = (Scripts::new(), Tenants::new());
    while let Some(Ok((message, body))) = reader.next().await {
        match message {
            ToChild::Begin { .. } => return,
            ToChild::Script { number, tenant, name, file } => {
                if let Some(script) = compile(&tenant, &name, &file, &body, workshop) {
                    scripts.insert(number, Arc::new(script));
                }
            }
            ToChild::Terms { tenant, effective } => {
                let before = tenants.get(&tenant).map(|tenant| &*tenant.terms);
                let terms = Arc::new(Terms::new(*effective, before));
                tenants.insert(tenant, Arc::new(Tenant::with_terms(terms)));
            }
            ToChild::Forget { scripts: numbers, tenants: of_tenants } => {
                for number in numbers {
                    scripts.remove(&number);
                }
                tenants.retain(|tenant, _| !of_tenants.contains(tenant));
                gone.borrow_mut().extend(of_tenants);
            }
            ToChild::Run { ticket, script, event, id, drill } => {
                let job = scripts.get(&script).zip(Uuid::parse_str(&id).ok());
                let job = job.map(|(script, id)| Job {
                    script: Arc::clone(script),
                    entry: event.map_or(Entry::Handle, Entry::Event),
                    id,
                    input: body,
                    // Without scripts: nobody here could answer what it asks for. And the executor waits to the end.
                    siblings: tenants.get(script.tenant.as_str()).cloned().unwrap_or_default(),
                    cancel: CancellationToken::new(),
                    drill,
                });
                let outcome = job.and_then(|job| inbox.push(job).ok());
                let answers = answers.clone();
                tokio::task::spawn_local(async move {
                    let outcome = match outcome {
                        Some(outcome) => outcome.await.ok(),
                        None => None,
                    };
                    let lost =
                        || Outcome::fault(fault(Code::Internal, "the worker process could not take the execution"));
                    let (ended, body) = Ended::pack(outcome.unwrap_or_else(lost));
                    let _ = answers.send((FromChild::Done { ticket, ended }, body)).await;
                });
            }
        }
    }
}

/// `None` for what does not compile, which the executor, where it compiled, does not send.
fn compile(tenant: &str, name: &str, file: &str, source: &Bytes, workshop: &Workshop) -> Option<Script> {
    let (tenant, name) = (tenant.parse().ok()?, name.parse().ok()?);
    Script::compile(tenant, name, file, source.as_ref().into(), workshop, Arc::default()).ok()
}

async fn write(mut writer: Writer, mut outgoing: mpsc::Receiver<(FromChild, Bytes)>) {
    while let Some(message) = outgoing.recv().await {
        if writer.send(message).await.is_err() {
            return;
        }
    }
}
