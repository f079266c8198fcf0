//! Time as worker threads need it: one number for moments, and what an execution used of its thread's CPU.

use std::sync::LazyLock;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
pub(crate) use sandbox::nanos;

/// Reading a thread's CPU clock is a system call; a reading this fresh serves the next execution as well.
const READING_MAX_NS: u64 = 1_000_000;

/// Nanoseconds since about the start of the process. Never 0.
pub(crate) fn now_ns() -> u64 {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    nanos(ORIGIN.elapsed()) + 1
}

/// Tells what an execution used of its thread's CPU, mostly without asking the system.
///
/// Short executions, by wall time, are not looked at. For the others the CPU clock is read at the end, and compared
/// with a reading at most a millisecond older than the beginning; all of that millisecond is taken to have been used
/// before. So the answer is never too high, and exact for executions that follow each other: a busy host does not make
/// an innocent script look expensive.
#[derive(Debug, Default)]
pub(crate) struct CpuClock {
    cpu_ns: u64,
    read_at_ns: u64,
}

impl CpuClock {
    /// To be called when an execution begins.
    pub(crate) fn begin(&mut self, now_ns: u64) {
        if now_ns - self.read_at_ns > READING_MAX_NS {
            self.read(now_ns, thread_cpu_ns());
        }
    }

    /// CPU time of the execution from `begun_ns` to `now_ns`; 0 if it took less than `long_ns`.
    pub(crate) fn end(&mut self, begun_ns: u64, now_ns: u64, long_ns: u64) -> u64 {
        if now_ns - begun_ns < long_ns {
            return 0;
        }
        self.used(begun_ns, now_ns, thread_cpu_ns())
    }

    fn used(&mut self, begun_ns: u64, now_ns: u64, cpu_ns: u64) -> u64 {
        let before = begun_ns.saturating_sub(self.read_at_ns);
        let used = cpu_ns.saturating_sub(self.cpu_ns).saturating_sub(before);
        self.read(now_ns, cpu_ns);
        used
    }

    fn read(&mut self, now_ns: u64, cpu_ns: u64) {
        (self.read_at_ns, self.cpu_ns) = (now_ns, cpu_ns);
    }
}

/// Nanoseconds of CPU time of the calling thread.
fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_never_told_too_high_and_exact_after_a_fresh_reading() {
        let mut clock = CpuClock { cpu_ns: 1_000, read_at_ns: 10_000 };

        assert_eq!(clock.used(10_400, 50_000, 31_000), 30_000 - 400);
        assert_eq!(clock.used(50_000, 90_000, 61_000), 30_000);
    }

    #[test]
    fn short_executions_are_not_looked_at() {
        let mut clock = CpuClock { cpu_ns: 0, read_at_ns: 10_000 };

        assert_eq!(clock.end(10_000, 10_900, 1_000), 0);
        assert_eq!(clock.read_at_ns, 10_000);
    }
}
