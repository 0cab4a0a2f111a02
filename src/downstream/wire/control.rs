//! What is said to servers beside what takes a permit.

use crate::downstream::Era;
use crate::downstream::asks::Reply;
use crate::downstream::offers::Offers;
use crate::tool::Declared;
use crate::tool::Level;
use crate::tool::Lists;

/// The messages that need no permit.
// INVARIANT: no variant has a method as text, so that no other method can
// reach a server.
#[derive(Clone, Copy, Debug)]
pub(in crate::downstream) enum Control<'a> {
    /// `server/discover`: which era is it?
    Discover,
    /// `initialize`, the legacy opening.
    Initialize {
        /// What our client can be asked.
        declared: &'a Declared,
    },
    /// `notifications/initialized`.
    Initialized,
    /// A list, one page.
    List {
        /// Of what.
        of: Lists,
        /// Where the page begins, as the server said.
        cursor: Option<&'a str>,
        /// What the request is written in.
        era: &'a Era,
        /// As what client it is asked for; legacy servers know it since they were
        /// opened.
        declared: &'a Declared,
    },
    /// `subscriptions/listen` for changes of the lists; modern only.
    Listen {
        /// What there are lists of.
        offers: Offers,
    },
    /// `resources/unsubscribe`: takes a subscription back; legacy only.
    Unsubscribe {
        /// The resource.
        uri: &'a str,
    },
    /// `logging/setLevel`; legacy only.
    SetLevel {
        /// From which level on we hear what it logs.
        level: Level,
    },
    /// `notifications/cancelled`.
    Cancelled {
        /// The request that nobody waits for any more.
        request: u64,
        /// Why, in words.
        reason: &'static str,
    },
    /// The answer to `ping`.
    Pong {
        /// The server's id, as the text it was.
        id: &'a str,
    },
    /// The client's answer to a request of a server.
    Replied {
        /// The server's id, as the text it was.
        id: &'a str,
        /// What the client said.
        reply: &'a Reply,
    },
    /// The answer to any other request of a server.
    Refused {
        /// The server's id, as the text it was.
        id: &'a str,
    },
}
