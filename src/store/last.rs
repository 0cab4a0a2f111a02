//! What became of what was written last, for whoever asks whether a store can be written.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// Told by the one who writes.
#[derive(Debug, Default)]
pub(super) struct Last {
    full: AtomicBool,
    failed: AtomicBool,
}

impl Last {
    /// Whether there was no room for it, or is none for what begins.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Whether it could not be written, for whatever reason.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Returns what it was before.
    pub(super) fn set_full(&self, full: bool) -> bool {
        self.full.swap(full, Ordering::Relaxed)
    }

    /// Returns what it was before.
    pub(super) fn set_failed(&self, failed: bool) -> bool {
        self.failed.swap(failed, Ordering::Relaxed)
    }
}
