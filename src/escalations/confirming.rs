//! Questions to the people in front of clients, whether a call shall be made. A row for
//! each keeps an answer from being used twice, by whichever brokers: it is taken away in
//! the transaction that takes the answer. After a yes the call has a row of its own, so
//! that its next round goes on with it, once.

mod table;

pub use table::SCHEMA_23;
pub use table::SCHEMA_25;

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

/// What stood before the person who was asked, and so what their yes is to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The policies that stopped the call.
    pub policies: Vec<String>,
    /// Their questions.
    pub asks: Vec<String>,
}

impl Shown {
    /// Whether all of another was among it.
    pub fn covers(&self, other: &Self) -> bool {
        let within = |all: &[String], some: &[String]| some.iter().all(|one| all.contains(one));
        within(&self.policies, &other.policies) && within(&self.asks, &other.asks)
    }
}

/// Notes that a call asks, what, and until when an answer is taken.
///
/// # Errors
///
/// When the store fails.
pub fn ask(
    tx: &Tx<'_>,
    (about, shown): (About<'_>, &Shown),
    (until, now): (Timestamp, Timestamp),
) -> Result<(), StoreError> {
    table::delete_before(tx, now)?;
    table::insert(tx, (about.subject.call, OPEN), (about, shown), until)
}

/// Takes the answer to what an earlier call asked about the same: one is taken, whatever
/// it is. Returns what was asked; nothing where none is open: it was answered before, is
/// too old, or was never asked about this. What is too old is so for good: a clock that
/// is set back does not reopen it.
///
/// # Errors
///
/// When the store fails.
pub fn answer(
    tx: &Tx<'_>,
    asked: CallId,
    about: About<'_>,
    now: Timestamp,
) -> Result<Option<Shown>, StoreError> {
    table::delete_before(tx, now)?;
    let shown = table::find(tx, (asked, OPEN), about)?;
    if shown.is_some() {
        table::delete(tx, asked)?;
    }
    Ok(shown)
}

/// Notes that a call has been confirmed, by a yes to this, and is made.
///
/// # Errors
///
/// When the store fails.
pub fn have(
    tx: &Tx<'_>,
    (about, shown): (About<'_>, &Shown),
    now: Timestamp,
) -> Result<(), StoreError> {
    let until = now.saturating_add(ROUNDS).unwrap_or(now);
    table::insert(tx, (about.subject.call, HAD), (about, shown), until)
}

/// What the yes was to by which an earlier round of the same call was confirmed; nothing
/// where it was not, or another went on from it.
///
/// # Errors
///
/// When the store fails.
pub fn had(
    tx: &Tx<'_>,
    before: CallId,
    about: About<'_>,
    now: Timestamp,
) -> Result<Option<Shown>, StoreError> {
    table::delete_before(tx, now)?;
    table::find(tx, (before, HAD), about)
}

/// What the yes was to that this very call is made with, where it was confirmed.
///
/// # Errors
///
/// When the store cannot be read.
pub fn made_with(tx: &Tx<'_>, call: CallId) -> Result<Option<Shown>, StoreError> {
    table::of(tx, (call, HAD))
}

/// Goes on with the confirmation of an earlier round. False where another did.
///
/// # Errors
///
/// When the store fails.
pub fn carry(
    tx: &Tx<'_>,
    before: CallId,
    about: (About<'_>, &Shown),
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
        sql: &[SCHEMA_23, SCHEMA_25],
    }];

    fn shown(policies: &[&str], asks: &[&str]) -> Shown {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Shown {
            policies: owned(policies),
            asks: owned(asks),
        }
    }

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
            let shown = shown(&["a"], &["Pay?"]);
            ask(tx, (about(&first), &shown), (at(60), at(0)))?;
            let changes: [fn(&mut Subject); 4] = [
                |other| other.principal = PrincipalId::parse("bob").unwrap(),
                |other| other.session = SessionId::from_bytes([8; 16]),
                |other| other.tool.push('s'),
                |other| other.arguments = Digest::of(b"[]"),
            ];
            for change in changes {
                let mut other = answering.clone();
                change(&mut other);
                assert_eq!(answer(tx, first.call, about(&other), at(1))?, None);
            }
            let other_tool = About {
                subject: &answering,
                definition: Digest::of(b"other"),
            };
            assert_eq!(answer(tx, first.call, other_tool, at(1))?, None);
            assert_eq!(answer(tx, answering.call, about(&answering), at(1))?, None);
            let taken = [(); 2].map(|()| answer(tx, first.call, about(&answering), at(59)));
            let taken: Vec<_> = taken.into_iter().collect::<Result<_, _>>()?;
            assert_eq!(taken, [Some(shown.clone()), None]);
            // Nor is it open again where the clock is set back.
            ask(tx, (about(&first), &shown), (at(60), at(0)))?;
            let late = [60, 59].map(|now| answer(tx, first.call, about(&answering), at(now)));
            late.into_iter().collect::<Result<Vec<_>, _>>()
        });
        assert_eq!(taken, [None, None]);
    }

    #[test]
    fn a_yes_is_to_what_was_asked_and_to_no_more() {
        let all = shown(&["a", "b"], &["Pay?", "Really?"]);
        for (other, covered) in [
            (shown(&[], &[]), true),
            (shown(&["b"], &["Really?"]), true),
            (shown(&["c"], &["Pay?"]), false),
            (shown(&["a"], &["Pay more?"]), false),
        ] {
            assert_eq!(all.covers(&other), covered, "{other:?}");
        }
    }

    #[test]
    fn one_round_goes_on_with_the_confirmation_of_the_one_before() {
        in_store(|tx| {
            let [first, second, third] = [1, 2, 3].map(subject);
            let yes = shown(&["a"], &["Pay?"]);
            have(tx, (about(&first), &yes), at(0))?;
            // It is no question, so there is no answer to take.
            assert_eq!(answer(tx, first.call, about(&second), at(1))?, None);
            let had = |before, now| had(tx, before, about(&third), now);
            assert_eq!(had(first.call, at(1))?.as_ref(), Some(&yes));
            let made_with = [first.call, second.call].map(|call| made_with(tx, call));
            let made_with: Vec<_> = made_with.into_iter().collect::<Result<_, _>>()?;
            assert_eq!(made_with, [Some(yes.clone()), None]);
            assert!(carry(tx, first.call, (about(&second), &yes), at(1))?);
            assert_eq!(had(first.call, at(1))?, None);
            assert!(!carry(tx, first.call, (about(&third), &yes), at(1))?);
            assert_eq!(had(second.call, at(1))?, Some(yes));
            assert_eq!(had(second.call, at(100_000))?, None);
            Ok(())
        });
    }
}
