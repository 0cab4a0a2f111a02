//! Tests of the whole room.

mod advice;
mod build;
mod confirmation;
mod equivalence;
mod escalation;
mod fail_closed;
mod messages;
mod meters;
mod slips;
mod told;
mod unmatched;
mod world;
