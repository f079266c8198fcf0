//! All children, the reaper, and the only way to send one a signal.
//!
//! A child is in the table from the moment it is made until its end has been collected, and in between the kernel keeps
//! its process id for it: a signal sent by way of the table can't hit another process. Making, collecting and signalling
//! happen on one thread, so nothing comes between looking a child up and sending. That holds for its process group too,
//! as the group's number is the child's.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use rustix::process::{WaitOptions, wait};
use tokio::sync::Notify;

use crate::sys;

/// Ended children whose numbers are remembered, so that a script that kept one can't hit whoever has it now.
const REMEMBERED: usize = 4096;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// How a child is to be treated; from the script's options.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Treatment {
    /// The signal that asks it to end.
    pub(crate) stop_signal: Option<i32>,
    /// How long it may take for that before it is killed.
    pub(crate) grace: Duration,
    /// It belongs to a service: that one stops it, in its turn.
    pub(crate) service: bool,
}

/// A process that was started here.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    pub(crate) treatment: Treatment,
    end: Cell<Option<End>>,
    ended: Notify,
}

impl Child {
    /// Waits for its end.
    pub(crate) async fn ended(&self) -> End {
        loop {
            if let Some(end) = self.end.get() {
                return end;
            }
            self.ended.notified().await;
        }
    }

    /// How it ended, if it has.
    pub(crate) fn end(&self) -> Option<End> {
        self.end.get()
    }

    /// Sends a signal to its process group; whether it is still there to get it.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<bool> {
        if self.end.get().is_some() {
            return Ok(false);
        }
        match sys::kill(-self.pid, signal) {
            // A child may have moved to another group; it is still itself.
            Err(err) if err.raw_os_error() == Some(libc::ESRCH) => sys::kill(self.pid, signal).map(|()| true),
            sent => sent.map(|()| true),
        }
    }

    /// Asks it to end, and after its grace kills it; how it ended.
    pub(crate) async fn stop(&self, signal: i32, grace: Duration) -> io::Result<End> {
        self.signal(signal)?;
        if let Ok(end) = tokio::time::timeout(grace, self.ended()).await {
            return Ok(end);
        }
        self.signal(libc::SIGKILL)?;
        Ok(self.ended().await)
    }
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Children {
    running: RefCell<BTreeMap<i32, Rc<Child>>>,
    /// Process ids of children that have ended and that no child has now.
    former: RefCell<VecDeque<i32>>,
    /// Orphans of the children that were collected, whose parent died before them.
    orphans: Cell<u64>,
}

impl Children {
    /// Puts a child that was just made into the table. Nothing may be awaited between making it and this.
    pub(crate) fn add(&self, pid: i32, treatment: Treatment) -> Rc<Child> {
        let child = Rc::new(Child { pid, treatment, end: Cell::new(None), ended: Notify::new() });
        self.former.borrow_mut().retain(|&former| former != pid);
        self.running.borrow_mut().insert(pid, Rc::clone(&child));
        child
    }

    /// Those that have not ended.
    pub(crate) fn running(&self) -> Vec<Rc<Child>> {
        self.running.borrow().values().cloned().collect()
    }

    /// Whether `pid` was a child of this process and is none any more, so that the number may be someone else's now.
    pub(crate) fn is_former(&self, pid: i32) -> bool {
        self.former.borrow().contains(&pid)
    }

    /// How many orphans were collected so far.
    pub(crate) fn orphans(&self) -> u64 {
        self.orphans.get()
    }

    /// Collects every process that has ended, children and orphans alike; whether any is left.
    pub(crate) fn reap(&self) -> bool {
        loop {
            self.sweep_group_of_next();
            let (pid, end) = match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    let code = status.exit_status().map(End::Code);
                    let Some(end) = code.or_else(|| status.terminating_signal().map(End::Signal)) else { continue };
                    (pid.as_raw_nonzero().get(), end)
                }
                Ok(None) => return true,
                Err(rustix::io::Errno::INTR) => continue,
                // ECHILD: there is none.
                Err(_) => return false,
            };
            let child = self.running.borrow_mut().remove(&pid);
            match child {
                Some(child) => {
                    self.remember(pid);
                    child.end.set(Some(end));
                    child.ended.notify_waiters();
                }
                None => self.orphans.set(self.orphans.get() + 1),
            }
        }
    }

    /// A service that ended takes what it left in its group with it: the next start would find the port taken. Done
    /// while it is a zombie, because then the number of the group is certainly still its own.
    fn sweep_group_of_next(&self) {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        // nix has no word for a death by a real-time signal and reports an error: then the group is left alone.
        let next = waitid(Id::All, flags).ok().and_then(|status| status.pid());
        let Some(pid) = next.map(nix::unistd::Pid::as_raw) else { return };
        if self.running.borrow().get(&pid).is_some_and(|child| child.treatment.service) {
            // An error means that the group is empty but for the zombie.
            let _ = sys::kill(-pid, libc::SIGKILL);
        }
    }

    fn remember(&self, pid: i32) {
        let mut former = self.former.borrow_mut();
        if former.len() == REMEMBERED {
            former.pop_front();
        }
        former.push_back(pid);
    }
}
