//! The id of an event.

use std::fmt;

/// Whose an event is, of which stream, and which one there. The whole is unique
/// among all sessions, and says which stream it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventId<'a> {
    /// Tells a transport session, as it is in memory, from all others.
    pub(super) mark: &'a str,
    /// Whether the stream is one of what nobody asked for.
    pub(super) standing: bool,
    pub(super) stream: u64,
    pub(super) event: u64,
}

impl<'a> EventId<'a> {
    /// Reads a text that may be an id of ours.
    pub(super) fn read(id: &'a [u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(id).ok()?.split('-');
        let (mark, kind) = (parts.next()?, parts.next()?);
        let (stream, event) = (parts.next()?, parts.next()?);
        let standing = match kind {
            "s" => true,
            "a" => false,
            _ => return None,
        };
        parts.next().is_none().then_some(Self {
            mark,
            standing,
            stream: stream.parse().ok()?,
            event: event.parse().ok()?,
        })
    }
}

impl fmt::Display for EventId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.standing { 's' } else { 'a' };
        write!(f, "{}-{kind}-{}-{}", self.mark, self.stream, self.event)
    }
}
