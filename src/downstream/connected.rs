//! Which connection something was said on, and which client it is for.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// One connection to a server: a process, or a transport session. What a server named
/// on one means nothing on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// One that no other connection of this process has.
    pub(super) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Some, for the tests of later rooms.
    #[cfg(test)]
    pub(crate) fn several<const MANY: usize>() -> [Self; MANY] {
        std::array::from_fn(|_| Self::next())
    }
}

/// One client, of one connection to us. What a server says later of what it asked of
/// one is for no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(u64);

impl ClientId {
    /// One that no other client of this process has.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}
