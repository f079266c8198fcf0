//! What an execution has for itself from its begin to its end, besides what it has in the VM.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use crate::asks::Asks;
use crate::capability::Grants;
use crate::fault::Clock;
use crate::limits::Limits;
use crate::log::Log;
use crate::slot::{Budget, nanos};

/// The life whose step runs now, for the functions that scripts call. Between steps it is the [`Life::idle`] one.
pub(crate) type Now = Rc<RefCell<Life>>;

/// One execution's own.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) limits: Limits,
    pub(crate) grants: Grants,
    pub(crate) began: Instant,
    /// Of its wall time.
    pub(crate) ends: Instant,
    /// CPU time it has not used yet, in nanoseconds.
    pub(crate) cpu_left: u64,
    pub(crate) log: Log,
    pub(crate) asks: Asks,
}

impl Life {
    pub(crate) fn new(limits: &Limits, grants: Grants, now: Instant) -> Self {
        Self {
            limits: limits.clone(),
            grants,
            began: now,
            ends: now.checked_add(limits.wall).unwrap_or(now),
            cpu_left: nanos(limits.cpu),
            log: Log::new(limits.log_bytes),
            asks: Asks::default(),
        }
    }

    /// Of no execution: may do nothing.
    pub(crate) fn idle() -> Self {
        Self::new(&Limits { log_bytes: 0, ..Limits::default() }, Grants::NONE, Instant::now())
    }

    /// Which clock has run out at `now`, if one has.
    pub(crate) fn over(&self, now: Instant) -> Option<Clock> {
        match () {
            () if now >= self.ends => Some(Clock::Wall),
            () if self.cpu_left == 0 => Some(Clock::Cpu),
            () => None,
        }
    }

    /// What is left at `now`.
    pub(crate) fn budget(&self, now: Instant) -> Budget {
        Budget { cpu_ns: self.cpu_left, wall_ns: nanos(self.ends.saturating_duration_since(now)) }
    }
}
