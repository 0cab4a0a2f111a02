use super::*;
use crate::store::testing::in_store;

const SCHEMAS: [&str; 7] = [
    SCHEMA, SCHEMA_7, SCHEMA_11, SCHEMA_13, SCHEMA_17, SCHEMA_22, SCHEMA_27,
];

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_handle_is_one_session_for_its_owner_and_none_for_others() {
    let alice = PrincipalId::parse("alice").unwrap();
    let bob = PrincipalId::parse("bob").unwrap();
    let handle: Handle = "claim-99".parse().unwrap();
    let now = at("2026-11-22T12:00:00Z");
    let (made, alices, bobs) = in_store(&SCHEMAS, move |tx| {
        let made = create(tx, &alice, Some(&handle), now)?;
        Ok((made, find(tx, &alice, &handle)?, find(tx, &bob, &handle)?))
    })
    .await;
    assert_eq!(alices, Some(made));
    assert_eq!(bobs, None);
}

#[tokio::test]
async fn the_default_session_is_replaced_after_it_was_idle() {
    let alice = PrincipalId::parse("alice").unwrap();
    let idle = SignedDuration::from_hours(8);
    let (first, same, after, still, new) = in_store(&SCHEMAS, move |tx| {
        let first = default_of(tx, &alice, idle, at("2026-11-22T00:00:00Z"))?;
        let same = default_of(tx, &alice, idle, at("2026-11-22T07:00:00Z"))?;
        let used = state(tx, first)?.unwrap();
        assert_eq!(used.used, at("2026-11-22T07:00:00Z"));
        touch(tx, &used, at("2026-11-22T07:30:00Z"))?;
        let still = default_of(tx, &alice, idle, at("2026-11-22T15:30:00Z"))?;
        let new = default_of(tx, &alice, idle, at("2026-11-22T23:30:01Z"))?;
        end(
            tx,
            new,
            Why::Ended,
            (By::Operator, at("2026-11-22T23:30:02Z")),
        )?;
        let after = default_of(tx, &alice, idle, at("2026-11-22T23:30:03Z"))?;
        Ok((first, same, after, still, new))
    })
    .await;
    assert_ne!(after, new);
    assert_eq!([same, still], [first, first]);
    assert_ne!(new, first);
}

#[tokio::test]
async fn a_session_says_what_it_is_until_it_is_over_and_keeps_its_history() {
    let alice = PrincipalId::parse("alice").unwrap();
    let now = at("2026-11-22T12:00:00Z");
    let by = (By::Operator, now);
    let (states, late, changes) = in_store(&SCHEMAS, move |tx| {
        let id = create(tx, &alice, None, now)?;
        let state = || Ok(state(tx, id)?.unwrap());
        let mut states = vec![state()?];
        freeze(tx, id, Frozen::Yes, by)?;
        states.push(state()?);
        freeze(tx, id, Frozen::No, by)?;
        pause(tx, id, Some("the doctor"), (By::Principal(&alice), now))?;
        states.push(state()?);
        let twice = freeze(tx, id, Frozen::No, by)?;
        resume(tx, id, (By::Event("e1"), now))?;
        end(tx, id, Why::Ended, by)?;
        states.push(state()?);
        let late = [
            twice,
            pause(tx, id, None, by)?,
            resume(tx, id, by)?,
            end(tx, id, Why::Ended, by)?,
            freeze(tx, SessionId::from_bytes([0; 16]), Frozen::Yes, by)?,
        ];
        Ok((states, late, history(tx, id, 10)?))
    })
    .await;
    let seen = states.iter().map(|state| {
        let facts = &state.facts;
        (facts.frozen, facts.paused, state.ended.is_some())
    });
    let (no, yes) = (false, true);
    assert_eq!(
        seen.collect::<Vec<_>>(),
        [(no, no, no), (yes, no, no), (no, yes, no), (no, no, yes)]
    );
    assert_eq!(late, [false; 5]);
    let told = changes.iter().map(|change| {
        let detail = change.detail.as_deref().unwrap_or("");
        format!("{} {detail} by {}", change.what.as_str(), change.by)
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            "frozen  by operator",
            "thawed  by operator",
            "paused the doctor by principal:alice",
            "resumed  by event:e1",
            "ended  by operator",
        ]
    );
}

#[tokio::test]
async fn what_nobody_used_expires_and_what_is_used_does_not() {
    let alice = PrincipalId::parse("alice").unwrap();
    let (count, old, new) = in_store(&SCHEMAS, move |tx| {
        let old = create(tx, &alice, None, at("2026-11-01T00:00:00Z"))?;
        let new = create(tx, &alice, None, at("2026-11-20T00:00:00Z"))?;
        let since = at("2026-11-10T00:00:00Z");
        let count = expire(tx, since, 10, at("2026-11-22T00:00:00Z"))?;
        let why = |id| {
            Ok(state(tx, id)?
                .and_then(|state| state.ended)
                .map(|end| end.why))
        };
        Ok((count, why(old)?, why(new)?))
    })
    .await;
    assert_eq!((count, old, new), (1, Some(Why::Expired), None));
}
