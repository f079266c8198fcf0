//! Which strategy, as settings give it.

use std::path::PathBuf;

/// Threads for tenants, where `--workers` does not say: each costs little more than its VM, until it runs.
const THREADS_MAX: usize = 256;

/// A strategy and its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// On the I/O threads; what takes long on a few threads of lower priority.
    ThreadPool {
        /// Threads for what takes long.
        workers: usize,
    },
    /// A thread for each tenant.
    ThreadPerTenant {
        /// The most threads at once.
        threads_max: usize,
    },
    /// In child processes that can do nothing but compute.
    ProcessPool(Processes),
}

impl Kind {
    /// As it stands in `--strategy`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::ThreadPool { .. } => "thread-pool",
            Self::ThreadPerTenant { .. } => "thread-per-tenant",
            Self::ProcessPool(_) => "process-pool",
        }
    }

    /// The strategy of that name, with `workers` threads or processes; a number that suits a machine of `cores` if absent.
    ///
    /// # Errors
    /// What is wrong with which flag.
    pub(crate) fn of(name: &str, workers: Option<usize>, cores: usize) -> Result<Self, String> {
        if workers == Some(0) {
            return Err("`--workers` is 0: expected at least 1".to_owned());
        }
        match name {
            "thread-pool" => Ok(Self::ThreadPool { workers: workers.unwrap_or(cores) }),
            "thread-per-tenant" => Ok(Self::ThreadPerTenant { threads_max: workers.unwrap_or(THREADS_MAX) }),
            "process-pool" => Ok(Self::ProcessPool(Processes::of_this_program(workers.unwrap_or(cores)))),
            other => Err(format!("`--strategy` is `{other}`: expected thread-pool, thread-per-tenant or process-pool")),
        }
    }
}

/// How child processes are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processes {
    /// How many.
    pub count: usize,
    /// The program to start, which is this one.
    pub program: PathBuf,
}

impl Processes {
    /// `count` children of this very program, also when its file was replaced since.
    pub fn of_this_program(count: usize) -> Self {
        Self { count, program: "/proc/self/exe".into() }
    }
}
