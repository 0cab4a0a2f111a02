use super::*;
use crate::journal::SCHEMA;
use crate::journal::SCHEMA_14;
use crate::principal::PrincipalId;
use crate::store::testing::in_store;

fn subject(call: u8, who: &str, arguments: &str) -> Subject {
    Subject {
        call: CallId::from_bytes([call; 16]),
        session: SessionId::from_bytes([1; 16]),
        principal: PrincipalId::parse(who).unwrap(),
        tool: "claims/approve_payment".to_owned(),
        arguments: Digest::of(arguments.as_bytes()),
        policies: Digest::of(b""),
        found: None,
    }
}

fn call(number: u8) -> Option<CallId> {
    Some(CallId::from_bytes([number; 16]))
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const NOON: &str = "2026-11-26T12:00:00Z";
fn writer() -> WriterId {
    WriterId::from_number(1)
}

#[tokio::test]
async fn each_call_is_a_note_of_its_own_and_given_once_the_oldest_first() {
    let given = in_store(&[SCHEMA, SCHEMA_14], |tx| {
        let now = at(NOON);
        for number in [2, 1, 3] {
            unread(tx, &subject(number, "alice", "{}"), now)?;
        }
        let mut given = Vec::new();
        for (who, arguments) in [
            ("bob", "{}"),
            ("alice", "{\"a\":1}"),
            ("alice", "{}"),
            ("alice", "{}"),
            ("alice", "{}"),
            ("alice", "{}"),
        ] {
            given.push(give_unread(tx, writer(), &subject(9, who, arguments), now)?);
        }
        Ok(given)
    })
    .await;
    assert_eq!(given, [None, None, call(1), call(2), call(3), None]);
}

#[tokio::test]
async fn a_note_stays_until_its_answer_was_read_or_its_time_is_over() {
    let given = in_store(&[SCHEMA, SCHEMA_14], |tx| {
        let same = subject(9, "alice", "{}");
        for number in [1, 2] {
            unread(tx, &subject(number, "alice", "{}"), at(NOON))?;
        }
        let give = |now: &str| give_unread(tx, writer(), &same, at(now));
        let mut given = vec![give(NOON)?];
        still_unread(tx, CallId::from_bytes([1; 16]))?;
        given.push(give(NOON)?);
        // Its broker dies before anybody can know whether it was read.
        recover(tx, writer(), at(NOON))?;
        given.push(give(NOON)?);
        is_read(tx, CallId::from_bytes([1; 16]))?;
        given.push(give("2026-11-26T12:04:59Z")?);
        still_unread(tx, CallId::from_bytes([2; 16]))?;
        given.push(give("2026-11-26T12:05:01Z")?);
        forget_unread(tx, at("2026-11-26T12:05:01Z"))?;
        given.push(give(NOON)?);
        Ok(given)
    })
    .await;
    assert_eq!(given, [call(1), call(1), call(1), call(2), None, None]);
}

#[tokio::test]
async fn a_session_has_a_bounded_number_of_notes() {
    let (dropped, noted) = in_store(&[SCHEMA, SCHEMA_14], |tx| {
        let mut dropped = Vec::new();
        for number in 1..=MOST_UNREAD + 2 {
            let number = u8::try_from(number).unwrap();
            let arguments = format!("{{\"a\":{number}}}");
            dropped.extend(unread(tx, &subject(number, "alice", &arguments), at(NOON))?);
        }
        Ok((dropped, of(tx, SessionId::from_bytes([1; 16]))?.len()))
    })
    .await;
    let oldest: Vec<CallId> = [call(1), call(2)].into_iter().flatten().collect();
    assert_eq!(dropped, oldest);
    assert_eq!(u32::try_from(noted).unwrap(), MOST_UNREAD);
}
