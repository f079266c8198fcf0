//! Runs cases of [`containment`] by `POST /v1/run` of a real executor that has them from a real manager.
//!
//! All requests of a case go over one connection, so they are answered by one thread of the executor: what comes after an
//! attack waits for what the attack left.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use containment::Case;
use containment::library::status_of;
use containment::seen::{After, End, NEIGHBOUR, NEIGHBOUR_INPUT, Run, Script, Seen, Tenant, micros, overrun_us};
use contract::Problem;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use sandbox::Limits;
use tokio::net::TcpStream;

use crate::client::Manager;
use crate::laptop::{Laptop, LaptopOptions};
use crate::process::no_sink;
use crate::programs::Programs;

/// An answer is waited for ten times as long as the longest execution.
const PATIENCE: Duration = Duration::from_secs(20);

const ATTACK: &str = "attack";
const PROBE: &str = "probe";
const NEXT: &str = "next";

fn tenant(tenant: Tenant) -> &'static str {
    match tenant {
        Tenant::Same => "attacker",
        Tenant::Other => "neighbour",
    }
}

/// A stack with one executor, and a connection to it.
#[derive(Debug)]
pub struct Stage {
    laptop: Laptop,
    manager: Manager,
    connection: Option<SendRequest<Full<Bytes>>>,
    at_start: Figures,
    /// The executor's, which runs with the defaults.
    limits: Limits,
}

/// What an executor's process takes.
#[derive(Debug, Clone, Copy)]
struct Figures {
    memory_kib: u64,
    threads: u64,
}

impl Stage {
    /// Builds the programs, starts the stack in `directory` and pushes the harmless scripts.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn start(directory: PathBuf) -> Result<Self> {
        let options = LaptopOptions {
            programs: Programs::build()?,
            executors: 1,
            port: None,
            directory,
            log: "info".into(),
            sink: no_sink(),
        };
        let laptop = Laptop::start(options).await?;
        let manager = Manager::new(&laptop.manager_url, None)?;
        let at_start = Figures { memory_kib: 0, threads: 0 };
        let mut stage = Self { laptop, manager, connection: None, at_start, limits: Limits::default() };
        for of in [Tenant::Same, Tenant::Other] {
            if let Some(End::Problem(code, detail)) = stage.push(of, NEXT, NEIGHBOUR).await? {
                anyhow::bail!("push a harmless script: {code}: {detail}");
            }
            stage.next(of).await;
        }
        stage.at_start = stage.figures()?;
        Ok(stage)
    }

    /// Pushes `case` and runs it that many times.
    ///
    /// # Errors
    /// The manager does not answer, or the executor can't be started again after a case that stopped it.
    pub async fn run(&mut self, case: &Case, rounds: u32) -> Result<Seen> {
        let refused = self.push(Tenant::Same, ATTACK, &case.source).await?;
        if let Some(probe) = &case.probe {
            for of in [Tenant::Same, Tenant::Other] {
                self.push(of, PROBE, &probe.source).await?;
            }
        }
        let before = self.figures()?;
        let mut seen = Seen { threads: Some((before.threads, before.threads)), ..Seen::default() };
        let mut memory_first = before.memory_kib;
        for round in 0..rounds.max(1) {
            let run = self.round(case, refused.clone()).await;
            let stuck = run.after.iter().map(|after| &after.end).chain([&run.end]).find_map(|end| match end {
                End::Other(what) => Some(what.clone()),
                _ => None,
            });
            seen.runs.push(run);
            if let Some(what) = stuck {
                self.restart().await?;
                return Ok(Seen { lost: Some(what), ..seen });
            }
            if round == 0 {
                memory_first = self.figures()?.memory_kib;
            }
        }
        let after = self.figures()?;
        seen.memory_kib = Some((memory_first, after.memory_kib));
        seen.threads = Some((before.threads, after.threads));
        Ok(seen)
    }

    /// Ends the stack; tells in a sentence what the executor took before all cases and after.
    ///
    /// # Errors
    /// The executor is gone.
    pub async fn stop(self) -> Result<String> {
        let (before, after) = (self.at_start, self.figures()?);
        self.laptop.stop().await;
        Ok(format!(
            "http: the executor held {} MiB before all cases and {} MiB after, in {} threads and {}",
            before.memory_kib >> 10,
            after.memory_kib >> 10,
            before.threads,
            after.threads
        ))
    }

    async fn round(&mut self, case: &Case, refused: Option<End>) -> Run {
        let meter = self.meter();
        let end = match refused {
            Some(end) => end,
            None => self.post(Tenant::Same, ATTACK, &case.input).await,
        };
        let (wall, cpu) = self.read(meter);
        let overrun_us = overrun_us(cpu, wall, &self.limits);

        let mut after = vec![self.next(Tenant::Other).await, self.next(Tenant::Same).await];
        if case.probe.is_some() {
            for of in [Tenant::Same, Tenant::Other] {
                after.push(self.after(of, Script::Probe, PROBE, &case.input).await);
            }
        }
        Run { end, wall_us: micros(wall), cpu_us: micros(cpu), overrun_us, after }
    }

    async fn next(&mut self, of: Tenant) -> After {
        self.after(of, Script::Neighbour, NEXT, NEIGHBOUR_INPUT).await
    }

    async fn after(&mut self, of: Tenant, script: Script, name: &str, input: &str) -> After {
        let meter = self.meter();
        let end = self.post(of, name, input).await;
        let (wall, cpu) = self.read(meter);
        After { tenant: of, script, end, wall_us: micros(wall), overrun_us: overrun_us(cpu, wall, &self.limits) }
    }

    /// Pushes a script and waits until it is live; what the gate says if it refuses.
    async fn push(&self, of: Tenant, script: &str, source: &str) -> Result<Option<End>> {
        match self.manager.push(tenant(of), script, source.as_bytes(), "wait=10s").await? {
            Ok(_) => Ok(None),
            Err(problem) => Ok(Some(End::Problem(problem.code, problem.detail))),
        }
    }

    async fn post(&mut self, of: Tenant, script: &str, input: &str) -> End {
        let path = format!("/v1/run/{}/{script}", tenant(of));
        match tokio::time::timeout(PATIENCE, self.exchange(&path, input)).await {
            Ok(Ok(end)) => end,
            Ok(Err(err)) => End::Other(format!("no answer: {err:#}")),
            Err(_) => End::Other(format!("no answer in {} s", PATIENCE.as_secs())),
        }
    }

    async fn exchange(&mut self, path: &str, input: &str) -> Result<End> {
        let connection = match self.connection.take().filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let connection = self.connection.insert(connection);
        let body = Full::new(Bytes::copy_from_slice(input.as_bytes()));
        let request = http::Request::post(path).header("host", "executor").body(body)?;
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status.is_success() {
            return Ok(serde_json::from_slice(&body).map_or_else(|err| End::Other(err.to_string()), End::Answer));
        }
        let problem: Problem = serde_json::from_slice(&body).with_context(|| format!("status {status}, no problem"))?;
        Ok(End::Problem(problem.code, problem.detail))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let address = self.laptop.executor_urls[0].trim_start_matches("http://");
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the sender; that it broke off is told to who asks next.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    async fn restart(&mut self) -> Result<()> {
        self.connection = None;
        self.laptop.executors[0].kill().await?;
        self.laptop.restart_executor(0).await?;
        self.laptop.wait_ready().await
    }

    fn process(&self) -> Result<u32> {
        self.laptop.executors[0].id().context("the executor is gone")
    }

    fn figures(&self) -> Result<Figures> {
        let process = self.process()?.to_string();
        Ok(Figures { memory_kib: status_of(&process, "VmRSS:")?, threads: status_of(&process, "Threads:")? })
    }

    fn meter(&self) -> (Instant, Duration) {
        (Instant::now(), self.cpu_time())
    }

    /// Wall time and the executor's CPU time since. A worker that has answered sleeps, so the kernel's account of it is
    /// up to date.
    fn read(&self, (started, cpu_started): (Instant, Duration)) -> (Duration, Duration) {
        (started.elapsed(), self.cpu_time().saturating_sub(cpu_started))
    }

    /// CPU time of all threads of the executor, from `/proc/PID/task/TID/schedstat` (nanoseconds first); zero where the
    /// kernel does not keep it, so that only wall time counts.
    fn cpu_time(&self) -> Duration {
        let Ok(process) = self.process() else { return Duration::ZERO };
        let threads = fs_err::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
        let of_thread = |thread: fs_err::DirEntry| {
            let text = fs_err::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
        };
        threads.filter_map(of_thread).sum()
    }
}
