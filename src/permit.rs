//! The permit: what a call must carry to leave for a tool server.

#[cfg(test)]
pub(crate) mod testing;

use crate::journal::OpenEntry;
use crate::policy::Allowed;
use crate::store::Committed;
use crate::tool::CallId;

/// Leave to send one call once. The downstream client takes it by value, and
/// there is no other way to a tool.
///
/// It is made of policy's yes and of the open record in the journal, which must
/// be committed:
///
/// ```compile_fail
/// let permit = countersign::permit::Permit { call: countersign::tool::CallId::next() };
/// ```
///
/// ```compile_fail
/// fn twice(permit: countersign::permit::Permit) {
///     let (first, second) = (permit, permit);
/// }
/// ```
#[derive(Debug)]
pub struct Permit {
    call: CallId,
}

/// The policy's yes and the record are of different calls.
#[derive(Debug, thiserror::Error)]
#[error("policy allowed call {allowed}, and the record that was opened is of call {recorded}")]
pub struct Mismatch {
    allowed: CallId,
    recorded: CallId,
}

impl Permit {
    /// Makes the permit of a call that policy allowed and whose record is
    /// committed.
    ///
    /// # Errors
    ///
    /// When the two are of different calls: a fault of ours, and no permit.
    pub fn new(allowed: Allowed, entry: Committed<OpenEntry>) -> Result<Self, Mismatch> {
        let recorded = entry.into_inner().call();
        if allowed.call() == recorded {
            Ok(Self { call: recorded })
        } else {
            Err(Mismatch {
                allowed: allowed.call(),
                recorded,
            })
        }
    }

    /// Which call may be sent.
    pub fn call(&self) -> CallId {
        self.call
    }
}
