use super::*;
use crate::store::testing::in_store;

/// What the tables of the events were before this room's.
const BEFORE: &str = "
CREATE TABLE session (id BLOB PRIMARY KEY);
CREATE TABLE event (session BLOB, number INTEGER, at INTEGER);
CREATE TABLE event_delivery (session BLOB, event INTEGER, target TEXT, due INTEGER,
    writer INTEGER, since INTEGER, tries INTEGER, ended TEXT);
CREATE TABLE event_try (session BLOB, event INTEGER, target TEXT, number INTEGER,
    at INTEGER, status INTEGER, problem TEXT);
INSERT INTO session VALUES (x'00112233445566778899aabbccddeeff');
INSERT INTO event VALUES (x'00112233445566778899aabbccddeeff', 7, 1000);
INSERT INTO event_delivery VALUES
    (x'00112233445566778899aabbccddeeff', 7, 'all', 5000, NULL, 2000, 1, NULL);
INSERT INTO event_try VALUES
    (x'00112233445566778899aabbccddeeff', 7, 'all', 1, 2000, 500, 'it answered 500');
";

const TO: To<'_> = To {
    topic: Topic::Escalation,
    target: "all",
};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_delivery_is_one_writers_for_a_while_and_given_up_after_a_day() {
    let (first, second) = (WriterId::from_number(1), WriterId::from_number(2));
    let (claims, ended, tries) = in_store(&[BEFORE, SCHEMA], move |tx| {
        let mut now = at("2026-11-27T12:00:01Z");
        enqueue(tx, TO, "esc-1/pending", now)?;
        let one = claim(tx, first, TO, now)?.unwrap();
        let taken = claim(tx, second, TO, now)?;
        // The one who died tells nothing any more.
        release(tx, first, now)?;
        let other = claim(tx, second, TO, now)?.unwrap();
        let failed = |at| Attempt {
            at,
            status: Some(500),
            problem: Some("the target answered 500".to_owned()),
        };
        assert_eq!(record(tx, first, &one, &failed(now))?, None);
        let mut ended = record(tx, second, &other, &failed(now))?;
        let soon = claim(tx, second, TO, now)?;
        let claims = [one.number, other.number];
        assert_eq!((taken, soon), (None, None));
        while ended.is_none() {
            now = next_due(tx, TO)?.unwrap();
            let again = claim(tx, second, TO, now)?.unwrap();
            ended = record(tx, second, &again, &failed(now))?;
        }
        let lasted = now.duration_since(at("2026-11-27T12:00:01Z"));
        assert!(lasted > SignedDuration::from_hours(22), "{lasted}");
        assert!(lasted < SignedDuration::from_hours(24), "{lasted}");
        let told = deliveries(tx, (TO.topic, ""), 10)?.remove(0);
        Ok((
            claims,
            (ended, told.ended, next_due(tx, TO)?),
            told.tries.len(),
        ))
    })
    .await;
    assert_eq!(claims, [1, 2]);
    assert_eq!(ended, (Some(Ended::GivenUp), Some(Ended::GivenUp), None));
    assert!((30..40).contains(&tries), "{tries}");
}

#[tokio::test]
async fn what_waited_in_an_older_store_waits_still() {
    let told = in_store(&[BEFORE, SCHEMA], |tx| {
        let session = "00112233-4455-6677-8899-aabbccddeeff";
        let event = To {
            topic: Topic::Event,
            target: "all",
        };
        // A matter is told to a target once, and of its own topic only.
        enqueue(tx, event, &format!("{session}/00007"), Timestamp::MIN)?;
        assert_eq!(next_due(tx, TO)?, None);
        let due = next_due(tx, event)?.unwrap().as_millisecond();
        assert_eq!(due, 5_000);
        let mut told = deliveries(tx, (Topic::Event, session), 10)?;
        assert_eq!(told.len(), 1);
        Ok(told.remove(0))
    })
    .await;
    assert_eq!(told.matter, "00112233-4455-6677-8899-aabbccddeeff/00007");
    assert_eq!(told.tries[0].problem.as_deref(), Some("it answered 500"));
}
