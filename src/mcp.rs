//! The protocol towards MCP clients: what a message means, in which era it is
//! asked, and what goes back. Knows no transport: an edge hands in the bytes of
//! one message and carries away the messages that answer it.
//!
//! Only this room and `downstream` know revisions of the protocol.

mod answer;
mod connection;
mod eras;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod list;
mod opening;
mod parse;
mod rounds;
mod seal;
mod subscriptions;
mod tasks;
mod work;
mod write;

use crate::visible::hidden;

pub use connection::Connection;
pub use connection::Received;
pub use opening::Opening;
pub use parse::Answers;
pub use parse::Ask;
pub use parse::Body;
pub use parse::Message;
pub use parse::Meta;
pub use parse::Notification;
pub use parse::ParseError;
pub use parse::RawId;
pub use parse::Request;
pub use parse::Response;
pub use parse::Wanted;
pub use parse::batch;
pub use parse::parse;
pub use work::Outgoing;
pub use work::Work;
pub use write::HEADER_MISMATCH;
pub use write::INTERNAL_ERROR;
pub use write::INVALID_PARAMS;
pub use write::INVALID_REQUEST;
pub use write::METHOD_NOT_FOUND;
pub use write::Outbound;
pub use write::PARSE_ERROR;
pub use write::refused;
pub use write::unread;

/// The revision whose requests carry their own version and capabilities.
pub const MODERN: &str = "2026-07-28";

/// The revisions that open with `initialize`, the newest first. The first one
/// is what a client is offered that asks for one we do not serve.
pub const LEGACY: [&str; 4] = ["2025-11-25", "2025-06-18", BATCHES, "2024-11-05"];

/// The one revision whose messages may come several at a time.
pub const BATCHES: &str = "2025-03-26";

/// What `initialize` comes to: the revision that was asked for where we serve
/// it, else our newest of that era (MCP 2025-11-25, lifecycle).
pub fn agreed(requested: &str) -> &'static str {
    let [newest, ..] = LEGACY;
    let served = LEGACY.into_iter().find(|served| *served == requested);
    served.unwrap_or(newest)
}

/// How a client of a revision finds a stream again whose connection it lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resuming {
    /// Not at all.
    Never,
    /// By the id of the last event that it read.
    ById,
    /// By that too, and the stream begins with an id that comes without a message
    /// (SEP-1699). Clients of the revisions before cannot read such an event.
    Primed,
}

/// How clients of this revision find their streams again: Streamable HTTP has ids
/// for events since it came, and has lost them in [`MODERN`].
pub fn resuming(revision: &str) -> Resuming {
    match revision {
        "2025-11-25" => Resuming::Primed,
        "2025-06-18" | BATCHES => Resuming::ById,
        _ => Resuming::Never,
    }
}

/// How the client of one request reads its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// By a revision that opens with `initialize`.
    Legacy,
    /// By [`MODERN`].
    Modern,
}

/// A text of someone else, fit to stand in a message: at most `most`
/// characters, none of them a control or an invisible one.
fn shown(text: &str, most: usize) -> String {
    let mut shown: String = text
        .chars()
        .take(most)
        .map(|c| if hidden(c) { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(most).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_not_repeated_and_long_texts_are_cut() {
        assert_eq!(
            shown("a\u{0}b\u{202e}c\nd", 80),
            "a\u{fffd}b\u{fffd}c\u{fffd}d"
        );
        assert_eq!(shown("abc", 3), "abc");
        assert_eq!(shown("abcd", 3), "abc…");
    }
}
