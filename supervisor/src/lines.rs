//! What a child writes, cut into lines, and the end of it kept: both within bounds, whatever comes.

/// A line that is longer is cut into pieces of this many bytes.
pub(crate) const LINE_MAX: usize = 16 * 1024;

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The begin of a line whose end has not come yet.
    begun: Vec<u8>,
}

impl Lines {
    /// Takes more bytes and calls `each` for every line that is complete by them, without its end.
    pub(crate) fn take(&mut self, mut bytes: &[u8], each: &mut dyn FnMut(&[u8])) {
        while !bytes.is_empty() {
            let room = LINE_MAX - self.begun.len();
            let end = bytes.iter().take(room).position(|&byte| byte == b'\n');
            let (line, rest) = match end {
                Some(end) => (&bytes[..end], Some(&bytes[end + 1..])),
                None if bytes.len() >= room => (&bytes[..room], Some(&bytes[room..])),
                None => (bytes, None),
            };
            let Some(rest) = rest else {
                self.begun.extend_from_slice(line);
                return;
            };
            if self.begun.is_empty() {
                each(line);
            } else {
                self.begun.extend_from_slice(line);
                each(&self.begun);
                self.begun.clear();
            }
            bytes = rest;
        }
    }

    /// The last line, if it had no end.
    pub(crate) fn finish(&mut self, each: &mut dyn FnMut(&[u8])) {
        if !self.begun.is_empty() {
            each(&self.begun);
            self.begun = Vec::new();
        }
    }
}

/// The last bytes of a stream.
#[derive(Debug)]
pub(crate) struct Tail {
    bytes: Vec<u8>,
    max: usize,
    dropped: u64,
}

impl Tail {
    /// Keeps `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self { bytes: Vec::new(), max, dropped: 0 }
    }

    /// Adds bytes; of what is too much, the oldest go.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        // Only when there is twice as much as is kept, so that a byte is moved once and not with each write.
        if self.bytes.len() > self.max.saturating_mul(2) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let surplus = self.bytes.len().saturating_sub(self.max);
        self.bytes.drain(..surplus);
        self.dropped += surplus as u64;
    }

    /// All that is kept, and how many bytes before it are not.
    pub(crate) fn finish(mut self) -> (Vec<u8>, u64) {
        self.cut();
        (self.bytes, self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        let mut each = |line: &[u8]| seen.push(String::from_utf8_lossy(line).into_owned());
        for piece in pieces {
            lines.take(piece, &mut each);
        }
        lines.finish(&mut each);
        seen
    }

    #[test]
    fn lines_are_found_however_the_bytes_arrive() {
        assert_eq!(cut(&[b"one\ntwo\n\nfour"]), ["one", "two", "", "four"]);
        assert_eq!(cut(&[b"o", b"ne", b"\n", b"two\n"]), ["one", "two"]);
        assert_eq!(cut(&[]), [""; 0]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let endless = vec![b'x'; LINE_MAX * 2 + 5];
        let lengths: Vec<usize> = cut(&[&endless[..7], &endless[7..]]).iter().map(String::len).collect();
        assert_eq!(lengths, [LINE_MAX, LINE_MAX, 5]);
    }

    #[test]
    fn of_a_long_stream_the_end_is_kept_and_the_rest_counted() {
        let mut tail = Tail::new(4);
        for _ in 0..1000 {
            tail.take(b"0123456789");
            assert!(tail.bytes.len() <= 18, "{} bytes held", tail.bytes.len());
        }
        assert_eq!(tail.finish(), (b"6789".to_vec(), 9_996));
    }

    #[test]
    fn a_short_stream_is_kept_whole() {
        let mut tail = Tail::new(64);
        tail.take(b"hello\n");
        assert_eq!(tail.finish(), (b"hello\n".to_vec(), 0));
    }
}
