//! Runs cases by the library, each in a process of its own, so that one that hangs or takes the process with it costs
//! only itself.
//!
//! The parent starts a child that calls [`serve`], writes the case to its stdin and reads what was seen from its stdout,
//! which scripts cannot write to.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use contract::Code;
use rustix::time::{ClockId, clock_gettime};
use sandbox::{Call, Engine, Limits, Outcome, Vm, compile};
use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::seen::{After, End, NEIGHBOUR, NEIGHBOUR_INPUT, Run, Script, Seen, Tenant, micros, overrun_us};

/// Stack of the thread that compiles and runs scripts, see the documentation of `sandbox`.
const STACK_BYTES: usize = 8 << 20;

/// A child that says nothing for this many times the deadlines of all its executions is killed.
const PATIENCE: u32 = 10;

/// What a child is asked to do.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    case: Case,
    rounds: u32,
}

/// Runs `case` that many times in the process that `child` starts, which must do nothing but [`serve`].
///
/// # Errors
/// The process can't be started or talked to. That it dies or hangs is no error but [`Seen::lost`].
pub fn run(mut child: Command, case: &Case, rounds: u32) -> Result<Seen> {
    let order = serde_json::to_vec(&Order { case: case.clone(), rounds })?;
    let mut child = child
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("start a process for a case")?;
    let mut stdout = child.stdout.take().context("the child's stdout is piped")?;
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        // What is missing is found missing by who reads it.
        let _ = stdout.read_to_end(&mut text);
        let _ = tell.send(text);
    });
    // A child that died while it was written to is found below.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(&order));

    // The larger limit is that of wall time; most runs take a fortieth of it, on a machine that has nothing else to do.
    let patience = Limits::default().wall * PATIENCE + Limits::default().wall / 2 * rounds;
    let text = told.recv_timeout(patience);
    if text.is_err() {
        child.kill().context("kill a process that hangs")?;
    }
    let status = child.wait().context("wait for the process of a case")?;
    let lost = |what: String| Seen { lost: Some(what), ..Seen::default() };
    Ok(match text {
        Err(_) => lost(format!("the process did not answer in {patience:?} and was killed")),
        Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|_| lost(format!("the process died: {status}"))),
    })
}

/// The child's part: a case on stdin, what was seen on stdout.
///
/// # Errors
/// stdin holds no case, stdout is closed, or there is no engine or thread.
pub fn serve() -> Result<()> {
    let Order { case, rounds } = serde_json::from_reader(std::io::stdin().lock())?;
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || watch(&case, rounds))?;
    let seen = thread.join().map_err(|_| anyhow::anyhow!("the thread of the case panicked"))??;
    serde_json::to_writer(std::io::stdout().lock(), &seen)?;
    Ok(())
}

fn watch(case: &Case, rounds: u32) -> Result<Seen> {
    let mut desk = Desk::new()?;
    // What is loaded and reserved once is no growth.
    desk.neighbour(Tenant::Same);
    desk.neighbour(Tenant::Other);

    let mut seen = Seen { threads: Some((threads()?, 0)), ..Seen::default() };
    let mut memory_first = 0;
    for round in 0..rounds.max(1) {
        seen.runs.push(desk.run(case));
        if round == 0 {
            memory_first = memory_kib()?;
        }
    }
    seen.memory_kib = Some((memory_first, memory_kib()?));
    seen.threads = seen.threads.map(|(before, _)| Ok::<_, anyhow::Error>((before, threads()?))).transpose()?;
    Ok(seen)
}

/// One thread's VMs of two tenants, as an executor has them.
struct Desk {
    engine: Arc<Engine>,
    limits: Limits,
    same: Option<Vm>,
    other: Option<Vm>,
}

impl Desk {
    fn new() -> Result<Self> {
        Ok(Self { engine: Engine::start()?, limits: Limits::default(), same: None, other: None })
    }

    fn run(&mut self, case: &Case) -> Run {
        let (started, cpu_started) = (Instant::now(), cpu_time());
        let end = self.execute(Tenant::Same, &case.source, &case.input);
        let (wall, cpu) = (started.elapsed(), cpu_time().saturating_sub(cpu_started));
        let overrun_us = overrun_us(cpu, wall, &self.limits);

        let mut after = Vec::new();
        // The neighbour comes first: it waits for whatever is still to be cleaned up.
        after.push(self.neighbour(Tenant::Other));
        after.push(self.neighbour(Tenant::Same));
        if let Some(probe) = &case.probe {
            after.push(self.after(Tenant::Same, Script::Probe, &probe.source, &case.input));
            after.push(self.after(Tenant::Other, Script::Probe, &probe.source, &case.input));
        }
        Run { end, wall_us: micros(wall), cpu_us: micros(cpu), overrun_us, after }
    }

    fn neighbour(&mut self, tenant: Tenant) -> After {
        self.after(tenant, Script::Neighbour, NEIGHBOUR, NEIGHBOUR_INPUT)
    }

    fn after(&mut self, tenant: Tenant, script: Script, source: &str, input: &str) -> After {
        let (started, cpu_started) = (Instant::now(), cpu_time());
        for vm in [&mut self.same, &mut self.other] {
            if vm.as_ref().is_some_and(|vm| !vm.is_usable()) {
                *vm = None;
            }
        }
        let end = self.execute(tenant, source, input);
        let (wall, cpu) = (started.elapsed(), cpu_time().saturating_sub(cpu_started));
        After { tenant, script, end, wall_us: micros(wall), overrun_us: overrun_us(cpu, wall, &self.limits) }
    }

    fn execute(&mut self, tenant: Tenant, source: &str, input: &str) -> End {
        let program = match compile("case.luau", source.as_bytes(), &self.limits) {
            Ok(program) => program,
            Err(refusal) => return End::Problem(refusal.code, refusal.detail),
        };
        let (name, slot) = match tenant {
            Tenant::Same => ("attacker", &mut self.same),
            Tenant::Other => ("neighbour", &mut self.other),
        };
        if slot.is_none() {
            match self.engine.vm(&self.limits) {
                Ok(vm) => *slot = Some(vm),
                Err(fault) => return End::Problem(fault.code, fault.detail),
            }
        }
        let Some(vm) = slot else { return End::Problem(Code::Internal, "there is no VM".into()) };
        end_of(execute(vm, &program, &self.limits, name, input.as_bytes()))
    }
}

/// The one place that runs a script.
pub(crate) fn execute(
    vm: &mut Vm,
    program: &sandbox::Program,
    limits: &Limits,
    tenant: &str,
    input: &[u8],
) -> std::result::Result<Vec<u8>, sandbox::Fault> {
    let call = Call { input, ..Call::new(tenant, "case", "v", "e", limits) };
    vm.run(program, &call).outcome.map(Outcome::into_json)
}

fn end_of(outcome: std::result::Result<Vec<u8>, sandbox::Fault>) -> End {
    match outcome {
        Ok(json) => match serde_json::from_slice(&json) {
            Ok(value) => End::Answer(value),
            Err(err) => End::Other(format!("an answer that is no JSON: {err}")),
        },
        Err(fault) => End::Problem(fault.code, fault.detail),
    }
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn memory_kib() -> Result<u64> {
    status_of("self", "VmRSS:")
}

fn threads() -> Result<u64> {
    status_of("self", "Threads:")
}

/// A number of `/proc/PROCESS/status` (proc(5)): `VmRSS:` in KiB, `Threads:`.
///
/// # Errors
/// The process is gone, or the line is missing.
pub fn status_of(process: &str, key: &str) -> Result<u64> {
    let text = fs_err::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no `{key}`"))?;
    line.split_whitespace().next().unwrap_or_default().parse().with_context(|| format!("`{key}{line}`"))
}
