//! Lines of bounded length.

use std::io;
use tokio::io::AsyncBufReadExt as _;
use tokio::io::AsyncRead;
use tokio::io::BufReader;

/// One line of the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its line feed.
    Whole(Vec<u8>),
    /// Longer than the limit. It was passed over and not kept.
    TooLong,
}

/// Splits what is read into lines.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    limit: usize,
    kept: Vec<u8>,
    too_long: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Reads lines of at most `limit` bytes.
    pub(super) fn new(reader: R, limit: usize) -> Self {
        Self {
            reader: BufReader::with_capacity(64 << 10, reader),
            limit,
            kept: Vec::new(),
            too_long: false,
        }
    }

    /// How many bytes it holds besides what it reads at once.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn held(&self) -> usize {
        self.kept.capacity()
    }

    /// The longest line, in bytes.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// The next line that is not blank, or none at the end. The last line may
    /// lack its line feed. Nothing is lost when this is dropped while it waits.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let read = self.reader.fill_buf().await?;
            let at_end = read.is_empty();
            let feed = memchr::memchr(b'\n', read);
            let part = read.get(..feed.unwrap_or(read.len())).unwrap_or_default();
            let used = part.len() + usize::from(feed.is_some());
            if self.too_long || part.len() > self.limit - self.kept.len() {
                self.too_long = true;
                self.kept = Vec::new();
            } else {
                self.kept.extend_from_slice(part);
            }
            self.reader.consume(used);
            if feed.is_none() && !at_end {
                continue;
            }
            let line = std::mem::take(&mut self.kept);
            if std::mem::take(&mut self.too_long) {
                return Ok(Some(Line::TooLong));
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some(Line::Whole(line)));
            }
            if at_end {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: &str, limit: usize) -> Vec<Line> {
        let mut lines = Lines::new(text.as_bytes(), limit);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            found.push(line);
        }
        found
    }

    #[tokio::test]
    async fn blank_lines_are_passed_over_and_the_last_line_needs_no_end() {
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        assert_eq!(
            read("a\n\n \r\nb\r\nc", 9).await,
            [whole("a"), whole("b\r"), whole("c")]
        );
        assert_eq!(read("", 9).await, []);
    }

    #[tokio::test]
    async fn a_line_over_the_limit_is_passed_over_and_the_next_one_is_read() {
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        assert_eq!(
            read("123\n1234\n12\n", 3).await,
            [whole("123"), Line::TooLong, whole("12")]
        );
        let long = "x".repeat(1 << 20);
        assert_eq!(
            read(&format!("{long}\nab"), 3).await,
            [Line::TooLong, whole("ab")]
        );
        assert_eq!(read(&long, 3).await, [Line::TooLong]);
    }
}
