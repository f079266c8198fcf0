//! One run of the rig: its name, who owns it, and where its files lie.
//!
//! Everything that a run makes in the Docker engine carries two labels: the run's id, by which it is removed, and the
//! owning process, by which a later run finds out that nobody will come back for it.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

/// Label with the run's id, on every container and network.
pub(super) const RUN_LABEL: &str = "moonswarm.run";
/// Label with the [`Owner`] of the run.
pub(super) const OWNER_LABEL: &str = "moonswarm.owner";
/// Start of the name of a run's socket folder in the system's temporary folder.
const SOCKETS_PREFIX: &str = "moonswarm-";
/// The file in a socket folder that names the owner.
const OWNER_FILE: &str = "owner";

/// Names a run: `[a-z0-9-]`, 1–40 characters. It becomes part of container names and of paths.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(String);

impl RunId {
    /// An id that no other run on this machine has: seconds since 1970, the process id, and the run's number in the process.
    fn fresh() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self(format!("e2e-{seconds:x}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the run's sockets lie. Not under `target/`: a socket's path may have 107 bytes only (`man 7 unix`).
    pub(super) fn sockets(&self) -> PathBuf {
        std::env::temp_dir().join(format!("{SOCKETS_PREFIX}{self}"))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RunId {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty() || text.len() > 40 || !text.chars().all(allowed) {
            bail!("`{text}` is no run id: give 1-40 characters of a-z, 0-9 and `-`");
        }
        Ok(Self(text.to_owned()))
    }
}

/// A run that has begun.
#[derive(Debug, Clone)]
pub struct Run {
    id: RunId,
    owner: Owner,
    logs: PathBuf,
}

impl Run {
    /// Names the run and makes its folders: `reports/ID` for logs, which stays, and one for sockets, which the reaper removes.
    ///
    /// # Errors
    /// A folder can't be made, or this system has no `/proc`.
    pub fn begin(reports: &Path) -> Result<Self> {
        let run = Self { id: RunId::fresh(), owner: Owner::current()?, logs: PathBuf::new() };
        let logs = reports.join(run.id.as_str());
        fs_err::create_dir_all(&logs)?;
        fs_err::create_dir_all(run.id.sockets())?;
        fs_err::write(run.id.sockets().join(OWNER_FILE), run.owner.to_string())?;
        Ok(Self { logs, ..run })
    }

    /// The run's id.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// The folder for logs and whatever else explains the run afterwards.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// The labels that everything of this run carries.
    pub(super) fn labels(&self) -> HashMap<String, String> {
        HashMap::from([(RUN_LABEL.to_owned(), self.id.to_string()), (OWNER_LABEL.to_owned(), self.owner.to_string())])
    }
}

/// A process, named so that a later process with the same number is not taken for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    /// `/proc/sys/kernel/random/boot_id`.
    boot: String,
    /// The process-id namespace, as `/proc/self/ns/pid` points to it: `pid:[4026531836]`.
    namespace: String,
    pid: u32,
    /// Start of the process in clock ticks since boot: field 22 of `/proc/PID/stat` (`man 5 proc`).
    started: u64,
}

impl Owner {
    fn current() -> Result<Self> {
        let pid = std::process::id();
        Ok(Self {
            boot: fs_err::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned(),
            namespace: fs_err::read_link("/proc/self/ns/pid")?.to_string_lossy().into_owned(),
            pid,
            started: start_of(pid).with_context(|| format!("read the start time in /proc/{pid}/stat"))?,
        })
    }

    /// Whether the process is certainly dead. A process of another container can't be seen from here: it counts as alive.
    pub(super) fn is_gone(&self) -> bool {
        Self::current().is_ok_and(|here| self.is_gone_seen_from(&here, start_of(self.pid)))
    }

    fn is_gone_seen_from(&self, here: &Self, started_now: Option<u64>) -> bool {
        if self.boot != here.boot {
            return true;
        }
        self.namespace == here.namespace && started_now != Some(self.started)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.boot, self.namespace, self.pid, self.started)
    }
}

impl FromStr for Owner {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.trim().split('/').collect();
        let [boot, namespace, pid, started] = parts[..] else {
            bail!("`{text}` does not name a process as BOOT/NAMESPACE/PID/START");
        };
        Ok(Self {
            boot: boot.to_owned(),
            namespace: namespace.to_owned(),
            pid: pid.parse().with_context(|| format!("read the process id in `{text}`"))?,
            started: started.parse().with_context(|| format!("read the start time in `{text}`"))?,
        })
    }
}

/// The runs that have a socket folder on this machine, with the owners that could be read.
pub(super) fn runs_with_sockets() -> Vec<(RunId, Owner)> {
    let Ok(folder) = fs_err::read_dir(std::env::temp_dir()) else { return Vec::new() };
    folder
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let run = entry.file_name().to_str()?.strip_prefix(SOCKETS_PREFIX)?.parse().ok()?;
            let owner = fs_err::read_to_string(entry.path().join(OWNER_FILE)).ok()?.parse().ok()?;
            Some((run, owner))
        })
        .collect()
}

fn start_of(pid: u32) -> Option<u64> {
    start_in(&fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The program's name, field 2, stands in brackets and may itself hold blanks and brackets: count from the last one.
fn start_in(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(boot: &str, namespace: &str) -> Owner {
        Owner { boot: boot.into(), namespace: namespace.into(), pid: 7, started: 100 }
    }

    #[test]
    fn run_ids_hold_nothing_that_could_leave_a_folder() {
        for bad in ["", "..", "a/b", "A", "a b", &"x".repeat(41)] {
            assert!(bad.parse::<RunId>().is_err(), "{bad}");
        }

        let fresh = RunId::fresh();
        assert_eq!(fresh.as_str().parse::<RunId>().unwrap(), fresh);
        assert_ne!(RunId::fresh(), fresh, "two runs of one process");
    }

    #[test]
    fn an_owner_is_gone_only_when_that_is_certain() {
        let here = owner("boot", "pid:[1]");

        assert!(!owner("boot", "pid:[1]").is_gone_seen_from(&here, Some(100)), "same process");
        assert!(owner("boot", "pid:[1]").is_gone_seen_from(&here, Some(200)), "number used again");
        assert!(owner("boot", "pid:[1]").is_gone_seen_from(&here, None), "no such process");
        assert!(!owner("boot", "pid:[2]").is_gone_seen_from(&here, None), "in a container we can't see into");
        assert!(owner("earlier", "pid:[2]").is_gone_seen_from(&here, None), "the machine was restarted");
    }

    #[test]
    fn this_process_is_not_gone_and_survives_being_written_down() {
        let me = Owner::current().unwrap();

        let read: Owner = me.to_string().parse().unwrap();

        assert_eq!(read, me);
        assert!(!read.is_gone());
    }

    #[test]
    fn start_time_is_found_behind_a_hostile_program_name() {
        let fields = (3..=52).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");

        assert_eq!(start_in(&format!("7 (a) b) S) {fields}")), Some(22));
    }
}
