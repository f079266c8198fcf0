//! The supervisor's own two streams: lines of its children, of the script and of itself.
//!
//! They are shared with children and with whoever reads the container's log, so they can't be made non-blocking; and a
//! reader that stops reading must stop nothing else. So a piece is written only when the kernel says there is room for
//! it, and what waits is bounded: children that wait for room wait in their own writes, as with a pipe between.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::Notify;

/// A pipe that says it has room takes this much without blocking (`PIPE_BUF`), and in one piece.
const PIECE: usize = 4096;
/// Bytes that wait for a reader, for each stream.
const QUEUE_MAX: usize = 256 * 1024;
/// How long until a full pipe is looked at again.
const AGAIN: Duration = Duration::from_millis(2);
/// Dropped lines are told of once there is room for this many bytes.
const TELLING: usize = 1024;

/// Standard output or standard error.
#[derive(Debug)]
pub(crate) struct Output {
    queue: RefCell<VecDeque<u8>>,
    /// Lines that found no room since this was last said.
    dropped: Cell<u64>,
    stream: Stream,
    /// Something waits.
    filled: Notify,
    /// There is room again.
    emptied: Notify,
    /// Held by everything that still reads what a child wrote.
    readers: Rc<()>,
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn write(self, piece: &[u8]) -> io::Result<usize> {
        fn to(stream: BorrowedFd<'_>, piece: &[u8]) -> io::Result<usize> {
            let mut room = [PollFd::new(stream, PollFlags::POLLOUT)];
            match poll(&mut room, PollTimeout::ZERO)? {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(nix::unistd::write(stream, piece)?),
            }
        }
        match self {
            Self::Stdout => to(io::stdout().as_fd(), piece),
            Self::Stderr => to(io::stderr().as_fd(), piece),
        }
    }
}

impl Output {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            queue: RefCell::default(),
            dropped: Cell::new(0),
            stream,
            filled: Notify::new(),
            emptied: Notify::new(),
            readers: Rc::default(),
        }
    }

    /// To be held as long as lines may come.
    pub(crate) fn reader(&self) -> Rc<()> {
        Rc::clone(&self.readers)
    }

    /// Says a line of the script or of the supervisor, at once if there is room. A line that finds the queue full is
    /// dropped and counted: nothing here may wait.
    pub(crate) fn say(&self, line: &[u8]) {
        if self.queue.borrow().len() + line.len() > QUEUE_MAX {
            self.dropped.set(self.dropped.get() + 1);
            return;
        }
        self.put(line);
    }

    /// Hands on a line of a child, as soon as there is room.
    pub(crate) async fn hand_on(&self, line: &[u8]) {
        while !self.queue.borrow().is_empty() && self.queue.borrow().len() + line.len() > QUEUE_MAX {
            self.emptied.notified().await;
        }
        self.put(line);
    }

    fn put(&self, line: &[u8]) {
        self.queue.borrow_mut().extend(line);
        if !self.drain() {
            self.filled.notify_one();
        }
    }

    /// Writes what there is room for; whether that was all.
    fn drain(&self) -> bool {
        let mut queue = self.queue.borrow_mut();
        loop {
            if queue.len() < QUEUE_MAX - TELLING && self.dropped.get() > 0 {
                let note = format!("moonswarm-init: {} lines dropped: nobody reads this log\n", self.dropped.take());
                queue.extend(note.as_bytes());
            }
            let (front, _) = queue.as_slices();
            if front.is_empty() {
                return true;
            }
            match self.stream.write(&front[..front.len().min(PIECE)]) {
                Ok(written) => {
                    queue.drain(..written);
                }
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return false,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                // Closed: nobody will ever read it.
                Err(_) => queue.clear(),
            }
            self.emptied.notify_waiters();
        }
    }

    /// Writes what waits, for ever.
    pub(crate) async fn pump(&self) {
        loop {
            self.filled.notified().await;
            while !self.drain() {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// Writes what waits and what children have written that is not read yet, for so long at most.
    pub(crate) async fn flush(&self, patience: Duration) {
        let all = async {
            while Rc::strong_count(&self.readers) > 1 || !self.drain() {
                tokio::time::sleep(AGAIN).await;
            }
        };
        // What is left after that is lost with the process: its reader has stopped reading.
        let _ = tokio::time::timeout(patience, all).await;
    }
}
