//! What a process and its children use, as the kernel counts it (proc_pid_stat(5), proc_pid_status(5)).

use std::time::Duration;

use anyhow::{Context, Result};

/// What a process tree uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Usage {
    /// Processor time since its processes began, user and system. The kernel counts it in steps of 10 ms.
    pub(super) cpu: Duration,
    /// Resident memory; pages that its processes share count in each.
    pub(super) rss_bytes: u64,
}

/// Of the process `id` and all its descendants.
///
/// # Errors
/// It is gone.
pub(super) fn of_tree(id: u32) -> Result<Usage> {
    let mut usage = of_process(id)?;
    for child in children(id)? {
        let child = of_tree(child)?;
        usage.cpu += child.cpu;
        usage.rss_bytes += child.rss_bytes;
    }
    Ok(usage)
}

fn of_process(id: u32) -> Result<Usage> {
    let stat = fs_err::read_to_string(format!("/proc/{id}/stat"))?;
    let status = fs_err::read_to_string(format!("/proc/{id}/status"))?;
    Ok(Usage {
        cpu: cpu(&stat, rustix::param::clock_ticks_per_second()).with_context(|| format!("read `{stat}`"))?,
        rss_bytes: rss_bytes(&status).with_context(|| format!("process {id} has no resident memory"))?,
    })
}

fn children(id: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for thread in fs_err::read_dir(format!("/proc/{id}/task"))? {
        let list = fs_err::read_to_string(thread?.path().join("children"))?;
        children.extend(list.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
    }
    Ok(children)
}

fn cpu(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    // The name before `)` may hold anything; `utime` and `stime` are the fields 14 and 15, the first behind it is 3.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: u64 = fields.split(' ').skip(11).take(2).map(|field| field.parse().unwrap_or(0)).sum();
    Some(Duration::from_nanos(ticks * 1_000_000_000 / ticks_per_second))
}

fn rss_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "42 (a) b 1) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 7 7 20 0 4 0 1000 0 0";

        assert_eq!(cpu(stat, 100), Some(Duration::from_secs(3)));
    }

    #[test]
    fn memory_is_in_kibibytes() {
        assert_eq!(rss_bytes("Name:\tx\nVmRSS:\t    2048 kB\nVmData:\t 1 kB\n"), Some(2 << 20));
    }

    #[test]
    fn this_process_uses_something() {
        assert!(of_tree(std::process::id()).unwrap().rss_bytes > 0);
    }
}
