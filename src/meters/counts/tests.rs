use super::*;
use crate::meters::Charges;
use crate::meters::SCHEMA;
use crate::meters::SCHEMA_5;
use crate::meters::SCHEMA_9;
use crate::meters::Shown;
use crate::meters::all;
use crate::store::testing::in_store;
use jiff::SignedDuration;

const SCHEMAS: [&str; 3] = [SCHEMA, SCHEMA_5, SCHEMA_9];

fn meter(per: Per, window: Window) -> Arc<Meter> {
    Arc::new(Meter {
        name: "m".into(),
        tools: Vec::new(),
        sum: None,
        per,
        window,
    })
}

fn hour() -> Arc<Meter> {
    meter(Per::Role, Window::Sliding(SignedDuration::from_hours(1)))
}

fn berlin() -> TimeZone {
    TimeZone::get("Europe/Berlin").unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The charges of one call of alice's at an instant.
fn charges(
    tx: &Tx<'_>,
    meter: &Arc<Meter>,
    (value, now): (i64, Timestamp),
) -> Result<Charges, StoreError> {
    let (session, principal) = (
        SessionId::from_bytes([7; 16]),
        PrincipalId::parse("alice").unwrap(),
    );
    let tool = ToolId {
        server: "claims".parse().unwrap(),
        name: "pay".into(),
    };
    let caller = Caller {
        session,
        principal: &principal,
        role: "Junior",
        tool: &tool,
    };
    let moment = Moment::of(tx, now, &berlin())?;
    let count = Count::new(meter, value, caller, moment);
    Ok(Charges::none(session, principal.clone()).with(vec![count]))
}

/// The total with a call at that instant, which is then charged.
fn counted(tx: &Tx<'_>, meter: &Arc<Meter>, call: (i64, Timestamp)) -> Result<i64, StoreError> {
    let charges = charges(tx, meter, call)?;
    let after = charges.totals_after(tx)?.unwrap().counts;
    charges.add(tx)?;
    Ok(after[0])
}

#[tokio::test]
async fn an_entry_counts_to_the_edge_of_its_window_and_not_much_longer() {
    let totals = in_store(&SCHEMAS, |tx| {
        let hour = hour();
        let mut totals = Vec::new();
        for instant in [
            "2026-11-22T12:00:00Z",
            // Exactly an hour later both stand in one hour.
            "2026-11-22T13:00:00Z",
            "2026-11-22T13:01:00Z",
            "2026-11-22T14:02:00Z",
        ] {
            totals.push(counted(tx, &hour, (1, at(instant)))?);
        }
        Ok(totals)
    })
    .await;
    assert_eq!(totals, [1, 2, 2, 1]);
}

#[tokio::test]
async fn a_clock_that_is_set_back_reopens_no_window() {
    let totals = in_store(&SCHEMAS, |tx| {
        let mut totals = Vec::new();
        for meter in [hour(), meter(Per::Tool, Window::Day)] {
            for instant in [
                "2026-11-22T12:00:00Z",
                "2026-11-21T03:00:00Z",
                "2026-11-22T12:30:00Z",
            ] {
                totals.push(counted(tx, &meter, (1, at(instant)))?);
            }
        }
        Ok(totals)
    })
    .await;
    assert_eq!(totals, [1, 2, 3, 1, 2, 3]);
}

#[tokio::test]
async fn a_day_is_as_long_as_the_zone_makes_it() {
    let totals = in_store(&SCHEMAS, |tx| {
        let day = meter(Per::Principal, Window::Day);
        let mut totals = Vec::new();
        for instant in [
            // The day on which summer time ends has 25 hours in Berlin.
            "2026-10-24T21:59:59Z",
            "2026-10-24T22:00:00Z",
            "2026-10-25T22:59:59Z",
            "2026-10-25T23:00:00Z",
        ] {
            totals.push(counted(tx, &day, (1, at(instant)))?);
        }
        Ok(totals)
    })
    .await;
    assert_eq!(totals, [1, 1, 2, 1]);
}

#[tokio::test]
async fn each_scope_has_a_total_of_its_own() {
    let shown = in_store(&SCHEMAS, |tx| {
        let noon = at("2026-11-22T12:00:00Z");
        let pers = [Per::Session, Per::Principal, Per::Role, Per::Tool];
        let mut meters = Vec::new();
        for per in pers {
            let meter = meter(per, Window::Always);
            counted(tx, &meter, (1, noon))?;
            meters.push(meter);
        }
        all(tx, &meters, (noon, &berlin()))
    })
    .await;
    let shown: Vec<(Per, String, i64)> = shown
        .into_iter()
        .map(|Shown { per, of, total, .. }| (per, of, total))
        .collect();
    let session = SessionId::from_bytes([7; 16]).to_string();
    let one = |per, of: &str| (per, of.to_owned(), 1);
    assert_eq!(
        shown,
        [
            one(Per::Session, &session),
            one(Per::Principal, "alice"),
            one(Per::Role, "Junior"),
            one(Per::Tool, "claims/pay"),
        ]
    );
}

#[tokio::test]
async fn a_refund_hits_where_it_was_charged_and_opens_no_row_that_is_gone() {
    let totals = in_store(&SCHEMAS, |tx| {
        let hour = hour();
        let first = charges(tx, &hour, (5, at("2026-11-22T12:00:00Z")))?;
        first.add(tx)?;
        counted(tx, &hour, (1, at("2026-11-22T12:30:00Z")))?;
        first.refund(tx)?;
        let later = at("2026-11-22T12:31:00Z");
        let after = charges(tx, &hour, (0, later))?.totals_after(tx)?.unwrap();
        let gone = charges(tx, &hour, (5, later))?;
        gone.add(tx)?;
        let day_after = counted(tx, &hour, (1, at("2026-11-23T12:00:00Z")))?;
        gone.refund(tx)?;
        let end = charges(tx, &hour, (0, at("2026-11-23T12:00:01Z")))?;
        let end = end.totals_after(tx)?.unwrap();
        Ok([after.counts[0], day_after, end.counts[0]])
    })
    .await;
    assert_eq!(totals, [1, 1, 1]);
}

#[tokio::test]
async fn what_is_carried_counts_once_and_when_it_takes_effect() {
    let call = CallId::from_bytes([1; 16]);
    let totals = in_store(&SCHEMAS, move |tx| {
        let hour = hour();
        let mut totals = Vec::new();
        let first = charges(tx, &hour, (2, at("2026-11-22T12:00:00Z")))?;
        first.add(tx)?;
        first.hold(tx, call)?;
        let other = charges(tx, &hour, (3, at("2026-11-22T12:10:00Z")))?;
        assert!(other.held_since(tx, call)?.is_none());
        // Within the hour it counts once, after it anew; it moves either way.
        for instant in ["2026-11-22T12:30:00Z", "2026-11-22T15:00:00Z"] {
            let mut next = charges(tx, &hour, (2, at(instant)))?;
            let held = next.held_since(tx, call)?.unwrap();
            totals.push(next.totals_carried(tx, &held)?.unwrap().counts[0]);
            next.take_over(tx, &held)?;
            totals.push(counted(tx, &hour, (0, at(instant)))?);
            assert!(next.held_since(tx, call)?.is_none());
            next.hold(tx, call)?;
        }
        totals.push(counted(tx, &hour, (1, at("2026-11-22T15:59:00Z")))?);
        Ok(totals)
    })
    .await;
    assert_eq!(totals, [2, 2, 2, 2, 3]);
}

#[tokio::test]
async fn what_is_handed_back_is_counted_where_it_was_before_and_for_the_same_call() {
    let call = CallId::from_bytes([1; 16]);
    let totals = in_store(&SCHEMAS, move |tx| {
        let hour = hour();
        let first = charges(tx, &hour, (2, at("2026-11-22T12:00:00Z")))?;
        first.add(tx)?;
        first.hold(tx, call)?;
        let mut totals = Vec::new();
        // The later of these comes when the first has left its window.
        for instant in ["2026-11-22T12:30:00Z", "2026-11-22T13:30:00Z"] {
            let mut next = charges(tx, &hour, (2, at(instant)))?;
            let held = next.held_since(tx, call)?.unwrap();
            let _counted_once = next.totals_carried(tx, &held)?;
            next.take_over(tx, &held)?;
            next.hand_back(tx, &held)?;
            assert_eq!(next.held_since(tx, call)?, Some(held));
            totals.push(next.totals_with(tx)?.unwrap().counts[0]);
        }
        Ok(totals)
    })
    .await;
    assert_eq!(totals, [2, 0]);
}

#[tokio::test]
async fn a_total_that_does_not_fit_is_refused() {
    let refused = in_store(&SCHEMAS, |tx| {
        let hour = hour();
        counted(tx, &hour, (i64::MAX, at("2026-11-22T12:00:00Z")))?;
        let one = charges(tx, &hour, (1, at("2026-11-22T12:30:00Z")))?;
        one.totals_after(tx)
    })
    .await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "the total of `m` would be too large to count"
    );
}

#[tokio::test]
async fn a_negative_value_lowers_no_total() {
    let totals = in_store(&SCHEMAS, |tx| {
        let noon = at("2026-11-22T12:00:00Z");
        Ok([
            counted(tx, &hour(), (5, noon))?,
            counted(tx, &hour(), (-5, noon))?,
        ])
    })
    .await;
    assert_eq!(totals, [5, 5]);
}

/// Numbers that look random and are the same in every run (xorshift64*).
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> i64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        i64::try_from(drawn % end).unwrap()
    }
}

/// A random sequence of calls under a limit: what was let through, with the instant
/// that counts (the latest that the clock ever showed), in milliseconds; and the most
/// rows there ever were.
fn let_through(
    tx: &Tx<'_>,
    (length, limit): (i64, i64),
    draw: &mut Draw,
) -> Result<(Vec<(i64, i64)>, usize), StoreError> {
    let window = Window::Sliding(SignedDuration::from_millis(length));
    let meter = meter(Per::Session, window);
    let (mut clock, mut latest, mut rows) = (1_800_000_000_000, 0, 0);
    let mut passed = Vec::new();
    for _ in 0..400 {
        // Mostly on, by up to a fifth of the window; now and then back.
        clock += match draw.below(20) {
            0 => -draw.below(u64::try_from(length * 2).unwrap()),
            1 => length,
            _ => draw.below(u64::try_from(length / 5).unwrap()),
        };
        latest = latest.max(clock);
        let now = Timestamp::from_millisecond(clock).unwrap();
        let value = draw.below(4);
        let call = charges(tx, &meter, (value, now))?;
        if call.totals_after(tx)?.unwrap().counts[0] > limit {
            continue;
        }
        call.add(tx)?;
        // What provably was not sent is given back.
        if draw.below(10) == 0 {
            call.refund(tx)?;
        } else {
            passed.push((latest, value));
        }
        rows = rows.max(table::totals(tx, call.counts[0].place(), i64::MIN)?.len());
    }
    Ok((passed, rows))
}

#[tokio::test]
async fn in_no_window_of_the_length_more_than_the_limit_passes() {
    let mut draw = Draw(42);
    for round in 0..40 {
        let (length, limit) = (1_000 + draw.below(100_000), 1 + draw.below(12));
        let seed = Draw(draw.0);
        let (passed, rows) = in_store(&SCHEMAS, move |tx| {
            let mut seed = seed;
            let_through(tx, (length, limit), &mut seed)
        })
        .await;
        for (begin, _) in &passed {
            let window = *begin..=begin + length;
            let within = passed.iter().filter(|(at, _)| window.contains(at));
            let sum: i64 = within.map(|(_, value)| value).sum();
            assert!(
                sum <= limit,
                "round {round}: {sum} of {limit} in {length} ms"
            );
        }
        let all: i64 = passed.iter().map(|(_, value)| value).sum();
        assert!(all > limit, "round {round}: nothing ever left the window");
        assert!(rows <= 62, "round {round}: {rows} rows");
    }
}
