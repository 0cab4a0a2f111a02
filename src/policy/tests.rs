//! Tests of the whole room.

mod build;
mod equivalence;
mod fail_closed;
mod world;
