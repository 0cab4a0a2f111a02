//! The house rules that a program can hold: the order of the rooms, the fences
//! of the foreign crates, the shape of a file, who makes the proofs that a call
//! needs, and that the program knows no fixture.
//!
//! Each rule is a function from source text to complaints. So each is also shown
//! a bad source and must complain.

mod crash;
mod fences;
mod fixture;
mod order;
mod proofs;
mod sends;
mod shape;
mod source;

/// Fails with all complaints at once, one per line.
#[track_caller]
fn none_of(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Fails unless there is one complaint, and it says `expected`.
#[track_caller]
fn only(complaints: &[String], expected: &str) {
    assert!(
        complaints.len() == 1 && complaints[0].contains(expected),
        "expected one complaint about {expected:?}, got {complaints:#?}"
    );
}
