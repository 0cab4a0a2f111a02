//! How long records and payloads are kept.
//!
//! Payloads go without a trace in the chains, which cover their digests. Records go
//! from the beginning of a chain only, as far as a checkpoint vouches for them; where
//! the chain begins then is kept, and the next checkpoint says so. Never taken away is
//! what is not over: a call in flight, and one of which somebody is still to be told.

mod table;

use super::checkpoint::Signed;
use super::checkpoint::checkpoint;
use super::signer::Signer;
use crate::crash;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::Timestamp;

pub(super) use table::trimmed_before;

/// How many payloads, or records of one chain, are taken away in one transaction.
const AT_ONCE: u32 = 1_000;

/// Takes away some of the payloads of calls made before then. False where there was
/// none any more.
///
/// # Errors
///
/// When the store cannot be written.
pub fn trim_payloads(tx: &Tx<'_>, before: Timestamp) -> Result<bool, StoreError> {
    table::payloads_delete(tx, before, AT_ONCE).map(|count| count > 0)
}

/// Takes away some of the records made before then, and signs where the chains begin.
/// None where there was none any more.
///
/// It must be committed as [`checkpoint`] must.
///
/// # Errors
///
/// When the store cannot be written.
pub fn trim_records(
    tx: &Tx<'_>,
    before: Timestamp,
    signer: &Signer,
    now: Timestamp,
) -> Result<Option<Signed>, StoreError> {
    let mut any = false;
    for (writer, begin) in table::older(tx, before)? {
        let Some(covered) = table::covered(tx, writer)? else {
            continue;
        };
        let most = covered.min(begin + i64::from(AT_ONCE));
        let kept = table::first_kept(tx, (writer, begin, most), before)?;
        let end = kept.map_or(most, |kept| kept - 1);
        if end > begin {
            table::records_delete(tx, writer, end)?;
            crash::point("trim.records-gone");
            any = true;
        }
    }
    if !any {
        return Ok(None);
    }
    table::note_trimmed(tx, before)?;
    crash::point("trim.noted");
    checkpoint(tx, signer, now)
}

#[cfg(test)]
mod tests {
    use super::super::signer::signer_for_tests;
    use super::*;
    use crate::journal;
    use crate::journal::Part;
    use crate::journal::SCHEMA;
    use crate::journal::SCHEMA_12;
    use crate::journal::SCHEMA_14;
    use crate::journal::Subject;
    use crate::journal::Trust;
    use crate::journal::Verified;
    use crate::outcome::Outcome;
    use crate::principal::PrincipalId;
    use crate::session::SessionId;
    use crate::store::Migration;
    use crate::store::Store;
    use crate::store::Writer;
    use crate::store::WriterId;
    use crate::tool::CallId;
    use crate::tool::Digest;
    use jiff::SignedDuration;
    use serde_json::json;

    const MIGRATIONS: [Migration; 1] = [Migration {
        number: 1,
        sql: &[SCHEMA, SCHEMA_12, SCHEMA_14],
    }];

    fn day(number: i64) -> Timestamp {
        let begin: Timestamp = "2026-11-01T12:00:00Z".parse().unwrap();
        begin
            .checked_add(SignedDuration::from_hours(24 * number))
            .unwrap()
    }

    fn subject(number: i64) -> Subject {
        let mut call = *CallId::first_of(day(number)).as_bytes();
        call[15] = 1;
        Subject {
            call: CallId::from_bytes(call),
            session: SessionId::from_bytes([2; 16]),
            principal: PrincipalId::parse("alice").unwrap(),
            tool: "claims/close_claim".to_owned(),
            arguments: Digest::of(b"{}"),
            policies: Digest::of(b"policies"),
            found: None,
        }
    }

    /// A store in which a call was refused on each of ten days, all under a checkpoint
    /// but the last; what `work` does to it; and what verifying finds then.
    fn after(work: impl FnOnce(&Tx<'_>) -> Result<(), StoreError> + Send + 'static) -> Verified {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.db"), &MIGRATIONS).unwrap();
        let writer = Writer::enlist(&store, day(0)).unwrap();
        let id = writer.id();
        let written = store.write_blocking("test", move |tx| {
            for number in 0..10 {
                if number == 9 {
                    checkpoint(tx, &signer_for_tests(), day(8))?;
                }
                let subject = subject(number);
                let refused = (&subject, Outcome::Denied, &json!({}));
                journal::refuse(tx, id, refused, day(number))?;
                journal::keep(tx, subject.call, Part::Arguments, "{}")?;
            }
            work(tx)?;
            // The chain goes on from where it was.
            let refused = (&subject(20), Outcome::Denied, &json!({}));
            journal::refuse(tx, id, refused, day(20))
        });
        written.unwrap();
        let trust = Trust {
            keys: vec![signer_for_tests().public()],
            held: Vec::new(),
        };
        let found = store.read(|tx| journal::verify(tx, &[id], &trust)).unwrap();
        let left = |tx: &Tx<'_>| {
            let mut left = 0;
            journal::table::payloads(tx, |_call, _part, _body| left += 1)?;
            Ok(left)
        };
        let payloads: usize = store.read(left).unwrap();
        assert!(payloads <= found.records, "{payloads}");
        found
    }

    fn trim(tx: &Tx<'_>, before: i64) -> Result<(), StoreError> {
        while trim_records(tx, day(before), &signer_for_tests(), day(10))?.is_some() {}
        Ok(())
    }

    fn begin(found: &Verified) -> i64 {
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        found.begins.values().copied().sum()
    }

    #[test]
    fn what_is_too_old_goes_and_the_chain_says_where_it_begins() {
        let found = after(|tx| trim(tx, 4));
        assert_eq!((begin(&found), found.records), (4, 7));
    }

    #[test]
    fn only_what_a_checkpoint_vouches_for_goes() {
        let found = after(|tx| trim(tx, 30));
        // Taking away makes a checkpoint, so in the end all goes.
        assert_eq!((begin(&found), found.records), (10, 1));
        let found =
            after(|tx| trim_records(tx, day(30), &signer_for_tests(), day(10)).map(|_made| ()));
        assert_eq!((begin(&found), found.records), (9, 2));
    }

    #[test]
    fn a_call_of_which_somebody_is_to_be_told_stays_with_all_that_came_after() {
        let found = after(|tx| {
            journal::unread(tx, &subject(3), day(3))?;
            trim(tx, 8)
        });
        assert_eq!((begin(&found), found.records), (3, 8));
    }

    #[test]
    fn payloads_go_and_the_records_stay_and_hold() {
        let found = after(|tx| {
            while trim_payloads(tx, day(5))? {}
            Ok(())
        });
        assert_eq!((begin(&found), found.records), (0, 11));
    }

    #[test]
    fn records_are_taken_away_by_nobody_else() {
        let found = after(|tx| table::records_delete(tx, WriterId::from_number(1), 2));
        // Whoever does it all the same leaves no checkpoint that says so.
        assert_eq!(found.problems.len(), 1, "{:?}", found.problems);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_checkpoint_late() {
        after(|tx| {
            let minute = SignedDuration::from_mins(1);
            assert!(journal::is_due(tx, minute, day(9))?);
            assert!(journal::is_due(tx, minute, day(7))?);
            assert!(!journal::is_due(tx, minute, day(8))?);
            Ok(())
        });
    }
}
