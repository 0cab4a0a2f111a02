//! Calls that are made again: under a key that its client gives a call, it is sent
//! once, and whoever makes it again gets what the first came to.
//!
//! A key is bound to its session, its principal, the tool and the arguments.

mod table;

pub use table::SCHEMA;

use crate::crash;
use crate::journal::Subject;
use crate::journal::TOLD_FOR;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use crate::tool::Digest;
use crate::visible;
use jiff::SignedDuration;
use jiff::Timestamp;
use std::sync::Arc;

/// How long a key is known. After that the same key is a new one.
pub const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// The largest answer that is kept, in bytes.
pub const MAX_BODY: usize = 1 << 20;

/// What a client calls one thing that it wants done: 1 to 255 bytes of its own choice,
/// all of characters that can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(Arc<str>);

/// The text is no key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key has 1 to 255 bytes and no characters that cannot be seen")]
pub struct KeyError;

impl IdempotencyKey {
    /// Reads a key.
    ///
    /// # Errors
    ///
    /// When it is empty, too long, or has characters that cannot be seen.
    pub fn read(text: &str) -> Result<Self, KeyError> {
        if visible::is_name(text, 255) {
            Ok(Self(text.into()))
        } else {
            Err(KeyError)
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is known of a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing: the call is the first.
    New,
    /// The same call was made under it.
    Same(CallId),
    /// Another call was made under it.
    Other,
}

/// An answer as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which kind.
    pub form: Form,
    /// What the server speaks, as whoever keeps the answer writes it.
    pub era: String,
    /// The text of the result or of the error.
    pub body: Box<str>,
}

/// Which kind of answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A result.
    Result,
    /// An error of the protocol.
    Error,
    /// A task, whose id is in the result.
    Task,
}

impl Form {
    const ALL: [Self; 3] = [Self::Result, Self::Error, Self::Task];

    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Result => "result",
            Self::Error => "error",
            Self::Task => "task",
        }
    }

    /// The form of this word.
    pub fn read(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.as_str() == word)
    }
}

/// How far the first call under a key is.
#[derive(Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It has not ended, as far as this room knows: the journal may know more.
    Open,
    /// It ended, and this is its answer; none where that was too large to keep.
    Ended(Option<Kept>),
    /// It was not sent, so its key is free again.
    Free,
}

/// How the first call under a key ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With an answer that can be given again.
    Answered(Kept),
    /// It had no effect, or goes on in another call.
    Free,
    /// Nobody knows, or its server waits for an answer in the middle of it.
    Unknown,
    /// It was not sent, and took the key from this call, which was.
    Back(CallId),
}

/// What is known of the key of a call. One that is too old is new.
///
/// # Errors
///
/// When the store cannot be read.
pub fn find(
    tx: &Tx<'_>,
    subject: &Subject,
    key: &IdempotencyKey,
    now: Timestamp,
) -> Result<Known, StoreError> {
    if crash::mutated("forget-keys") {
        return Ok(Known::New);
    }
    let since = now.checked_sub(KEPT).unwrap_or(Timestamp::MIN);
    let found = table::attempt(tx, subject, key, since)?;
    Ok(match found {
        None => Known::New,
        Some((call, tool, arguments)) if same(subject, (&tool, &arguments)) => Known::Same(call),
        Some(_) => Known::Other,
    })
}

fn same(subject: &Subject, (tool, arguments): (&str, &Digest)) -> bool {
    subject.tool == tool && subject.arguments == *arguments
}

/// Binds a key to a call that is about to be sent, in the transaction that admits it.
/// A call that goes on from the one before takes its place.
///
/// # Errors
///
/// When it cannot be written; then the call must not be sent.
pub fn begin(
    tx: &Tx<'_>,
    subject: &Subject,
    key: &IdempotencyKey,
    now: Timestamp,
) -> Result<(), StoreError> {
    table::attempt_put(tx, subject, key, now)
}

/// Notes how a call under a key ended, in the transaction that closes its record.
///
/// # Errors
///
/// When it cannot be written.
pub fn end(tx: &Tx<'_>, call: CallId, ending: &Ending) -> Result<(), StoreError> {
    match ending {
        Ending::Free => table::attempt_free(tx, call),
        Ending::Unknown => Ok(()),
        Ending::Back(earlier) => table::attempt_back(tx, call, *earlier),
        Ending::Answered(kept) => {
            let fits = kept.body.len() <= MAX_BODY;
            table::attempt_end(tx, call, fits.then_some(kept))
        }
    }
}

/// What is kept of an answer that nobody read.
#[derive(Debug, PartialEq, Eq)]
pub enum Unread {
    /// All of it.
    Kept(Kept),
    /// That it was too large to keep.
    TooLarge,
    /// Nothing: its broker ended before.
    Nothing,
}

/// Keeps the answer of a call, which nobody read.
///
/// # Errors
///
/// When it cannot be written.
pub fn keep_unread(
    tx: &Tx<'_>,
    call: CallId,
    kept: &Kept,
    now: Timestamp,
) -> Result<(), StoreError> {
    let fits = kept.body.len() <= MAX_BODY;
    table::unread_put(tx, call, fits.then_some(kept), now)
}

/// What is kept of the answer of a call, which nobody read.
///
/// # Errors
///
/// When the store cannot be read.
pub fn unread_of(tx: &Tx<'_>, call: CallId) -> Result<Unread, StoreError> {
    table::unread(tx, call)
}

/// Drops what is kept of the answer of a call: somebody read it, or nobody will.
///
/// # Errors
///
/// When it cannot be written.
pub fn drop_unread(tx: &Tx<'_>, call: CallId) -> Result<(), StoreError> {
    table::unread_delete(tx, call)
}

/// Forgets the answers that nobody asked for in time, and the keys that are too old.
/// Returns whose keys those were.
///
/// # Errors
///
/// When the store cannot be read or written.
pub fn forget(tx: &Tx<'_>, now: Timestamp) -> Result<Vec<CallId>, StoreError> {
    if let Ok(before) = now.checked_sub(TOLD_FOR) {
        table::unread_forget(tx, before)?;
    }
    match now.checked_sub(KEPT) {
        Ok(before) => table::attempts_forget(tx, before),
        Err(_out_of_range) => Ok(Vec::new()),
    }
}

/// How far a call under a key is.
///
/// # Errors
///
/// When the store cannot be read.
pub fn attempt(tx: &Tx<'_>, call: CallId) -> Result<Attempt, StoreError> {
    table::attempt_of(tx, call)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principal::PrincipalId;
    use crate::session::SessionId;
    use crate::store::testing::in_store;

    fn subject(call: u8, session: u8, who: &str, arguments: &str) -> Subject {
        Subject {
            call: CallId::from_bytes([call; 16]),
            session: SessionId::from_bytes([session; 16]),
            principal: PrincipalId::parse(who).unwrap(),
            tool: "claims/approve_payment".to_owned(),
            arguments: Digest::of(arguments.as_bytes()),
            policies: Digest::of(b""),
            found: None,
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_key_is_of_one_call_of_one_principal_in_one_session_for_a_day() {
        let key = IdempotencyKey::read("pay-1").unwrap();
        let first = subject(1, 1, "alice", "{}");
        let found = in_store(&[SCHEMA], move |tx| {
            let now = at("2026-11-26T12:00:00Z");
            let mut found = vec![find(tx, &first, &key, now)?];
            begin(tx, &first, &key, now)?;
            for other in [
                subject(2, 1, "alice", "{}"),
                subject(2, 1, "alice", "{\"a\":1}"),
                subject(2, 1, "bob", "{}"),
                subject(2, 2, "alice", "{}"),
            ] {
                found.push(find(tx, &other, &key, now)?);
            }
            let other = IdempotencyKey::read("pay-2").unwrap();
            found.push(find(tx, &first, &other, now)?);
            found.push(find(tx, &first, &key, at("2026-11-27T12:00:01Z"))?);
            Ok(found)
        })
        .await;
        let same = Known::Same(CallId::from_bytes([1; 16]));
        assert_eq!(
            found,
            [
                Known::New,
                same,
                Known::Other,
                Known::New,
                Known::New,
                Known::New,
                Known::New
            ]
        );
    }

    #[tokio::test]
    async fn how_a_call_ended_is_what_is_known_of_its_key() {
        let key = IdempotencyKey::read("k").unwrap();
        let kept = |size: usize| {
            Ending::Answered(Kept {
                form: Form::Result,
                era: "2025-11-25".to_owned(),
                body: "x".repeat(size).into(),
            })
        };
        let endings = [kept(1), kept(MAX_BODY + 1), Ending::Free, Ending::Unknown];
        let attempts = in_store(&[SCHEMA], move |tx| {
            let now = at("2026-11-26T12:00:00Z");
            let mut attempts = Vec::new();
            for (number, ending) in (1..).zip(&endings) {
                let first = subject(number, number, "alice", "{}");
                begin(tx, &first, &key, now)?;
                attempts.push(attempt(tx, first.call)?);
                end(tx, first.call, ending)?;
                attempts.push(attempt(tx, first.call)?);
            }
            Ok(attempts)
        })
        .await;
        let Ending::Answered(small) = kept(1) else {
            panic!("it is an answer");
        };
        let open = || Attempt::Open;
        assert_eq!(
            attempts,
            [
                open(),
                Attempt::Ended(Some(small)),
                open(),
                Attempt::Ended(None),
                open(),
                Attempt::Free,
                open(),
                open(),
            ]
        );
    }

    #[tokio::test]
    async fn a_key_that_was_taken_over_goes_back_to_the_call_that_it_was_of() {
        let key = IdempotencyKey::read("k").unwrap();
        let found = in_store(&[SCHEMA], move |tx| {
            let now = at("2026-11-26T12:00:00Z");
            let (first, second) = (subject(1, 1, "alice", "{}"), subject(2, 1, "alice", "{}"));
            begin(tx, &first, &key, now)?;
            begin(tx, &second, &key, now)?;
            end(tx, second.call, &Ending::Back(first.call))?;
            let found = find(tx, &second, &key, now)?;
            Ok([(found, attempt(tx, first.call)?)])
        })
        .await;
        let first = CallId::from_bytes([1; 16]);
        assert_eq!(found, [(Known::Same(first), Attempt::Open)]);
    }

    #[test]
    fn a_key_can_be_read_by_people() {
        assert!(IdempotencyKey::read("a b/ä").is_ok());
        for bad in ["", "a\n", "a\u{200b}", &"x".repeat(256)] {
            assert_eq!(IdempotencyKey::read(bad), Err(KeyError));
        }
    }
}
