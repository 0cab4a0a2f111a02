//! Questions to the people in front of clients, whether a call shall be made. A row for
//! each keeps an answer from being used twice, by whichever brokers: it is taken away in
//! the transaction that takes the answer. After a yes the call has a row of its own, so
//! that its next round goes on with it, once.

mod table;

pub use table::SCHEMA_23;

use crate::journal::Subject;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use crate::tool::Digest;
use jiff::SignedDuration;
use jiff::Timestamp;

/// How long a call that was confirmed may go on in further rounds.
const ROUNDS: SignedDuration = SignedDuration::from_hours(24);

const OPEN: &str = "open";
const HAD: &str = "had";

/// What a confirmation is about, and good for.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The call: its principal, session, tool and arguments count.
    pub subject: &'a Subject,
    /// The digest of the tool's definition.
    pub definition: Digest,
}

/// Notes that a call asks, and until when an answer is taken.
///
/// # Errors
///
/// When the store fails.
pub fn ask(
    tx: &Tx<'_>,
    about: About<'_>,
    (until, now): (Timestamp, Timestamp),
) -> Result<(), StoreError> {
    table::delete_before(tx, now)?;
    table::insert(tx, (about.subject.call, OPEN), about, until)
}

/// Takes the answer to what an earlier call asked about the same: one is taken, whatever
/// it is. False where none is open: it was answered before, is too old, or was never
/// asked about this.
///
/// # Errors
///
/// When the store fails.
pub fn answer(
    tx: &Tx<'_>,
    asked: CallId,
    about: About<'_>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    Ok(table::is_there(tx, (asked, OPEN), about, now)? && table::delete(tx, asked)?)
}

/// Notes that a call has been confirmed, and is made.
///
/// # Errors
///
/// When the store fails.
pub fn have(tx: &Tx<'_>, about: About<'_>, now: Timestamp) -> Result<(), StoreError> {
    let until = now.saturating_add(ROUNDS).unwrap_or(now);
    table::insert(tx, (about.subject.call, HAD), about, until)
}

/// Whether an earlier round of the same call was confirmed, and none went on from it.
///
/// # Errors
///
/// When the store fails.
pub fn is_had(
    tx: &Tx<'_>,
    before: CallId,
    about: About<'_>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    table::is_there(tx, (before, HAD), about, now)
}

/// Goes on with the confirmation of an earlier round. False where another did.
///
/// # Errors
///
/// When the store fails.
pub fn carry(
    tx: &Tx<'_>,
    before: CallId,
    about: About<'_>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    if !table::delete(tx, before)? {
        return Ok(false);
    }
    have(tx, about, now).map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principal::PrincipalId;
    use crate::session::SessionId;
    use crate::store::Migration;
    use crate::store::Store;

    fn subject(call: u8) -> Subject {
        Subject {
            call: CallId::from_bytes([call; 16]),
            session: SessionId::from_bytes([2; 16]),
            principal: PrincipalId::parse("alice").unwrap(),
            tool: "claims/close_claim".to_owned(),
            arguments: Digest::of(b"{}"),
            policies: Digest::of(b"policies"),
            found: None,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    const MIGRATIONS: [Migration; 1] = [Migration {
        number: 1,
        sql: &[SCHEMA_23],
    }];

    const TOOL: &[u8] = b"tool";

    fn about(subject: &Subject) -> About<'_> {
        About {
            subject,
            definition: Digest::of(TOOL),
        }
    }

    fn in_store<T: Send + 'static>(
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.db"), &MIGRATIONS).unwrap();
        store.write_blocking("confirm", work).unwrap()
    }

    #[test]
    fn one_answer_is_taken_of_exactly_the_same_call_in_time() {
        let taken = in_store(|tx| {
            let (first, answering) = (subject(1), subject(2));
            ask(tx, about(&first), (at(60), at(0)))?;
            let changes: [fn(&mut Subject); 4] = [
                |other| other.principal = PrincipalId::parse("bob").unwrap(),
                |other| other.session = SessionId::from_bytes([8; 16]),
                |other| other.tool.push('s'),
                |other| other.arguments = Digest::of(b"[]"),
            ];
            for change in changes {
                let mut other = answering.clone();
                change(&mut other);
                assert!(!answer(tx, first.call, about(&other), at(1))?);
            }
            let other_tool = About {
                subject: &answering,
                definition: Digest::of(b"other"),
            };
            assert!(!answer(tx, first.call, other_tool, at(1))?);
            assert!(!answer(tx, answering.call, about(&answering), at(1))?);
            assert!(!answer(tx, first.call, about(&answering), at(60))?);
            let taken = [(); 2].map(|()| answer(tx, first.call, about(&answering), at(59)));
            taken.into_iter().collect::<Result<Vec<_>, _>>()
        });
        assert_eq!(taken, [true, false]);
    }

    #[test]
    fn one_round_goes_on_with_the_confirmation_of_the_one_before() {
        in_store(|tx| {
            let [first, second, third] = [1, 2, 3].map(subject);
            have(tx, about(&first), at(0))?;
            // It is no question, so there is no answer to take.
            assert!(!answer(tx, first.call, about(&second), at(1))?);
            assert!(is_had(tx, first.call, about(&second), at(1))?);
            assert!(carry(tx, first.call, about(&second), at(1))?);
            assert!(!is_had(tx, first.call, about(&third), at(1))?);
            assert!(!carry(tx, first.call, about(&third), at(1))?);
            assert!(is_had(tx, second.call, about(&third), at(1))?);
            assert!(!is_had(tx, second.call, about(&third), at(100_000))?);
            Ok(())
        });
    }
}
