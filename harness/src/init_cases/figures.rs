//! What the supervisor costs: size, memory when nothing happens, time until the first child.

use std::fmt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
    /// From its start to the end of `/bin/true`, its only child; the middle one of many.
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
        let code = "return require('init').exec{'/bin/true', stdout='inherit'}";
        Ok(Self {
            size: fs_err::metadata(&stage.program)?.len(),
            memory: memory.with_context(|| format!("read the memory of the first process from {said:?}"))?,
            with: middle(|| {
                let mut command = Command::new(&stage.program);
                command.arg(code);
                command
            })?,
            without: middle(|| Command::new("/bin/true"))?,
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
            "start to end of a child     {:>8.2} ms    goal 5 (p50 of {STARTS}, less the {:.2} ms of /bin/true alone)",
            own.as_secs_f64() * 1e3,
            self.without.as_secs_f64() * 1e3
        )
    }
}

/// The middle one of many times from the start of a program to its end.
fn middle(command: impl Fn() -> Command) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let mut command = command();
        command.stdin(Stdio::null());
        let begin = Instant::now();
        let status = command.status().with_context(|| format!("run {command:?}"))?;
        times.push(begin.elapsed());
        ensure!(status.success(), "{command:?} ended with {status}");
    }
    times.sort_unstable();
    Ok(times[STARTS / 2])
}
