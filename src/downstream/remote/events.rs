//! Server-sent events as they come in (HTML living standard, §9.2.6), bounded.

use bytes::Buf as _;
use bytes::Bytes;
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use hyper::body::Body;
use std::time::Duration;

/// One event that has data, and more of it than none: servers send empty ones to
/// tell where a stream begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Its kind: `message` where the server gave none.
    pub(super) kind: String,
    /// Its data, lines joined by line feeds.
    pub(super) data: Vec<u8>,
}

/// Why there are no further events.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The connection broke; in words.
    Connection(String),
    /// An event is longer than is read.
    TooLong,
}

/// The events of one body.
pub(super) struct Events<B> {
    body: B,
    parser: Parser,
    at_end: bool,
}

impl<B: Body<Data = Bytes> + Unpin> Events<B>
where
    B::Error: std::fmt::Display,
{
    /// Reads the events of a body, each at most `limit` bytes long.
    pub(super) fn new(body: B, limit: usize) -> Self {
        Self {
            body,
            parser: Parser::new(limit),
            at_end: false,
        }
    }

    /// The next event, or none at the end. An event that the end cuts off is
    /// none.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Broken> {
        loop {
            if let Some(event) = self.parser.next().map_err(|()| Broken::TooLong)? {
                return Ok(Some(event));
            }
            if self.at_end {
                return Ok(None);
            }
            match self.body.frame().await {
                None => self.at_end = true,
                Some(Err(error)) => return Err(Broken::Connection(error.to_string())),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.parser.add(&data);
                    }
                }
            }
        }
    }

    /// The id that the last event to have one had: where to go on after a break.
    pub(super) fn last_id(&self) -> Option<&str> {
        self.parser.last_id.as_deref()
    }

    /// How long the server wants us to wait before we go on.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.parser.retry
    }
}

/// Kinds and data of the events of a stream that comes in these pieces, and
/// whether one of them was too long.
#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::downstream) fn events_of(
    mut pieces: crate::fuzzing::Pieces<'_>,
    limit: usize,
) -> (Vec<(String, Vec<u8>)>, bool) {
    let mut parser = Parser::new(limit);
    let mut events = Vec::new();
    while let Some(piece) = pieces.next(usize::MAX) {
        parser.add(piece);
        loop {
            match parser.next() {
                Ok(Some(event)) => events.push((event.kind, event.data)),
                Ok(None) => break,
                Err(()) => return (events, true),
            }
        }
    }
    (events, false)
}

/// The reading of events, whatever the bytes come in.
struct Parser {
    limit: usize,
    buffer: BytesMut,
    begun: bool,
    /// The last line ended with a carriage return: a line feed may belong to it.
    half_ended: bool,
    kind: String,
    data: Vec<u8>,
    has_data: bool,
    /// The id of what is not whole yet, or of the last that was.
    id: Option<String>,
    last_id: Option<String>,
    retry: Option<Duration>,
}

impl Parser {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            buffer: BytesMut::new(),
            begun: false,
            half_ended: false,
            kind: String::new(),
            data: Vec::new(),
            has_data: false,
            id: None,
            last_id: None,
            retry: None,
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next event that is whole. An error says that it is too long.
    fn next(&mut self) -> Result<Option<Event>, ()> {
        while let Some(line) = self.line()? {
            if line.is_empty() {
                if let Some(event) = self.dispatch() {
                    return Ok(Some(event));
                }
                continue;
            }
            self.field(&line)?;
        }
        Ok(None)
    }

    /// The next line without its end: a line feed, a carriage return, or both. A
    /// carriage return ends it at once: what follows may be long in coming.
    fn line(&mut self) -> Result<Option<Bytes>, ()> {
        if !self.begun {
            const MARK: &[u8] = b"\xef\xbb\xbf";
            if self.buffer.len() < MARK.len() && MARK.starts_with(&self.buffer) {
                return Ok(None);
            }
            if self.buffer.starts_with(MARK) {
                self.buffer.advance(MARK.len());
            }
            self.begun = true;
        }
        if self.half_ended && !self.buffer.is_empty() {
            self.half_ended = false;
            if self.buffer.starts_with(b"\n") {
                self.buffer.advance(1);
            }
        }
        let end = memchr::memchr2(b'\n', b'\r', &self.buffer);
        // However the bytes come in, the same lines are too long.
        if end.unwrap_or(self.buffer.len()) > self.limit {
            return Err(());
        }
        let Some(end) = end else {
            return Ok(None);
        };
        let line = self.buffer.split_to(end).freeze();
        self.half_ended = self.buffer.first() == Some(&b'\r');
        self.buffer.advance(1);
        Ok(Some(line))
    }

    fn field(&mut self, line: &[u8]) -> Result<(), ()> {
        let (name, value) = match memchr::memchr(b':', line) {
            // A comment.
            Some(0) => return Ok(()),
            Some(colon) => {
                let value = line.get(colon + 1..).unwrap_or_default();
                let name = line.get(..colon).unwrap_or_default();
                (name, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &b""[..]),
        };
        match name {
            b"data" => {
                if self.data.len() + value.len() > self.limit {
                    return Err(());
                }
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
                self.has_data = true;
            }
            b"event" => self.kind = String::from_utf8_lossy(value).into_owned(),
            b"id" if !value.contains(&0) => {
                self.id = Some(String::from_utf8_lossy(value).into_owned());
            }
            b"retry" => {
                let text = std::str::from_utf8(value).ok();
                let digits = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                let time = digits.and_then(|text| text.parse().ok());
                self.retry = time.map(Duration::from_millis).or(self.retry);
            }
            _ => {}
        }
        Ok(())
    }

    /// The event that an empty line ends. Without data there is none. Only now its id
    /// counts: of an event that is cut off nothing was read, and a stream that went on
    /// after it would be without it.
    fn dispatch(&mut self) -> Option<Event> {
        self.last_id.clone_from(&self.id);
        let kind = std::mem::take(&mut self.kind);
        let data = std::mem::take(&mut self.data);
        let had_data = std::mem::take(&mut self.has_data);
        (had_data && !data.is_empty()).then_some(Event {
            kind: match kind.is_empty() {
                true => "message".to_owned(),
                false => kind,
            },
            data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: &[&[u8]], limit: usize) -> (Vec<(String, String)>, Parser) {
        let mut parser = Parser::new(limit);
        let mut found = Vec::new();
        for chunk in chunks {
            parser.add(chunk);
            while let Some(event) = parser.next().unwrap() {
                found.push((event.kind, String::from_utf8(event.data).unwrap()));
            }
        }
        (found, parser)
    }

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut_and_lines_end() {
        let text = "\u{feff}: hello\nevent: endpoint\ndata: /a\n\nid: 7\nretry: 250\ndata: {\"x\":\ndata: 1}\n\nevent: none\n\ndata\n\nid: 8\ndata: cut";
        let whole = [("endpoint", "/a"), ("message", "{\"x\":\n1}")]
            .map(|(kind, data)| (kind.to_owned(), data.to_owned()));
        for ends in ["\n", "\r\n", "\r"] {
            let text = text.replace('\n', ends);
            for size in 1..=text.len() {
                let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
                let (found, parser) = read(&chunks, 100);
                assert_eq!(found, whole, "{ends:?} {size}");
                assert_eq!(parser.last_id.as_deref(), Some("7"));
                assert_eq!(parser.retry, Some(Duration::from_millis(250)));
            }
        }
    }

    #[test]
    fn an_event_is_there_once_its_end_is_whatever_ends_its_lines() {
        for ends in ["\n", "\r\n", "\r"] {
            let (found, _) = read(&[format!("data: a{ends}{ends}").as_bytes()], 100);
            assert_eq!(found.len(), 1, "{ends:?}");
        }
        assert_eq!(read(&[b"retry: +7\n"], 100).1.retry, None);
    }

    #[test]
    fn the_same_lines_are_too_long_however_the_bytes_come_in() {
        let text = b"data: 1234\n\n";
        for (limit, passes) in [(9, false), (10, true)] {
            for size in 1..=text.len() {
                let mut parser = Parser::new(limit);
                let read = text.chunks(size).try_for_each(|chunk| {
                    parser.add(chunk);
                    while parser.next()?.is_some() {}
                    Ok::<(), ()>(())
                });
                assert_eq!(read.is_ok(), passes, "{limit} {size}");
            }
        }
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let mut parser = Parser::new(10);
        parser.add(b"data: 12345678901234567890");
        assert_eq!(parser.next(), Err(()));
        let mut parser = Parser::new(10);
        for _ in 0..3 {
            parser.add(b"data: 1234\n");
        }
        assert_eq!(parser.next(), Err(()));
    }
}
