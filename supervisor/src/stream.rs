//! A child's standard output or error, read as it comes so that the child never waits for a reader that is not there.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::Notify;

use crate::lines::{Lines, Tail};
use crate::output::Output;

/// What is read at once.
const CHUNK: usize = 8 * 1024;

/// Where the lines go that a child writes.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) output: Rc<Output>,
    /// Put before each line: `web | `, or nothing.
    pub(crate) prefix: Vec<u8>,
}

/// A stream that is read, and what of it is kept.
#[derive(Debug)]
pub(crate) struct Kept {
    tail: RefCell<Option<Tail>>,
    at_end: Cell<bool>,
    ended: Notify,
    watchers: RefCell<Vec<Rc<Watcher>>>,
}

/// Somebody who waits for a line.
#[derive(Debug)]
struct Watcher {
    text: Vec<u8>,
    found: Cell<bool>,
    changed: Notify,
}

/// What can be asked for only once was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Consumed;

impl Kept {
    /// Starts to read `pipe`: the last `keep` bytes are kept, and every line goes to `log` if there is one.
    ///
    /// # Errors
    /// The descriptor is no pipe, or can't become part of the runtime.
    pub(crate) fn read(pipe: OwnedFd, log: Option<Log>, keep: usize) -> io::Result<Rc<Self>> {
        let pipe = Receiver::from_owned_fd(pipe)?;
        let kept = Rc::new(Self {
            tail: RefCell::new(Some(Tail::new(keep))),
            at_end: Cell::new(false),
            ended: Notify::new(),
            watchers: RefCell::default(),
        });
        tokio::task::spawn_local(Rc::clone(&kept).follow(pipe, log));
        Ok(kept)
    }

    async fn follow(self: Rc<Self>, mut pipe: Receiver, log: Option<Log>) {
        let _reading = log.as_ref().map(|log| log.output.reader());
        let (mut chunk, mut lines, mut out) = (vec![0; CHUNK], Lines::default(), Vec::new());
        loop {
            // An error is the end as well: a pipe has no other.
            let length = pipe.read(&mut chunk).await.unwrap_or(0);
            let bytes = &chunk[..length];
            if let Some(tail) = self.tail.borrow_mut().as_mut() {
                tail.take(bytes);
            }
            if log.is_some() || !self.watchers.borrow().is_empty() {
                let mut each = |line: &[u8]| {
                    self.tell_watchers(line);
                    if let Some(log) = &log {
                        out.extend_from_slice(&log.prefix);
                        out.extend_from_slice(line);
                        out.push(b'\n');
                    }
                };
                if length == 0 { lines.finish(&mut each) } else { lines.take(bytes, &mut each) }
            }
            if let Some(log) = &log {
                log.output.hand_on(&out).await;
                out.clear();
            }
            if length == 0 {
                break;
            }
        }
        self.at_end.set(true);
        self.ended.notify_waiters();
        for watcher in self.watchers.take() {
            watcher.changed.notify_waiters();
        }
    }

    fn tell_watchers(&self, line: &[u8]) {
        self.watchers.borrow_mut().retain(|watcher| {
            if Rc::strong_count(watcher) == 1 {
                // Whoever waited has given up.
                return false;
            }
            let found = watcher.text.is_empty() || line.windows(watcher.text.len()).any(|part| part == watcher.text);
            watcher.found.set(found);
            if found {
                watcher.changed.notify_waiters();
            }
            !found
        });
    }

    /// Waits for the end of the stream, then gives what was kept, and how many bytes before that were dropped.
    pub(crate) async fn take(&self) -> Result<(Vec<u8>, u64), Consumed> {
        let tail = self.wait_for_end().await;
        tail.map(Tail::finish).ok_or(Consumed)
    }

    async fn wait_for_end(&self) -> Option<Tail> {
        while !self.at_end.get() {
            self.ended.notified().await;
        }
        self.tail.borrow_mut().take()
    }

    /// Waits for a line with `text` in it, from now on; false when the stream ends before.
    pub(crate) async fn line_with(&self, text: Vec<u8>) -> bool {
        if self.at_end.get() {
            return false;
        }
        let watcher = Rc::new(Watcher { text, found: Cell::new(false), changed: Notify::new() });
        self.watchers.borrow_mut().push(Rc::clone(&watcher));
        while !watcher.found.get() && !self.at_end.get() {
            watcher.changed.notified().await;
        }
        watcher.found.get()
    }
}
