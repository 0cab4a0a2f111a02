use super::*;
use crate::journal::SCHEMA;
use crate::journal::SCHEMA_14;
use crate::principal::PrincipalId;
use crate::store::testing::in_store;
use jiff::Timestamp;

/// Two calls that ended unknown, of two callers, as a store of before version 26 has
/// them.
const BEFORE: &str = "
INSERT INTO writer (id, lock, boot, pid, started) VALUES (1, 'a.lock', '', 1, 0);
INSERT INTO journal (writer, seq, kind, call, at, session, principal, tool, digest, detail, hash)
    VALUES (1, 1, 'open', unhex('01010101010101010101010101010101'), 0,
        unhex('07070707070707070707070707070707'), 'alice', 'claims/pay', zeroblob(32), '{}', x''),
    (1, 2, 'open', unhex('02020202020202020202020202020202'), 0,
        unhex('07070707070707070707070707070707'), 'bob', 'claims/look', zeroblob(32), '{}', x'');
INSERT INTO unsettled (session, tool, arguments, call, told)
    SELECT session, tool, digest, call, iif(seq = 2, 1, NULL) FROM journal;
";

/// Another call of alice's that is the same as her first and ended unknown too.
const ALIKE: &str = "
INSERT INTO journal (writer, seq, kind, call, at, session, principal, tool, digest, detail, hash)
    SELECT writer, 3, kind, unhex('03030303030303030303030303030303'), at, session, principal,
        tool, digest, detail, hash FROM journal WHERE seq = 1;
INSERT INTO unsettled (session, tool, arguments, call, principal)
    SELECT session, tool, digest, call, principal FROM journal WHERE seq = 3;
";

/// Nobody need be recovered.
const OVER: &str = "UPDATE writer SET ended = 1";

const SCHEMAS: [&str; 6] = [SCHEMA, SCHEMA_14, BEFORE, SCHEMA_26, SCHEMA_29, OVER];
const TWO_ALIKE: [&str; 7] = [SCHEMA, SCHEMA_14, BEFORE, SCHEMA_26, SCHEMA_29, ALIKE, OVER];

fn subject(tool: &str, principal: &str) -> Subject {
    Subject {
        call: CallId::from_bytes([9; 16]),
        session: SessionId::from_bytes([7; 16]),
        principal: PrincipalId::parse(principal).unwrap(),
        tool: tool.to_owned(),
        arguments: Digest::from_bytes([0; 32]),
        policies: Digest::of(b""),
        found: None,
    }
}

fn writer(number: i64) -> WriterId {
    WriterId::from_number(number)
}

fn call(number: u8) -> CallId {
    CallId::from_bytes([number; 16])
}

fn at(microseconds: i64) -> Timestamp {
    Timestamp::from_microsecond(microseconds).unwrap()
}

/// Of which call alice is told who makes the same one, by when she made it and how long
/// a warning settles.
fn told(tx: &Tx<'_>, by: i64, (came, settles): (i64, i64)) -> Result<Option<CallId>, StoreError> {
    let settles = SignedDuration::from_micros(settles);
    let pay = subject("claims/pay", "alice");
    let times = (at(came), Timestamp::UNIX_EPOCH);
    tell_unsettled(tx, writer(by), &pay, settles, times)
}

#[tokio::test]
async fn what_was_noted_before_each_call_had_a_row_is_told_to_its_caller() {
    let found = in_store(&SCHEMAS, move |tx| {
        let noted = |tool, principal| table::unsettled(tx, &subject(tool, principal));
        Ok([
            noted("claims/pay", "alice")?,
            noted("claims/pay", "bob")?,
            noted("claims/look", "bob")?,
        ])
    })
    .await;
    let told = Told::now(writer(1));
    assert_eq!(
        found,
        [Some((call(1), None)), None, Some((call(2), Some(told)))]
    );
}

#[tokio::test]
async fn a_call_is_told_until_that_was_read_whoever_tells_it() {
    type Step = fn(&Tx<'_>) -> Result<(), StoreError>;
    let reads: Step = |tx| has_read(tx, call(1), at(2));
    let dies: Step = |tx| untell(tx, writer(2));
    let late: Step = |tx| has_read(tx, call(1), at(4));
    let cases: [(&[Step], Option<CallId>); 7] = [
        // Two tell it, and nobody knows what became of that, or it was in vain.
        (&[], Some(call(1))),
        (&[reads], None),
        // Who reads it first counts, and whoever came before that is told too.
        (&[reads, late], None),
        (&[late], Some(call(1))),
        (&[dies], Some(call(1))),
        // The system may not have sent what it took of one that died.
        (&[reads, dies], Some(call(1))),
        // What is read by another way is no word on what nobody tells.
        (&[dies, reads], Some(call(1))),
    ];
    for (number, (steps, due)) in cases.into_iter().enumerate() {
        let steps = steps.to_vec();
        let told = in_store(&SCHEMAS, move |tx| {
            assert_eq!(told(tx, 1, (3, 0))?, Some(call(1)));
            assert_eq!(told(tx, 2, (3, 0))?, Some(call(1)));
            steps.iter().try_for_each(|step| step(tx))?;
            told(tx, 3, (3, 0))
        });
        assert_eq!(told.await, due, "case {number}");
    }
}

#[tokio::test]
async fn who_comes_before_a_warning_is_settled_is_told_too_and_settles_it_no_later() {
    let told = in_store(&SCHEMAS, move |tx| {
        told(tx, 1, (1, 10))?;
        has_read(tx, call(1), at(2))?;
        let mut due = Vec::new();
        for came in [2, 3, 12, 13] {
            due.push(told(tx, 1, (came, 10))?);
            has_read(tx, call(1), at(came))?;
        }
        Ok(due)
    });
    assert_eq!(
        told.await,
        [Some(call(1)), Some(call(1)), Some(call(1)), None]
    );
}

#[tokio::test]
async fn of_several_warnings_the_last_that_was_read_counts() {
    let told = in_store(&TWO_ALIKE, move |tx| {
        let mut due = Vec::new();
        for (read, came) in [(2, 1), (20, 19), (20, 20), (20, 25), (20, 31), (20, 31)] {
            let one = told(tx, 1, (came, 10))?;
            if let Some(one) = one {
                has_read(tx, one, at(read))?;
            }
            due.push(one);
        }
        Ok(due)
    });
    let (one, other) = (Some(call(1)), Some(call(3)));
    assert_eq!(told.await, [one, other, other, other, None, None]);
}

#[tokio::test]
async fn what_is_put_back_is_told_as_it_was() {
    let read = in_store(&SCHEMAS, move |tx| {
        let pay = subject("claims/pay", "alice");
        let mut read = Vec::new();
        for reads in [false, true] {
            told(tx, 1, (1, 0))?;
            if reads {
                has_read(tx, call(1), at(2))?;
            }
            let noted = take_note(tx, call(1))?.unwrap();
            assert_eq!(table::unsettled(tx, &pay)?, None);
            put_note_back(tx, &noted)?;
            let told = table::unsettled(tx, &pay)?.unwrap().1;
            read.push(told.unwrap().read);
        }
        Ok(read)
    });
    assert_eq!(read.await, [None, Some(at(2))]);
}
