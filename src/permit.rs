//! The right to send one call, made where it was decided and recorded.

use crate::tool::CallId;

/// Lets exactly one call go to a server: it cannot be copied, and it is
/// consumed by the one send.
#[derive(Debug)]
pub struct Permit {
    call: CallId,
}

impl Permit {
    /// The call that may be sent.
    pub fn call(&self) -> CallId {
        self.call
    }

    #[cfg(test)]
    pub(crate) fn for_test(call: CallId) -> Self {
        Self { call }
    }
}
