//! What the parts share: children, own streams, and what is to become of it all.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::process;
use std::rc::Rc;

use mlua::Function;
use tokio::sync::Notify;

use crate::children::Children;
use crate::output::{Output, Stream};
use crate::signals::{Arrived, Listening, Meaning};
use crate::{signals, sys};

/// Why everything is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// This signal arrived.
    Signal(i32),
    /// The script asked for it, with this exit code.
    Exit(i32),
    /// The script has ended.
    ScriptEnded,
}

/// The one instance, shared by everything on the one thread.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) children: Children,
    pub(crate) stdout: Rc<Output>,
    pub(crate) stderr: Rc<Output>,
    /// The script's functions for signals.
    pub(crate) handlers: RefCell<BTreeMap<i32, Function>>,
    stopping: Cell<Option<Reason>>,
    stop_begins: Notify,
    reaped: Notify,
}

impl Supervisor {
    pub(crate) fn new() -> Self {
        Self {
            children: Children::default(),
            stdout: Rc::new(Output::new(Stream::Stdout)),
            stderr: Rc::new(Output::new(Stream::Stderr)),
            handlers: RefCell::default(),
            stopping: Cell::new(None),
            stop_begins: Notify::new(),
            reaped: Notify::new(),
        }
    }

    /// Why everything ends, once it does.
    pub(crate) fn stopping(&self) -> Option<Reason> {
        self.stopping.get()
    }

    /// Begins the end; the first reason counts.
    pub(crate) fn stop(&self, reason: Reason) {
        if self.stopping.get().is_none() {
            self.stopping.set(Some(reason));
            self.stop_begins.notify_waiters();
        }
    }

    /// Waits until everything is to end.
    pub(crate) async fn told_to_stop(&self) -> Reason {
        loop {
            if let Some(reason) = self.stopping.get() {
                return reason;
            }
            self.stop_begins.notified().await;
        }
    }

    /// Waits until processes may have ended since the last look.
    pub(crate) async fn reaped(&self) {
        self.reaped.notified().await;
    }

    /// Says a line about the supervisor itself.
    pub(crate) fn tell(&self, line: &str) {
        self.stderr.say(format!("moonswarm-init: {line}\n").as_bytes());
    }

    /// Sends a signal to every child's process group. Children of services are left out of `but_services`.
    pub(crate) fn hand_on(&self, signal: i32, but_services: bool) {
        for child in self.children.running() {
            if but_services && child.treatment.service {
                continue;
            }
            if let Err(err) = child.signal(signal) {
                self.tell(&format!("send {} to process {}: {err}", signals::name(signal), child.pid));
            }
        }
    }

    /// Follows signals for ever. `call` runs a function of the script.
    pub(crate) async fn follow(&self, signals: Listening, call: impl Fn(i32, Function)) {
        loop {
            match signals.next().await {
                Ok(arrived) => self.act(arrived, &call),
                Err(err) => {
                    // Without signals no child's end is seen: nothing can be supervised any more.
                    self.tell(&format!("read signals: {err}"));
                    self.stop(Reason::Exit(1));
                    return;
                }
            }
        }
    }

    fn act(&self, arrived: Arrived, call: &impl Fn(i32, Function)) {
        let Arrived { signal, .. } = arrived;
        let meaning = arrived.meaning();
        if meaning == Meaning::Child {
            self.children.reap();
            self.reaped.notify_waiters();
        }
        let handler = self.handlers.borrow().get(&signal).cloned();
        if let Some(handler) = handler {
            return call(signal, handler);
        }
        match meaning {
            Meaning::Stop if self.stopping().is_some() => self.hand_on(signal, false),
            Meaning::Stop => self.stop(Reason::Signal(signal)),
            Meaning::HandOn => {
                self.hand_on(signal, false);
                if signal == libc::SIGTSTP && process::id() != 1 {
                    // As the shell expects of what it put to sleep. SIGCONT goes on to the children when it comes.
                    let _ = sys::kill(i32::try_from(process::id()).unwrap_or_default(), libc::SIGSTOP);
                }
            }
            Meaning::Child | Meaning::Own => {}
        }
    }
}
