//! Tests of the totals of metered arguments.

use super::*;
use crate::store::testing::in_store;

fn charges(value: i64) -> Charges {
    Charges::new(
        SessionId::from_bytes([7; 16]),
        PrincipalId::parse("alice").unwrap(),
        jiff::civil::date(2026, 11, 22),
        [(Arc::from("claims/approve_payment#amount"), value)],
    )
}

#[tokio::test]
async fn totals_include_the_call_itself_and_a_refund_takes_it_out() {
    let after = in_store(&[SCHEMA], |tx| {
        charges(900).add(tx)?;
        charges(100).add(tx)?;
        charges(100).refund(tx)?;
        charges(50).totals_after(tx)
    })
    .await
    .unwrap();
    assert_eq!(
        after.totals,
        [Totals {
            session_after: 950,
            day_after: 950
        }]
    );
}

#[tokio::test]
async fn a_negative_amount_lowers_no_total() {
    let after = in_store(&[SCHEMA], |tx| {
        charges(900).add(tx)?;
        charges(-900).add(tx)?;
        charges(-900).totals_after(tx)
    })
    .await
    .unwrap();
    assert_eq!(after.totals[0].session_after, 900);
}

#[tokio::test]
async fn what_is_held_is_for_the_same_amounts_and_once() {
    let call = CallId::from_bytes([1; 16]);
    let (before, held, other, after) = in_store(&[SCHEMA, SCHEMA_5, SCHEMA_9], move |tx| {
        let before = charges(900).held_since(tx, call)?;
        charges(900).hold(tx, call)?;
        let held = charges(900).held_since(tx, call)?.unwrap();
        let other = charges(901).held_since(tx, call)?;
        charges(900).take_over(tx, &held)?;
        Ok((before, held, other, charges(900).held_since(tx, call)?))
    })
    .await;
    let day = jiff::civil::date(2026, 11, 22);
    assert_eq!((before, other, after), (None, None, None));
    assert_eq!((held.call(), held.day), (call, Some(day)));
}

#[tokio::test]
async fn a_total_that_does_not_fit_is_refused() {
    let after = in_store(&[SCHEMA], |tx| {
        charges(i64::MAX).add(tx)?;
        charges(1).totals_after(tx)
    })
    .await;
    assert!(after.is_err());
}

#[tokio::test]
async fn a_clock_that_is_set_back_reopens_no_day() {
    let days = in_store(&[SCHEMA], |tx| {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        Ok([
            today(tx, at("2026-11-22T22:59:59Z"), &zone)?,
            today(tx, at("2026-11-22T23:00:00Z"), &zone)?,
            today(tx, at("2026-11-21T12:00:00Z"), &zone)?,
        ])
    })
    .await;
    let day = |day| jiff::civil::date(2026, 11, day);
    assert_eq!(days, [day(22), day(23), day(23)]);
}
