//! A stream of bytes cut into lines of bounded length.

use bytes::BytesMut;
use std::io;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;

const CHUNK: usize = 16 << 10;

/// Cuts a stream into lines. A longer line than allowed costs no more memory
/// than an allowed one.
pub(super) struct Lines<R> {
    from: R,
    max: usize,
    buffer: BytesMut,
    /// So much of the buffer has no line break.
    searched: usize,
    /// The rest of a line that was too long is passed over.
    skipping: bool,
}

/// One line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// All of it.
    Whole(BytesMut),
    /// The first part of one that was too long.
    Cut(BytesMut),
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Reads lines of at most `max` bytes.
    pub(super) fn new(from: R, max: usize) -> Self {
        Self {
            from,
            max,
            buffer: BytesMut::new(),
            searched: 0,
            skipping: false,
        }
    }

    /// How many bytes it holds.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn held(&self) -> usize {
        self.buffer.capacity()
    }

    /// The next line, or none at the end. A last line needs no line break.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.cut() {
                return Ok(Some(line));
            }
            self.buffer.reserve(CHUNK);
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                self.searched = 0;
                let rest = self.buffer.split();
                let whole = !self.skipping && !rest.is_empty();
                return Ok(whole.then_some(Line::Whole(rest)));
            }
        }
    }

    fn cut(&mut self) -> Option<Line> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(at) = memchr::memchr(b'\n', unsearched) else {
                break;
            };
            let mut line = self.buffer.split_to(self.searched + at + 1);
            self.searched = 0;
            line.truncate(line.len() - 1);
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if line.len() > self.max {
                line.truncate(self.max);
                return Some(Line::Cut(line));
            }
            if line.last() == Some(&b'\r') {
                line.truncate(line.len() - 1);
            }
            return Some(Line::Whole(line));
        }
        self.searched = self.buffer.len();
        if self.skipping {
            self.buffer.clear();
            self.searched = 0;
        } else if self.buffer.len() > self.max {
            self.skipping = true;
            self.searched = 0;
            let mut head = self.buffer.split();
            head.truncate(self.max);
            return Some(Line::Cut(head));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(text: &str, max: usize) -> Vec<String> {
        let mut lines = Lines::new(text.as_bytes(), max);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            found.push(match line {
                Line::Whole(line) => String::from_utf8(line.to_vec()).unwrap(),
                Line::Cut(line) => format!("{}…", String::from_utf8(line.to_vec()).unwrap()),
            });
        }
        found
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_cut_and_the_next_one_is_whole() {
        assert_eq!(lines("a\r\n\nbc\nd", 2).await, ["a", "", "bc", "d"]);
        assert_eq!(lines("abc\nde\n", 2).await, ["ab…", "de"]);
        assert_eq!(lines("abc", 2).await, ["ab…"]);
        let long = "x".repeat(3 * CHUNK);
        assert_eq!(lines(&format!("{long}\nde\n"), 2).await, ["xx…", "de"]);
        assert_eq!(lines(&format!("{long}\n"), 3 * CHUNK).await, [long]);
    }
}
