use super::*;
use crate::sessions;
use crate::sessions::Remembered;
use crate::store::testing::in_store;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn principal(name: &str) -> PrincipalId {
    PrincipalId::parse(name).unwrap()
}

fn at(text: &str) -> Timestamp {
    format!("2026-11-27T{text}Z").parse().unwrap()
}

fn web() -> BTreeSet<Label> {
    BTreeSet::from(["untrusted-web".parse().unwrap()])
}

fn brought(session: SessionId, name: &str) -> Brought {
    Brought {
        labels: web(),
        session,
        principal: principal(name),
        call: CallId::from_bytes([1; 16]),
    }
}

fn labels_of(tx: &Tx<'_>, id: SessionId) -> Vec<String> {
    let state = sessions::state(tx, id).unwrap().unwrap();
    state.facts.labels.into_iter().collect()
}

const SCHEMAS: [&str; 3] = [sessions::SCHEMA, sessions::SCHEMA_7, sessions::SCHEMA_27];

#[tokio::test]
async fn a_new_session_begins_with_a_label_as_long_as_it_sticks_and_then_without() {
    let labels = in_store(&SCHEMAS, |tx| {
        let alice = principal("alice");
        let open = |now: &str| sessions::create(tx, &alice, None, at(now));
        let first = open("12:00:00")?;
        let before = open("12:00:00")?;
        brought(first, "alice").join(tx, HOUR, at("12:00:00"))?;
        let within = open("13:00:00")?;
        // A session that began with it makes it stick no longer.
        let after = open("13:01:01")?;
        let bob = sessions::create(tx, &principal("bob"), None, at("12:00:01"))?;
        Ok([first, before, within, after, bob].map(|id| labels_of(tx, id)))
    })
    .await;
    let web = vec!["untrusted-web".to_owned()];
    let none = Vec::new();
    assert_eq!(labels, [&web, &none, &web, &none, &none].map(Clone::clone));
}

#[tokio::test]
async fn a_label_met_again_sticks_from_then_on_and_zero_sticks_not_at_all() {
    let labels = in_store(&SCHEMAS, |tx| {
        let [alice, bob] = ["alice", "bob"].map(principal);
        let first = sessions::create(tx, &alice, None, at("12:00:00"))?;
        brought(first, "alice").join(tx, HOUR, at("12:00:00"))?;
        brought(first, "alice").join(tx, HOUR, at("12:50:00"))?;
        // A clock that was set back shortens nothing.
        brought(first, "alice").join(tx, HOUR, at("09:00:00"))?;
        let later = sessions::create(tx, &alice, None, at("13:45:00"))?;
        let own = sessions::create(tx, &bob, None, at("12:00:00"))?;
        brought(own, "bob").join(tx, SignedDuration::ZERO, at("12:00:00"))?;
        let next = sessions::create(tx, &bob, None, at("12:00:00"))?;
        let notes = sessions::history(tx, first, 10)?.len();
        Ok((labels_of(tx, later).len(), labels_of(tx, next).len(), notes))
    })
    .await;
    assert_eq!(labels, (1, 0, 1));
}

#[tokio::test]
async fn what_a_guest_meets_sticks_to_the_guest_and_to_the_owner() {
    let labels = in_store(&SCHEMAS, |tx| {
        let [alice, bob, carol] = ["alice", "bob", "carol"].map(principal);
        let shared = sessions::create(tx, &alice, None, at("12:00:00"))?;
        brought(shared, "bob").join(tx, HOUR, at("12:00:00"))?;
        // Who only calls where a label is takes it along too.
        let facts = sessions::state(tx, shared)?.unwrap().facts;
        guest(tx, &facts, &carol, (HOUR, at("12:10:00")))?;
        let open = |who| sessions::create(tx, who, None, at("12:30:00"));
        let opened = [open(&alice)?, open(&bob)?, open(&carol)?];
        Ok(opened.map(|id| labels_of(tx, id).len()))
    })
    .await;
    assert_eq!(labels, [1, 1, 1]);
}

#[tokio::test]
async fn a_label_that_is_there_and_sticks_long_enough_has_nothing_to_write() {
    let known = in_store(&SCHEMAS, |tx| {
        let [alice, bob] = ["alice", "bob"].map(principal);
        let id = sessions::create(tx, &alice, None, at("12:00:00"))?;
        let carries = |who: &PrincipalId, stick, now: &str| {
            let known = Remembered::read(tx, id).unwrap().unwrap();
            known.carries(web().iter(), who, (stick, at(now)))
        };
        let before = carries(&alice, HOUR, "12:00:00");
        brought(id, "alice").join(tx, HOUR, at("12:00:00"))?;
        let soon = carries(&alice, HOUR, "12:00:59");
        let late = carries(&alice, HOUR, "12:01:01");
        let unstuck = carries(&alice, SignedDuration::ZERO, "18:00:00");
        let guest = carries(&bob, HOUR, "12:00:01");
        unlabel(tx, id, &web(), at("12:00:02"))?;
        let removed = carries(&alice, HOUR, "12:00:03");
        Ok([before, soon, late, unstuck, guest, removed])
    })
    .await;
    assert_eq!(known, [false, true, false, true, false, false]);
}

/// What a session has once somebody called in it.
fn after_a_call(tx: &Tx<'_>, id: SessionId, who: &PrincipalId, now: &str) -> Vec<String> {
    let mut facts = sessions::state(tx, id).unwrap().unwrap().facts;
    carry_over(tx, &mut facts, who, at(now)).unwrap();
    let stored = labels_of(tx, id);
    assert_eq!(facts.labels.into_iter().collect::<Vec<_>>(), stored);
    stored
}

#[tokio::test]
async fn a_session_that_was_there_before_gets_with_the_next_call_what_its_caller_met() {
    let (labels, told, history) = in_store(&SCHEMAS, |tx| {
        let [alice, bob] = ["alice", "bob"].map(principal);
        let open = |who| sessions::create(tx, who, None, at("11:00:00"));
        let [before, late, reading] = [open(&alice)?, open(&alice)?, open(&alice)?];
        let other = open(&bob)?;
        let facts = |now: &str| {
            let known = Remembered::read(tx, before).unwrap().unwrap();
            let facts = known.facts(&alice, at(now));
            facts.map(|facts| facts.labels.len())
        };
        sessions::touch(tx, &sessions::state(tx, before)?.unwrap(), at("12:30:00"))?;
        let mut told = vec![facts("12:30:00")];
        brought(reading, "alice").join(tx, HOUR, at("12:00:00"))?;
        told.push(facts("12:30:00"));
        let moves = |now| moves_labels(tx, (before, &alice), (HOUR, at(now)));
        assert!(moves("12:30:00")? && !moves("13:02:00")?);
        let called = [
            after_a_call(tx, before, &alice, "12:30:00"),
            after_a_call(tx, other, &bob, "12:30:00"),
            // It made it stick no longer.
            after_a_call(tx, late, &alice, "13:01:01"),
        ];
        told.push(facts("12:30:01"));
        assert!(!moves("12:30:00")?);
        Ok((called, told, sessions::history(tx, before, 10)?))
    })
    .await;
    let (web, none) = (vec!["untrusted-web".to_owned()], Vec::new());
    assert_eq!(labels, [web, none.clone(), none]);
    assert_eq!(told, [Some(0), None, Some(1)]);
    let detail = history[0].detail.as_deref();
    assert_eq!(detail, Some("untrusted-web (from another session)"));
    assert_eq!(history.len(), 1);
}

#[tokio::test]
async fn what_was_taken_off_comes_back_with_what_is_met_later_and_not_with_what_was() {
    let labels = in_store(&SCHEMAS, |tx| {
        let [alice, bob] = ["alice", "bob"].map(principal);
        let open = || sessions::create(tx, &alice, None, at("11:00:00"));
        let [cleared, reading] = [open()?, open()?];
        brought(reading, "alice").join(tx, HOUR, at("12:00:00"))?;
        brought(reading, "bob").join(tx, HOUR, at("12:00:00"))?;
        let carries = |now: &str| {
            let known = Remembered::read(tx, reading).unwrap().unwrap();
            known.carries(web().iter(), &alice, (HOUR, at(now)))
        };
        let mut seen = vec![after_a_call(tx, cleared, &alice, "12:00:10")];
        unlabel(tx, cleared, &web(), at("12:00:20"))?;
        seen.push(after_a_call(tx, cleared, &alice, "12:00:30"));
        seen.push(after_a_call(tx, cleared, &bob, "12:00:30"));
        let known = Remembered::read(tx, cleared)?.unwrap();
        assert!(known.facts(&alice, at("11:00:30")).is_some());
        // Met again within the minute, by a clock that was set back.
        assert!(!carries("11:59:00"));
        brought(reading, "alice").join(tx, HOUR, at("11:59:00"))?;
        assert!(carries("12:00:40"));
        seen.push(after_a_call(tx, cleared, &alice, "12:00:40"));
        // A second removal is one of its own.
        unlabel(tx, cleared, &web(), at("12:00:50"))?;
        seen.push(after_a_call(tx, cleared, &alice, "12:00:55"));
        Ok(seen
            .into_iter()
            .map(|labels| labels.len())
            .collect::<Vec<_>>())
    })
    .await;
    assert_eq!(labels, [1, 0, 0, 1, 0]);
}

#[tokio::test]
async fn what_a_guest_brings_sticks_to_the_owner_as_long_as_to_the_guest() {
    let labels = in_store(&SCHEMAS, |tx| {
        let [alice, bob] = ["alice", "bob"].map(principal);
        let open = |who| sessions::create(tx, who, None, at("11:00:00"));
        let [shared, own, late, reading] =
            [open(&alice)?, open(&alice)?, open(&alice)?, open(&bob)?];
        brought(reading, "bob").join(tx, HOUR, at("12:00:00"))?;
        assert!(moves_labels(tx, (shared, &bob), (HOUR, at("12:30:00")))?);
        Ok([
            after_a_call(tx, own, &alice, "12:29:00").len(),
            after_a_call(tx, shared, &bob, "12:30:00").len(),
            after_a_call(tx, own, &alice, "12:31:00").len(),
            after_a_call(tx, late, &alice, "13:01:01").len(),
        ])
    })
    .await;
    assert_eq!(labels, [0, 1, 1, 0]);
}

#[tokio::test]
async fn who_reads_takes_along_what_a_session_has_from_then_on_and_notes_it_to_the_minute() {
    let (noted, labels) = in_store(&SCHEMAS, |tx| {
        let [alice, bob] = ["alice", "bob"].map(principal);
        let open = |who, now: &str| sessions::create(tx, who, None, at(now));
        let session = open(&alice, "10:00:00")?;
        brought(session, "alice").join(tx, HOUR, at("10:00:00"))?;
        let moves = |who, now: &str| takes_along(tx, (session, who), (HOUR, at(now)));
        let read = |who, now: &str| take_along(tx, (session, who), (HOUR, at(now)));
        let mut noted = vec![moves(&alice, "10:00:59")?];
        let before = open(&alice, "12:00:00")?;
        noted.push(moves(&alice, "12:00:00")?);
        read(&alice, "12:00:00")?;
        read(&bob, "12:00:00")?;
        noted.push(moves(&alice, "12:00:59")? || moves(&bob, "12:00:59")?);
        noted.push(moves(&alice, "12:01:01")?);
        let zero = (SignedDuration::ZERO, at("15:00:00"));
        noted.push(takes_along(tx, (session, &alice), zero)?);
        let nowhere = SessionId::random();
        noted.push(takes_along(tx, (nowhere, &alice), (HOUR, at("15:00:00")))?);
        let opened = [
            before,
            open(&alice, "12:59:00")?,
            open(&bob, "12:59:00")?,
            open(&alice, "13:01:01")?,
        ];
        Ok((noted, opened.map(|id| labels_of(tx, id).len())))
    })
    .await;
    assert_eq!(noted, [false, true, false, true, false, false]);
    assert_eq!(labels, [0, 1, 1, 0]);
}

#[tokio::test]
async fn what_an_owner_reads_was_met_before_and_what_a_guest_reads_may_be_new_to_him() {
    let labels = in_store(&SCHEMAS, |tx| {
        let [alice, bob] = ["alice", "bob"].map(principal);
        let open = |who| sessions::create(tx, who, None, at("10:00:00"));
        let [session, cleared, guests] = [open(&alice)?, open(&alice)?, open(&bob)?];
        brought(session, "alice").join(tx, HOUR, at("10:00:00"))?;
        brought(guests, "bob").join(tx, HOUR, at("10:00:00"))?;
        after_a_call(tx, cleared, &alice, "10:00:10");
        unlabel(tx, cleared, &web(), at("10:00:20"))?;
        unlabel(tx, guests, &web(), at("10:00:20"))?;
        for who in [&alice, &bob] {
            take_along(tx, (session, who), (HOUR, at("12:00:00")))?;
        }
        let new = sessions::create(tx, &alice, None, at("12:00:00"))?;
        Ok([
            after_a_call(tx, cleared, &alice, "12:00:10").len(),
            labels_of(tx, new).len(),
            after_a_call(tx, guests, &bob, "12:00:10").len(),
        ])
    })
    .await;
    assert_eq!(labels, [0, 1, 1]);
}

#[tokio::test]
async fn an_operators_word_is_noted_and_said_once() {
    let (said, notes) = in_store(&SCHEMAS, |tx| {
        let id = sessions::create(tx, &principal("alice"), None, at("12:00:00"))?;
        let now = at("12:00:00");
        let said = [
            label(tx, id, &web(), HOUR, now)?,
            label(tx, id, &web(), HOUR, now)?,
            unlabel(tx, id, &web(), now)?,
            unlabel(tx, id, &web(), now)?,
        ];
        let notes = sessions::history(tx, id, 10)?.into_iter();
        let notes = notes.map(|change| {
            let detail = change.detail.unwrap_or_default();
            format!("{} {detail} {}", change.what.as_str(), change.by)
        });
        Ok((said, notes.collect::<Vec<_>>()))
    })
    .await;
    assert_eq!(said, [true, false, true, false]);
    let expected = [
        "labelled untrusted-web operator",
        "unlabelled untrusted-web operator",
    ];
    assert_eq!(notes, expected);
}

#[tokio::test]
async fn what_was_met_before_a_removal_comes_back_to_no_session_by_being_given_again() {
    let found = in_store(&SCHEMAS, |tx| {
        let alice = principal("alice");
        let open = || sessions::create(tx, &alice, None, at("12:00:00"));
        let (one, other) = (open()?, open()?);
        let mut found = Vec::new();
        for id in [one, other] {
            brought(id, "alice").join(tx, HOUR, at("12:00:00"))?;
        }
        unlabel(tx, one, &web(), at("12:01:00"))?;
        for id in [one, other] {
            brought(id, "alice").join_again(tx, HOUR, at("13:30:00"))?;
            found.push(after_a_call(tx, one, &alice, "13:30:00").len());
        }
        // It was read then, so it sticks from then on.
        let next = sessions::create(tx, &alice, None, at("14:20:00"))?;
        found.push(labels_of(tx, next).len());
        // What is met anew is another matter, and so is what was never met here.
        brought(other, "alice").join(tx, HOUR, at("14:20:00"))?;
        brought(one, "alice").join_again(tx, HOUR, at("14:20:00"))?;
        found.push(labels_of(tx, one).len());
        let empty = sessions::create(tx, &principal("bob"), None, at("12:00:00"))?;
        brought(empty, "bob").join_again(tx, HOUR, at("12:00:00"))?;
        found.push(labels_of(tx, empty).len());
        Ok(found)
    })
    .await;
    assert_eq!(found, [0, 0, 1, 1, 1]);
}

#[tokio::test]
async fn it_does_not_come_back_where_nothing_sticks_either() {
    let labels = in_store(&SCHEMAS, |tx| {
        let alice = principal("alice");
        let id = sessions::create(tx, &alice, None, at("12:00:00"))?;
        brought(id, "alice").join(tx, SignedDuration::ZERO, at("12:00:00"))?;
        unlabel(tx, id, &web(), at("12:01:00"))?;
        brought(id, "alice").join_again(tx, SignedDuration::ZERO, at("12:02:00"))?;
        Ok(labels_of(tx, id))
    })
    .await;
    assert_eq!(labels, [""; 0]);
}
