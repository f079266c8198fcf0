//! Signals: their names, how they arrive, and which of them go on to the children.
//!
//! All that can be blocked is blocked and read from one descriptor, in order and together with who sent it. Nothing is
//! ever lost between two steps of the supervisor, and no handler runs at a bad moment. A child starts with no signal
//! blocked or ignored (`sys::unblock_in_child`).

use std::io;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::unix::AsyncFd;

use crate::sys;

/// The standard signals by name.
pub(crate) const NAMES: [(&str, i32); 31] = [
    ("SIGHUP", libc::SIGHUP),
    ("SIGINT", libc::SIGINT),
    ("SIGQUIT", libc::SIGQUIT),
    ("SIGILL", libc::SIGILL),
    ("SIGTRAP", libc::SIGTRAP),
    ("SIGABRT", libc::SIGABRT),
    ("SIGBUS", libc::SIGBUS),
    ("SIGFPE", libc::SIGFPE),
    ("SIGKILL", libc::SIGKILL),
    ("SIGUSR1", libc::SIGUSR1),
    ("SIGSEGV", libc::SIGSEGV),
    ("SIGUSR2", libc::SIGUSR2),
    ("SIGPIPE", libc::SIGPIPE),
    ("SIGALRM", libc::SIGALRM),
    ("SIGTERM", libc::SIGTERM),
    ("SIGSTKFLT", libc::SIGSTKFLT),
    ("SIGCHLD", libc::SIGCHLD),
    ("SIGCONT", libc::SIGCONT),
    ("SIGSTOP", libc::SIGSTOP),
    ("SIGTSTP", libc::SIGTSTP),
    ("SIGTTIN", libc::SIGTTIN),
    ("SIGTTOU", libc::SIGTTOU),
    ("SIGURG", libc::SIGURG),
    ("SIGXCPU", libc::SIGXCPU),
    ("SIGXFSZ", libc::SIGXFSZ),
    ("SIGVTALRM", libc::SIGVTALRM),
    ("SIGPROF", libc::SIGPROF),
    ("SIGWINCH", libc::SIGWINCH),
    ("SIGIO", libc::SIGIO),
    ("SIGPWR", libc::SIGPWR),
    ("SIGSYS", libc::SIGSYS),
];

/// `SIGTERM` for 15; real-time signals count from `SIGRTMIN`.
pub(crate) fn name(signal: i32) -> String {
    let standard = NAMES.iter().find(|(_, number)| *number == signal).map(|(name, _)| (*name).to_owned());
    standard.unwrap_or_else(|| match signal - libc::SIGRTMIN() {
        0 => "SIGRTMIN".to_owned(),
        above @ 1..=30 => format!("SIGRTMIN+{above}"),
        _ => format!("signal {signal}"),
    })
}

/// A signal that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// Its number.
    pub(crate) signal: i32,
    /// The kernel made it (a key on the terminal, a child that ended), not a process.
    pub(crate) by_kernel: bool,
}

/// What a signal means when the script has no function for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// End everything in order.
    Stop,
    /// A child may have ended.
    Child,
    /// For the children as well.
    HandOn,
    /// Meant for this process alone.
    Own,
}

impl Arrived {
    /// What a process sends is meant for whoever runs here, so the children get it. What the kernel tells this process
    /// (a window's size, urgent data) is not; except the keys of a terminal, because the children are in process groups
    /// of their own, which the terminal does not know.
    pub(crate) fn meaning(self) -> Meaning {
        match self.signal {
            libc::SIGCHLD => Meaning::Child,
            libc::SIGTERM | libc::SIGINT | libc::SIGQUIT => Meaning::Stop,
            // These come from using the terminal in the background, which this process does for its children's sake.
            libc::SIGTTIN | libc::SIGTTOU => Meaning::Own,
            libc::SIGHUP | libc::SIGTSTP | libc::SIGCONT => Meaning::HandOn,
            _ if self.by_kernel => Meaning::Own,
            _ => Meaning::HandOn,
        }
    }
}

/// The descriptor that signals are read from.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

impl Signals {
    /// Blocks every signal but those that tell of a fault in this process. To be called before anything else: what
    /// arrives later waits in the descriptor until somebody reads it.
    pub(crate) fn block() -> io::Result<Self> {
        let mut set = SigSet::all();
        for fault in [
            Signal::SIGILL,
            Signal::SIGTRAP,
            Signal::SIGABRT,
            Signal::SIGBUS,
            Signal::SIGFPE,
            Signal::SIGSEGV,
            Signal::SIGSYS,
        ] {
            set.remove(fault);
        }
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// Makes it part of the runtime.
    pub(crate) fn listen(self) -> io::Result<Listening> {
        Ok(Listening(sys::listen(self.0)?))
    }
}

/// Signals as they arrive.
#[derive(Debug)]
pub(crate) struct Listening(AsyncFd<SignalFd>);

impl Listening {
    /// Waits for the next one.
    pub(crate) async fn next(&self) -> io::Result<Arrived> {
        loop {
            let mut ready = self.0.readable().await?;
            match self.0.get_ref().read_signal()? {
                Some(info) => {
                    let signal = i32::try_from(info.ssi_signo).unwrap_or_default();
                    return Ok(Arrived { signal, by_kernel: info.ssi_code > 0 });
                }
                None => ready.clear_ready(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(signal: i32, by_kernel: bool) -> Meaning {
        Arrived { signal, by_kernel }.meaning()
    }

    #[test]
    fn a_child_s_end_is_never_handed_on_whoever_tells_it() {
        assert_eq!(meaning(libc::SIGCHLD, true), Meaning::Child);
        assert_eq!(meaning(libc::SIGCHLD, false), Meaning::Child);
    }

    #[test]
    fn what_the_kernel_tells_this_process_stays_here() {
        for signal in [libc::SIGWINCH, libc::SIGURG, libc::SIGPIPE, libc::SIGIO] {
            assert_eq!(meaning(signal, true), Meaning::Own, "{}", name(signal));
        }
    }

    #[test]
    fn what_a_process_sends_goes_to_the_children() {
        let real_time = libc::SIGRTMIN() + 3;
        for signal in [libc::SIGWINCH, libc::SIGUSR1, libc::SIGHUP, libc::SIGURG, libc::SIGALRM, real_time] {
            assert_eq!(meaning(signal, false), Meaning::HandOn, "{}", name(signal));
        }
    }

    #[test]
    fn keys_of_the_terminal_reach_the_children_too() {
        assert_eq!(meaning(libc::SIGINT, true), Meaning::Stop);
        assert_eq!(meaning(libc::SIGHUP, true), Meaning::HandOn);
        assert_eq!(meaning(libc::SIGTSTP, true), Meaning::HandOn);
    }

    #[test]
    fn every_signal_has_a_name() {
        assert_eq!(name(9), "SIGKILL");
        assert_eq!(name(libc::SIGRTMIN()), "SIGRTMIN");
        assert_eq!(name(libc::SIGRTMIN() + 3), "SIGRTMIN+3");
        assert_eq!(name(0), "signal 0");
        assert!((1..=31).all(|signal| NAMES.iter().any(|(_, number)| *number == signal)));
    }
}
