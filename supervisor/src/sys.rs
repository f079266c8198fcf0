//! The three calls that no safe library makes as they are needed here.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::SigSet;
use nix::sys::signalfd::SignalFd;
use tokio::io::unix::AsyncFd;

/// `kill(2)` with any process id (0 and -1 and groups included) and any signal (0 and real-time signals included).
///
/// nix and rustix know only the signals that have names, and each leaves out some of the process ids.
#[allow(unsafe_code, reason = "the safe wrappers refuse real-time signals, which containers are stopped with")]
pub(crate) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: `kill` takes two numbers and touches no memory of this process; the kernel checks both.
    let answer = unsafe { libc::kill(pid, signal) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes the descriptor of signals part of the runtime.
#[allow(unsafe_code, reason = "tokio leaves it to the caller that the descriptor stays open while it is registered")]
pub(crate) fn listen(signals: SignalFd) -> io::Result<AsyncFd<SignalFd>> {
    // SAFETY: the descriptor is owned by what is moved in, which gives it to nobody and closes it only when dropped, and
    // `AsyncFd` takes it out of the runtime before that.
    Ok(unsafe { AsyncFd::register(signals) }?)
}

/// Lets a child have all signals: it would inherit that they are blocked here.
#[allow(
    unsafe_code,
    reason = "the mask must change in the child alone; in this process a signal could be lost meanwhile"
)]
pub(crate) fn unblock_in_child(command: &mut Command) {
    // SAFETY: between fork and exec the closure makes one system call, `rt_sigprocmask` with a set on its own stack: it
    // allocates nothing and takes no lock.
    unsafe { command.pre_exec(|| Ok(SigSet::empty().thread_set_mask()?)) };
}
