//! Standard error that never makes a thread wait: lines go into a bounded buffer, and a thread of its own writes them out.

use std::io::{self, Write};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Bytes that may wait to be written. What is logged when they are full is dropped and counted.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// How long the end of the program waits for the last lines.
const FLUSH_DEADLINE: Duration = Duration::from_secs(1);

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Lines of this process's log that were dropped because standard error was read too slowly.
pub fn log_lines_dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// The log of the program. When it is dropped, what was logged before is written out, within a second.
#[derive(Debug)]
#[must_use = "the log ends when this is dropped"]
pub struct Log(Buffer);

/// Takes lines, without waiting for anybody to read them.
#[derive(Debug, Clone)]
pub(crate) struct Buffer {
    shared: Arc<Shared>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Dropped since the last time that was said.
    dropped: u64,
    /// Whether the thread writes lines that are not in `waiting` any more.
    writing: bool,
}

/// Starts the thread that writes.
///
/// # Errors
/// The operating system gives no thread.
pub(crate) fn start() -> io::Result<(Buffer, Log)> {
    let buffer = Buffer { shared: Arc::default(), bytes_max: WAITING_BYTES_MAX };
    let shared = Arc::clone(&buffer.shared);
    thread::Builder::new().name("log".to_owned()).spawn(move || shared.write_all_to(&mut io::stderr()))?;
    Ok((buffer.clone(), Log(buffer)))
}

impl Buffer {
    fn add(&self, line: &[u8]) {
        let mut state = self.shared.state();
        if state.waiting.len() + line.len() > self.bytes_max {
            state.dropped += 1;
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.waiting.extend_from_slice(line);
        // The first line wakes the writer; further ones are taken along.
        if state.waiting.len() == line.len() {
            self.shared.changed.notify_all();
        }
    }

    /// Waits until all is written, or the deadline.
    fn flush(&self, deadline: Duration) {
        let end = Instant::now() + deadline;
        let mut state = self.shared.state();
        while state.writing || !state.waiting.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.flush(FLUSH_DEADLINE);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never ends: it is as long as the process.
    fn write_all_to(&self, out: &mut impl Write) -> ! {
        let mut batch = Vec::new();
        loop {
            self.take(&mut batch);
            // There is nowhere to say that the log can't be written.
            let _ = out.write_all(&batch);
        }
    }

    /// Waits for lines and takes all there are.
    fn take(&self, batch: &mut Vec<u8>) {
        batch.clear();
        let mut state = self.state();
        state.writing = false;
        self.changed.notify_all();
        while state.waiting.is_empty() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        mem::swap(&mut state.waiting, batch);
        state.writing = true;
        let dropped = mem::take(&mut state.dropped);
        if dropped > 0 {
            let _ = writeln!(
                batch,
                r#"{{"level":"WARN","message":"log lines were dropped: they are read too slowly","dropped":{dropped}}}"#
            );
        }
    }
}

impl Write for Buffer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.add(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Buffer {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(bytes_max: usize) -> Buffer {
        Buffer { shared: Arc::default(), bytes_max }
    }

    fn taken(buffer: &Buffer) -> String {
        let mut batch = Vec::new();
        buffer.shared.take(&mut batch);
        String::from_utf8(batch).unwrap()
    }

    #[test]
    fn lines_are_kept_in_order_and_dropped_ones_are_told() {
        let buffer = buffer(12);
        for line in ["one\n", "two\n", "three\n", "six\n"] {
            buffer.add(line.as_bytes());
        }

        let text = taken(&buffer);

        assert!(text.starts_with("one\ntwo\nsix\n{"), "{text}");
        assert!(text.contains(r#""dropped":1"#), "{text}");
        buffer.add(b"next\n");
        assert_eq!(taken(&buffer), "next\n");
    }

    #[test]
    fn nobody_waits_for_a_reader_that_does_not_read() {
        let buffer = buffer(100);
        for _ in 0..1_000_000 {
            buffer.add(b"a line\n");
        }
        buffer.flush(Duration::ZERO);
        assert_eq!(buffer.shared.state().waiting.len(), 98);
    }
}
