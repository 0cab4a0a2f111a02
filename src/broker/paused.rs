//! What its caller learns of a call in a session that waits: for what, and how it goes on.

use super::Catalogue;
use super::Paused;
use super::Refusal;
use super::own::Own;
use crate::journal::Subject;
use crate::sessions;
use crate::store::StoreError;
use crate::store::Tx;

/// A refusal, with what is known of the pause where that alone is why.
pub(super) fn told(
    tx: &Tx<'_>,
    refusal: Refusal,
    subject: &Subject,
    catalogue: &Catalogue,
) -> Result<Refusal, StoreError> {
    let (call, denial) = match refusal {
        Refusal::Denied { call, denial, .. } if denial.is_pause() => (call, denial),
        other => return Ok(other),
    };
    let session = sessions::by_id(tx, subject.session)?;
    let pause = session.and_then(|session| session.paused);
    Ok(Refusal::Paused(Box::new(Paused {
        call,
        denial,
        waiting_for: pause.and_then(|pause| pause.waiting_for),
        resume: catalogue.own_tool(Own::Resume, &subject.principal),
    })))
}
