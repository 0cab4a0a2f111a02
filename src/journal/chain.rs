//! The hash of a record: over the one before it and over the digest of every
//! column, so that a chain can be followed where a record itself is not shown.

use super::Row;
use crate::store::WriterId;
use crate::tool::Digest;

/// The hash of one record. `before` is the hash of the writer's record before
/// it, all zeros for its first one; `content` is what [`content`] says of it.
pub(super) fn hash(before: &Digest, writer: WriterId, seq: i64, content: &Digest) -> Digest {
    Digest::of_parts([
        before.as_bytes().as_slice(),
        &writer.number().to_le_bytes(),
        &seq.to_le_bytes(),
        content.as_bytes(),
    ])
}

/// The digest of what a record says. Each part has its length before it, and an
/// absent one is told from an empty one. Nobody can guess a record from it: the id
/// of its call has more chance in it than can be tried.
pub(super) fn content(row: &Row) -> Digest {
    let mut text = Text(Vec::with_capacity(512));
    text.part(&[row.kind.as_str().as_bytes()]);
    text.part(&[row.call.as_bytes()]);
    text.part(&[&row.at.as_millisecond().to_le_bytes()]);
    text.optional(row.session.as_ref().map(|id| id.as_bytes().as_slice()));
    text.optional(row.principal.as_deref().map(str::as_bytes));
    text.optional(row.tool.as_deref().map(str::as_bytes));
    text.optional(row.digest.as_ref().map(|d| d.as_bytes().as_slice()));
    text.optional(row.policies.as_ref().map(|d| d.as_bytes().as_slice()));
    text.optional(row.outcome.map(|outcome| outcome.as_str().as_bytes()));
    text.part(&[row.detail.as_bytes()]);
    Digest::of(&text.0)
}

/// What is hashed, in one piece: many small ones cost more than their bytes.
struct Text(Vec<u8>);

impl Text {
    /// A part, made of pieces.
    fn part(&mut self, pieces: &[&[u8]]) {
        let long: usize = pieces.iter().map(|piece| piece.len()).sum();
        self.0.extend_from_slice(&(long as u64).to_le_bytes());
        for piece in pieces {
            self.0.extend_from_slice(piece);
        }
    }

    fn optional(&mut self, part: Option<&[u8]>) {
        match part {
            Some(part) => self.part(&[b"+", part]),
            None => self.part(&[b"-"]),
        }
    }
}

/// What stands before a writer's first record.
pub(super) const BEGINNING: [u8; 32] = [0; 32];
