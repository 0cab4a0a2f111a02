//! The receipts of one connection, from when the last of an answer is handed on until
//! it has left us.

use crate::broker::Receipt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// Who waits for what was handed on and not flushed yet. With the connection they go
/// too, and what they wait for counts as never read.
#[derive(Clone, Default)]
pub(super) struct Unflushed(Arc<Mutex<Vec<Receipt>>>);

impl Unflushed {
    /// The last of what this receipt is for was handed on to be written.
    pub(super) fn add(&self, receipt: Receipt) {
        // Most answers are waited for by nobody.
        if receipt.is_awaited() {
            receipt.hand_on();
            self.locked().push(receipt);
        }
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.locked().is_empty()
    }

    /// All that was handed on has left us.
    pub(super) fn all_read(&self) {
        self.locked().drain(..).for_each(Receipt::read);
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Receipt>> {
        // Nothing waits under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
