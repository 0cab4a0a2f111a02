//! What is done about calls whose writer died in the middle of them.

use super::Closing;
use super::Effect;
use super::append_close;
use super::fold;
use super::table;
use super::unread;
use super::unsettled;
use crate::outcome::Outcome;
use crate::store::Spool;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::Writer;
use crate::store::WriterId;
use crate::tool::CallId;
use jiff::Timestamp;

/// Takes in what a dead writer left in its spool, closes what it left open as
/// [`Outcome::Unknown`], and notes each call that may have had an effect, so that
/// the next identical one is told. Returns how many were open.
///
/// # Errors
///
/// When it cannot be written.
pub fn recover(
    tx: &Tx<'_>,
    writer: WriterId,
    dead: WriterId,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let buried = Writer::bury(tx, dead, now)?;
    if dead != writer {
        // One that was taken for dead while it lived may have left something
        // after it was buried.
        let came_late = Spool::replay(tx, dead, fold)? > 0;
        if !buried && !came_late {
            return Ok(0);
        }
        unsettled::untell(tx, dead)?;
    } else if !buried {
        return Ok(0);
    }
    if dead != writer {
        unread::recover(tx, dead, now)?;
    }
    let left_open = table::in_flight_of(tx, dead)?;
    for left in &left_open {
        table::in_flight_take(tx, left.call)?;
        if left.effect == Effect::Possible {
            unsettled::note(tx, left.call, None)?;
        }
        let closing = Closing {
            call: left.call,
            outcome: Outcome::Unknown,
            result: None,
            kept: None,
            detail: serde_json::json!({ "writer_ended": dead.number() }),
            goes_on: false,
        };
        append_close(tx, writer, &closing, now)?;
    }
    Ok(left_open.len())
}

/// Whether a call is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flight {
    /// It is, and its writer lives.
    Living,
    /// It was when its writer died.
    Orphan,
    /// It has ended.
    Over,
}

/// Whether a call is in flight, as this writer sees it.
///
/// # Errors
///
/// When the store cannot be read.
pub fn in_flight_with(tx: &Tx<'_>, call: CallId, own: WriterId) -> Result<Flight, StoreError> {
    let Some(writer) = table::in_flight_writer(tx, call)? else {
        return Ok(Flight::Over);
    };
    let dead = Writer::unrecovered(tx, own)?;
    Ok(match dead.contains(&writer) {
        true => Flight::Orphan,
        false => Flight::Living,
    })
}

/// Closes what dead writers left open, as [`recover`] does.
///
/// # Errors
///
/// When it cannot be written.
pub fn recover_dead(tx: &Tx<'_>, writer: WriterId, now: Timestamp) -> Result<(), StoreError> {
    for dead in Writer::unrecovered(tx, writer)? {
        recover(tx, writer, dead, now)?;
    }
    Ok(())
}
