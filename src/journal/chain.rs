//! The hash of a record: over the one before it and over every column.

use super::Row;
use crate::store::WriterId;
use crate::tool::Digest;

/// The hash of one record. `before` is the hash of the writer's record before
/// it, all zeros for its first one. Each part has its length before it, and an
/// absent one is told from an empty one.
pub(super) fn hash(before: &Digest, writer: WriterId, seq: i64, row: &Row) -> Digest {
    let number = writer.number().to_le_bytes();
    let seq = seq.to_le_bytes();
    let at = row.at.as_millisecond().to_le_bytes();
    let present = |part: Option<&[u8]>| -> Vec<u8> {
        match part {
            Some(part) => [b"+", part].concat(),
            None => b"-".to_vec(),
        }
    };
    let session = present(row.session.as_ref().map(|id| id.as_bytes().as_slice()));
    let principal = present(row.principal.as_deref().map(str::as_bytes));
    let tool = present(row.tool.as_deref().map(str::as_bytes));
    let digest = present(row.digest.as_ref().map(|d| d.as_bytes().as_slice()));
    let policies = present(row.policies.as_ref().map(|d| d.as_bytes().as_slice()));
    let outcome = present(row.outcome.map(|outcome| outcome.as_str().as_bytes()));
    Digest::of_parts([
        before.as_bytes().as_slice(),
        &number,
        &seq,
        row.kind.as_str().as_bytes(),
        row.call.as_bytes(),
        &at,
        &session,
        &principal,
        &tool,
        &digest,
        &policies,
        &outcome,
        row.detail.as_bytes(),
    ])
}

/// What stands before a writer's first record.
pub(super) const BEGINNING: [u8; 32] = [0; 32];
