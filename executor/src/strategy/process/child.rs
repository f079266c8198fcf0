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
use contract::ids::EventName;
use futures_util::{SinkExt, StreamExt};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use sandbox::{Call, Engine, Limits};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::asker::{Asker, Given};
use super::codec::Codec;
use super::confine;
use super::message::{Containment, Ended, FromChild, ScriptNumber, ToChild};
use crate::release::{Script, Tenant, Terms, Workshop};
use crate::strategy::Services;
use crate::strategy::entry;
use crate::strategy::host::VmHost;
use crate::strategy::inbox::{Inbox, Ticket};
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
    let patience = limits.wall;
    let workshop = Workshop { engine: Arc::clone(&engine), limits };
    let (answers, outgoing) = mpsc::channel(ANSWERS_MAX);
    let asker = Asker::new(answers.clone());
    let host = VmHost::new(engine, Services::Executor(asker.clone()), Gauge::default(), Counter::default());
    let (inbox, gone) = (Arc::new(Inbox::default()), Rc::new(RefCell::new(HashSet::new())));
    let writes = tokio::task::spawn_local(write(writer, outgoing));
    let mut intake = Intake {
        inbox: Arc::clone(&inbox),
        answers: answers.clone(),
        asker,
        workshop,
        gone: Rc::clone(&gone),
        scripts: Scripts::new(),
        tenants: Tenants::new(),
        cancels: Rc::default(),
    };
    let reads = tokio::task::spawn_local(async move {
        let is_end = intake.read(reader).await;
        intake.inbox.close();
        is_end
    });
    entry::serve(&host, &inbox, || {
        let gone = std::mem::take(&mut *gone.borrow_mut());
        let vms = host.sweep(|tenant| !gone.contains(tenant));
        // Lost when the executor does not read; then it has other sorrows.
        let _ = answers.try_send((FromChild::Vms(vms), Bytes::new()));
    })
    .await;
    if let Ok(true) = reads.await
        && let Ok(said) = timeout(patience, host.shut_down()).await
    {
        let _ = answers.send((FromChild::Said(said), Bytes::new())).await;
    }
    // With them the last who writes.
    drop((host, answers));
    let _ = writes.await;
}

/// What messages from the executor are for.
struct Intake {
    inbox: Arc<Inbox>,
    answers: Answers,
    asker: Asker,
    workshop: Workshop,
    gone: Rc<RefCell<HashSet<String>>>,
    scripts: Scripts,
    tenants: Tenants,
    /// Of the jobs that are here.
    cancels: Rc<RefCell<HashMap<Ticket, CancellationToken>>>,
}

impl Intake {
    /// Reads until the executor ends the conversation, with good words (true) or not, or says something that is no
    /// message.
    async fn read(&mut self, mut reader: Reader) -> bool {
        while let Some(Ok((message, body))) = reader.next().await {
            match message {
                ToChild::Begin { .. } => return false,
                ToChild::End => return true,
                ToChild::Script { number, tenant, name, file } => {
                    if let Some(script) = compile(&tenant, &name, &file, &body, &self.workshop) {
                        self.scripts.insert(number, Arc::new(script));
                    }
                }
                ToChild::Terms { tenant, effective } => {
                    let before = self.tenants.get(&tenant).map(|tenant| &*tenant.terms);
                    let terms = Arc::new(Terms::new(*effective, before));
                    self.tenants.insert(tenant, Arc::new(Tenant::with_terms(terms)));
                }
                ToChild::Forget { scripts: numbers, tenants } => {
                    for number in numbers {
                        self.scripts.remove(&number);
                    }
                    self.tenants.retain(|tenant, _| !tenants.contains(tenant));
                    self.gone.borrow_mut().extend(tenants);
                }
                ToChild::Run { ticket, script, event, layers, id, drill } => {
                    let job = self.job(ticket, script, event, &layers, &id, body).map(|job| Job { drill, ..job });
                    self.run(ticket, job);
                }
                ToChild::Cancel { ticket } => {
                    if let Some(cancel) = self.cancels.borrow().get(&ticket) {
                        cancel.cancel();
                    }
                }
                ToChild::Answer { number, script: None } => self.asker.answer(number, Ok(Given::Answer(body))),
                ToChild::Answer { number, script: Some(script) } => {
                    let script = self.scripts.get(&script).cloned();
                    let script = script.ok_or_else(|| "the executor gave a script that is not here".to_owned());
                    self.asker.answer(number, script.map(Given::Script));
                }
                ToChild::Refuse { number, why } => self.asker.answer(number, Err(why)),
            }
        }
        false
    }

    /// `None` if it names what is not here.
    fn job(
        &self,
        ticket: Ticket,
        script: ScriptNumber,
        event: Option<EventName>,
        layers: &[ScriptNumber],
        id: &str,
        input: Bytes,
    ) -> Option<Job> {
        let layers: Option<Vec<_>> = layers.iter().map(|layer| self.scripts.get(layer).cloned()).collect();
        let script = self.scripts.get(&script)?;
        Some(Job {
            script: Arc::clone(script),
            entry: event.map_or(Entry::Handle, Entry::Event),
            id: Uuid::parse_str(id).ok()?,
            input,
            // Without scripts: the executor gives those that are wanted.
            siblings: self.tenants.get(script.tenant.as_str()).cloned().unwrap_or_default(),
            layers: Some(layers?).filter(|layers| !layers.is_empty()).map(Into::into),
            ticket: Some(ticket),
            cancel: CancellationToken::new(),
            drill: None,
        })
    }

    /// Runs the job, and has its outcome sent.
    fn run(&self, ticket: Ticket, job: Option<Job>) {
        if let Some(job) = &job {
            self.cancels.borrow_mut().insert(ticket, job.cancel.clone());
        }
        let outcome = job.and_then(|job| self.inbox.push(job).ok());
        let (answers, cancels) = (self.answers.clone(), Rc::clone(&self.cancels));
        tokio::task::spawn_local(async move {
            let outcome = match outcome {
                Some(outcome) => outcome.await.ok(),
                None => None,
            };
            cancels.borrow_mut().remove(&ticket);
            let lost = || Outcome::fault(fault(Code::Internal, "the worker process could not take the execution"));
            let (ended, body) = Ended::pack(outcome.unwrap_or_else(lost));
            let _ = answers.send((FromChild::Done { ticket, ended }, body)).await;
        });
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
