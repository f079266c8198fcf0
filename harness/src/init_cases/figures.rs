//! What the supervisor costs: size, memory when nothing happens, time until the first child.

use std::fmt;
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use super::stage::Stage;

/// Bytes of the program at most.
const SIZE_MAX: u64 = 6 * 1024 * 1024;
/// KiB of memory at most, when nothing happens. Most of it are pages of the program itself, shared by all containers of a
/// machine.
const MEMORY_MAX: u64 = 4 * 1024;
/// How often it is started to measure the time.
const STARTS: usize = 40;

/// The figures.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Bytes.
    size: u64,
    /// KiB.
    memory: u64,
    /// From its start to the first words of its only child, which tells the time; the middle one of many.
    with: Duration,
    /// The same without it.
    without: Duration,
}

impl Figures {
    pub(super) fn take(stage: &Stage) -> Result<Self> {
        let container = stage.script("init.every(60, print) print('up') init.sleep(1000)")?;
        container.says("up", 1)?;
        let said = container.probe(&["memory"])?;
        let memory = said.split_whitespace().nth(1).and_then(|word| word.parse().ok());
        let clock = "return require('init').exec{arg[1], 'clock', stdout='inherit'}";
        Ok(Self {
            size: fs_err::metadata(&stage.program)?.len(),
            memory: memory.with_context(|| format!("read the memory of the first process from {said:?}"))?,
            with: middle(|| {
                let mut command = Command::new(&stage.program);
                command.arg(clock).arg(&stage.probe);
                command
            })?,
            without: middle(|| {
                let mut command = Command::new(&stage.probe);
                command.arg("clock");
                command
            })?,
        })
    }

    /// Whether size and memory keep their promise. The time is not asked for: it is the machine's as much.
    pub(super) fn fit(&self) -> bool {
        self.size <= SIZE_MAX && self.memory <= MEMORY_MAX
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.with.saturating_sub(self.without);
        writeln!(f, "size                        {:>8.2} MiB   at most 6", self.size as f64 / (1024.0 * 1024.0))?;
        writeln!(f, "memory when idle            {:>8.2} MiB   at most 4", self.memory as f64 / 1024.0)?;
        writeln!(
            f,
            "start to the first exec     {:>8.2} ms    goal 5 (p50 of {STARTS}, less the {:.2} ms of the child alone)",
            own.as_secs_f64() * 1e3,
            self.without.as_secs_f64() * 1e3
        )
    }
}

/// The middle one of many times from the start of a program until a process under it, or itself, tells the time.
fn middle(command: impl Fn() -> Command) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let mut command = command();
        command.stdin(Stdio::null());
        let begin = UNIX_EPOCH.elapsed().context("read the clock")?;
        let output = command.output().with_context(|| format!("run {command:?}"))?;
        ensure!(output.status.success(), "{command:?} ended with {}", output.status);
        let told = String::from_utf8_lossy(&output.stdout);
        let then = told.trim().parse().with_context(|| format!("{command:?} says {told:?}, which is no time"))?;
        times.push(Duration::from_nanos(then).saturating_sub(begin));
    }
    times.sort_unstable();
    Ok(times[STARTS / 2])
}
