//! What an escalation fits, and how it ends.

use super::*;
use crate::store::testing::in_store;
use crate::tool::Digest;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn subject(session: u8, who: &str, tool: &str, arguments: &str) -> Subject {
    Subject {
        call: CallId::next(),
        session: SessionId::from_bytes([session; 16]),
        principal: PrincipalId::parse(who).unwrap(),
        tool: tool.to_owned(),
        arguments: Digest::of(arguments.as_bytes()),
        policies: Digest::of(b""),
        found: None,
    }
}

fn asked(tx: &Tx<'_>, subject: &Subject, now: Timestamp) -> Result<Opened, StoreError> {
    let request = Request {
        subject,
        definition: Digest::of(b"definition"),
        body: r#"{"amount":50000}"#,
        roles: &["Manager".to_owned()],
        stops: &[Stop {
            policy: "claims.limit".to_owned(),
            code: "limit".to_owned(),
            message: Some("Limit Exceeded.".to_owned()),
        }],
        expires: now + SignedDuration::from_hours(1),
    };
    open(tx, &request, now)
}

fn opened(tx: &Tx<'_>, subject: &Subject, now: Timestamp) -> Result<EscalationId, StoreError> {
    match asked(tx, subject, now)? {
        Opened::New(id) => Ok(id),
        Opened::TooMany => panic!("there is room"),
    }
}

fn decision(now: Timestamp) -> Decision {
    Decision {
        by: PrincipalId::parse("mia").unwrap(),
        at: now,
        reason: Some("seen".to_owned()),
    }
}

const NOON: &str = "2026-11-29T12:00:00Z";

#[tokio::test]
async fn a_request_fits_one_principal_session_tool_and_arguments() {
    let fits = in_store(&[SCHEMA], |tx| {
        let now = at(NOON);
        opened(tx, &subject(1, "alice", "claims/pay", "{}"), now)?;
        let mut fits = Vec::new();
        for other in [
            subject(1, "alice", "claims/pay", "{}"),
            subject(2, "alice", "claims/pay", "{}"),
            subject(1, "bob", "claims/pay", "{}"),
            subject(1, "alice", "claims/close", "{}"),
            subject(1, "alice", "claims/pay", "{\"a\":1}"),
        ] {
            fits.push(standing(tx, &other, now)?.is_some());
        }
        Ok(fits)
    })
    .await;
    assert_eq!(fits, [true, false, false, false, false]);
}

#[tokio::test]
async fn an_approval_is_used_once_and_in_time() {
    let used = in_store(&[SCHEMA], |tx| {
        let now = at(NOON);
        let call = CallId::next();
        let first = opened(tx, &subject(1, "alice", "claims/pay", "{}"), now)?;
        let mut used = vec![consume(tx, first, call, now)?];
        used.push(decide(tx, first, (Approve::Yes, &decision(now)))?);
        used.push(decide(tx, first, (Approve::No, &decision(now)))?);
        used.push(consume(tx, first, call, now)?);
        used.push(consume(tx, first, call, now)?);
        used.push(used_by(tx, call)?.is_some_and(|found| found.state == State::Used));
        let late = opened(tx, &subject(2, "alice", "claims/pay", "{}"), now)?;
        used.push(decide(tx, late, (Approve::Yes, &decision(now)))?);
        used.push(consume(tx, late, call, at("2026-11-29T13:00:00Z"))?);
        Ok(used)
    })
    .await;
    assert_eq!(used, [false, true, false, true, false, true, true, false]);
}

#[tokio::test]
async fn what_is_over_stays_over_when_the_clock_is_set_back() {
    let (late, back, again) = in_store(&[SCHEMA], |tx| {
        let now = at(NOON);
        let what = subject(1, "alice", "claims/pay", "{}");
        let id = opened(tx, &what, now)?;
        let late = standing(tx, &what, at("2026-11-29T14:00:00Z"))?.is_some();
        let back = standing(tx, &what, now)?.is_some();
        let again = opened(tx, &what, now)? != id;
        Ok((late, back, again))
    })
    .await;
    assert_eq!((late, back, again), (false, false, true));
}

#[tokio::test]
async fn a_refusal_stands_until_its_time_is_over() {
    let states = in_store(&[SCHEMA], |tx| {
        let now = at(NOON);
        let what = subject(1, "alice", "claims/pay", "{}");
        let id = opened(tx, &what, now)?;
        decide(tx, id, (Approve::No, &decision(now)))?;
        let mut states = Vec::new();
        for moment in [NOON, "2026-11-29T12:59:59Z", "2026-11-29T13:00:00Z"] {
            states.push(standing(tx, &what, at(moment))?.map(|found| found.state));
        }
        Ok(states)
    })
    .await;
    assert_eq!(states, [Some(State::Refused), Some(State::Refused), None]);
}

#[tokio::test]
async fn one_principal_has_so_many_waiting_and_what_is_old_expires() {
    let (full, other, expired, room) = in_store(&[SCHEMA], |tx| {
        let now = at(NOON);
        for number in 0..MAX_PENDING {
            opened(
                tx,
                &subject(1, "alice", "claims/pay", &number.to_string()),
                now,
            )?;
        }
        let full = asked(tx, &subject(1, "alice", "claims/pay", "{}"), now)?;
        let other = asked(tx, &subject(1, "bob", "claims/pay", "{}"), now)?;
        let later = at("2026-11-29T13:00:00Z");
        let expired = expire(tx, 1_000, later)?;
        let room = asked(tx, &subject(1, "alice", "claims/pay", "{}"), later)?;
        Ok((full, other, expired, room))
    })
    .await;
    assert_eq!(full, Opened::TooMany);
    assert!(matches!(other, Opened::New(_)));
    assert_eq!(expired, 101);
    assert!(matches!(room, Opened::New(_)));
}

#[tokio::test]
async fn what_was_asked_is_read_back_and_its_arguments_are_forgotten_at_the_end() {
    let (found, later) = in_store(&[SCHEMA], |tx| {
        let now = at(NOON);
        let what = subject(1, "alice", "claims/pay", "{}");
        let id = opened(tx, &what, now)?;
        tried_again(tx, id)?;
        let found = find(tx, id)?;
        withdraw(tx, id, now)?;
        Ok((found.unwrap(), find(tx, id)?.unwrap()))
    })
    .await;
    assert_eq!(found.tries, 2);
    assert_eq!(found.state, State::Pending);
    assert_eq!(later.state, State::Withdrawn);
    assert_eq!(found.roles, ["Manager"]);
    assert_eq!(found.stops[0].policy, "claims.limit");
    assert_eq!(found.body.as_deref(), Some(r#"{"amount":50000}"#));
    assert_eq!(later.body, None);
}

/// They are shown again where the call was not sent, and only within the hour.
#[tokio::test]
async fn what_is_given_back_has_its_arguments_again_for_as_long_as_a_call_may_take() {
    let bodies = in_store(&[SCHEMA, SCHEMA_24], |tx| {
        let now = at(NOON);
        let what = subject(1, "alice", "claims/pay", "{}");
        let id = opened(tx, &what, now)?;
        decide(tx, id, (Approve::Yes, &decision(now)))?;
        let mut bodies = Vec::new();
        for minutes in [59, 61] {
            let call = CallId::next();
            assert!(consume(tx, id, call, now)?);
            bodies.push(find(tx, id)?.unwrap().body.is_some());
            expire(tx, 10, now + SignedDuration::from_mins(minutes))?;
            assert!(give_back(tx, call)?);
            bodies.push(find(tx, id)?.unwrap().body.is_some());
        }
        Ok(bodies)
    })
    .await;
    assert_eq!(bodies, [false, true, false, false]);
}

/// What was asked while the clock was ahead hides nothing that was asked after.
#[tokio::test]
async fn what_is_live_is_found_whatever_ended_with_a_later_time() {
    let (found, used) = in_store(&[SCHEMA], |tx| {
        let now = at(NOON);
        let what = subject(1, "alice", "claims/pay", "{}");
        let ahead = opened(tx, &what, at("2026-11-29T18:00:00Z"))?;
        withdraw(tx, ahead, now)?;
        let id = opened(tx, &what, now)?;
        let found = standing(tx, &what, now)?.map(|found| found.id == id);
        decide(tx, id, (Approve::Yes, &decision(now)))?;
        Ok((found, consume(tx, id, CallId::next(), now)?))
    })
    .await;
    assert_eq!((found, used), (Some(true), true));
}

#[tokio::test]
async fn a_refusal_counts_in_each_session_of_its_caller_and_asking_has_an_end() {
    let (elsewhere, others, end) = in_store(&[SCHEMA], |tx| {
        let now = at(NOON);
        let id = opened(tx, &subject(1, "alice", "claims/pay", "{}"), now)?;
        decide(tx, id, (Approve::No, &decision(now)))?;
        let elsewhere = standing(tx, &subject(2, "alice", "claims/pay", "{}"), now)?;
        let others = standing(tx, &subject(1, "bob", "claims/pay", "{}"), now)?;
        let again = subject(1, "alice", "claims/pay", "[]");
        let mut asks = 1;
        while let Opened::New(id) = asked(tx, &again, now)? {
            withdraw(tx, id, now)?;
            asks += 1;
            assert!(asks <= 1_000);
        }
        Ok((elsewhere.map(|found| found.state), others, asks))
    })
    .await;
    assert_eq!((elsewhere, others), (Some(State::Refused), None));
    assert_eq!(end, 200);
}

#[tokio::test]
async fn each_change_is_told_once_whatever_made_it() {
    let told = in_store(&[SCHEMA, SCHEMA_19], |tx| {
        let now = at(NOON);
        let first = opened(tx, &subject(1, "alice", "claims/pay", "{}"), now)?;
        let second = opened(tx, &subject(2, "alice", "claims/pay", "{}"), now)?;
        tried_again(tx, first)?;
        decide(tx, first, (Approve::Yes, &decision(now)))?;
        assert!(changed(tx)?);
        let mut told = take_changes(tx, 2)?;
        consume(tx, first, CallId::next(), now)?;
        expire(tx, 10, now + SignedDuration::from_hours(2))?;
        told.extend(take_changes(tx, 10)?);
        assert!(!changed(tx)? && take_changes(tx, 10)?.is_empty());
        let told = told.into_iter();
        Ok(told
            .map(|change| (change.id == second, change.state))
            .collect::<Vec<_>>())
    })
    .await;
    assert_eq!(
        told,
        [
            (false, State::Pending),
            (true, State::Pending),
            (false, State::Approved),
            (false, State::Used),
            (true, State::Expired),
        ]
    );
}
