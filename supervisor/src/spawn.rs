//! Starts a child: from what the script asks for to a running process in a group of its own, its streams attached.
//!
//! By the standard library, which lets none of this process's descriptors through. It waits for nothing afterwards: the
//! end of every child is collected by the one reaper (`children`), on this thread, so the two can't meet.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::rc::Rc;

use nix::unistd::{Pid, getpgrp, tcsetpgrp};
use tokio::net::unix::pipe::Sender;

use crate::children::{Child, Children, Treatment};
use crate::output::Output;
use crate::stream::{Kept, Log};
use crate::sys;
use crate::user::User;

/// What a child reads from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// What the supervisor reads from.
    Inherit,
    /// Nothing.
    Null,
    /// What the script writes.
    Pipe,
}

/// Where a child writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Where the supervisor writes to, itself.
    Inherit,
    /// The same place, line by line through the supervisor; the end is kept.
    Log,
    /// Nowhere but to the script; the end is kept.
    Pipe,
    /// Nowhere.
    Null,
}

/// What a script asks for.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
    /// Variables to set, or to take away.
    pub(crate) environment: Vec<(OsString, Option<OsString>)>,
    /// Begin with no variables at all.
    pub(crate) clear_environment: bool,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) user: Option<User>,
    pub(crate) stdin: Input,
    pub(crate) stdout: Target,
    pub(crate) stderr: Target,
    /// Put before its lines in the log.
    pub(crate) name: Option<String>,
    /// How many bytes of each stream are kept.
    pub(crate) keep: usize,
    pub(crate) treatment: Treatment,
}

/// A child with its streams.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) child: Rc<Child>,
    pub(crate) stdin: Option<Sender>,
    pub(crate) stdout: Option<Rc<Kept>>,
    pub(crate) stderr: Option<Rc<Kept>>,
}

/// Why a child did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    #[error("start `{program}`: {reason} {hint}")]
    Start { program: String, reason: io::Error, hint: &'static str },
    #[error("attach to the streams of `{program}`: {reason}; it was killed")]
    Attach { program: String, reason: io::Error },
}

/// Starts it.
pub(crate) fn spawn(
    order: Order,
    children: &Children,
    stdout: &Rc<Output>,
    stderr: &Rc<Output>,
) -> Result<Started, SpawnError> {
    let program = order.program.to_string_lossy().into_owned();
    let mut process = command(&order).spawn().map_err(|reason| {
        let hint = hint(&reason, &order);
        SpawnError::Start { program: program.clone(), reason, hint }
    })?;
    let pid = i32::try_from(process.id()).unwrap_or(i32::MAX);
    let child = children.add(pid, order.treatment);

    let log = |output: &Rc<Output>| Log {
        output: Rc::clone(output),
        prefix: order.name.as_ref().map(|name| format!("{name} | ").into_bytes()).unwrap_or_default(),
    };
    let attach = |pipe: Option<OwnedFd>, target: Target, output| {
        let read = |pipe| Kept::read(pipe, (target == Target::Log).then(|| log(output)), order.keep);
        pipe.map(read).transpose()
    };
    let started = || -> io::Result<Started> {
        Ok(Started {
            stdin: process.stdin.take().map(|pipe| Sender::from_owned_fd(pipe.into())).transpose()?,
            stdout: attach(process.stdout.take().map(OwnedFd::from), order.stdout, stdout)?,
            stderr: attach(process.stderr.take().map(OwnedFd::from), order.stderr, stderr)?,
            child: Rc::clone(&child),
        })
    };
    let started = { started }().map_err(|reason| {
        // It can't be watched, so it can't stay. That it may have ended already is no fault.
        let _ = child.signal(libc::SIGKILL);
        SpawnError::Attach { program, reason }
    })?;
    if order.stdin == Input::Inherit && order.stdout == Target::Inherit && io::stdin().is_terminal() {
        lend_terminal(&child);
    }
    Ok(started)
}

fn command(order: &Order) -> Command {
    let mut command = Command::new(&order.program);
    command.args(&order.arguments).process_group(0);
    sys::unblock_in_child(&mut command);
    if order.clear_environment {
        command.env_clear();
    }
    for (name, value) in &order.environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(directory) = &order.directory {
        command.current_dir(directory);
    }
    if let Some(user) = order.user {
        command.uid(user.uid).gid(user.gid);
    }
    command.stdin(match order.stdin {
        Input::Inherit => Stdio::inherit(),
        Input::Null => Stdio::null(),
        Input::Pipe => Stdio::piped(),
    });
    let target = |target| match target {
        Target::Inherit => Stdio::inherit(),
        Target::Log | Target::Pipe => Stdio::piped(),
        Target::Null => Stdio::null(),
    };
    command.stdout(target(order.stdout)).stderr(target(order.stderr));
    command
}

fn hint(reason: &io::Error, order: &Order) -> &'static str {
    match reason.kind() {
        io::ErrorKind::NotFound if order.directory.is_some() => "(is the program in PATH, and does `cwd` exist?)",
        io::ErrorKind::NotFound => "(is the program in PATH, and its interpreter or loader in the image?)",
        io::ErrorKind::PermissionDenied if order.user.is_some() => "(is it executable? only root may choose a `user`)",
        io::ErrorKind::PermissionDenied => "(is it executable?)",
        _ => "",
    }
}

/// A child that shares the terminal for reading and writing gets its keys, as in a shell, until it ends.
fn lend_terminal(child: &Rc<Child>) {
    // Fails if the terminal is not the one that controls this session: then nobody's keys are concerned.
    if tcsetpgrp(io::stdin(), Pid::from_raw(child.pid)).is_err() {
        return;
    }
    // It may have tried to read before the terminal was its own, and been stopped for that.
    let _ = sys::kill(-child.pid, libc::SIGCONT);
    let child = Rc::clone(child);
    tokio::task::spawn_local(async move {
        child.ended().await;
        let _ = tcsetpgrp(io::stdin(), getpgrp());
    });
}
