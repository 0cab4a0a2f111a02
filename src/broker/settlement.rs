//! What becomes of what a call held, once it has ended: what it was charged, its key,
//! and the note of the call whose place it took.

use super::Answer;
use super::Refusal;
use super::earlier::Follows;
use crate::crash;
use crate::escalations::waiting;
use crate::journal;
use crate::journal::Closing;
use crate::journal::Noted;
use crate::journal::Subject;
use crate::meters;
use crate::meters::Charges;
use crate::outcome::Outcome;
use crate::retries;
use crate::retries::Ending;
use crate::retries::IdempotencyKey;
use crate::retries::Known;
use crate::session::Label;
use crate::sessions::Brought;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use crate::tool::ToolRules;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// What a call was charged, and what of that belonged to an earlier one.
#[derive(Debug)]
pub(super) struct Charged {
    pub(super) charges: Charges,
    pub(super) taken: Option<Box<Taken>>,
}

/// What a call took from the one whose place it took. That one was sent and may have
/// taken effect, whatever this one comes to.
#[derive(Debug)]
pub(super) struct Taken {
    follows: Follows,
    /// Its charges, which are not added anew.
    charges: Option<meters::Held>,
    /// Whether its key was still its own.
    key: bool,
    /// That nobody knows how it ended, where that was noted.
    note: Option<Noted>,
}

/// What becomes of what a call was charged.
#[derive(Debug)]
enum Settlement {
    /// It stays charged.
    Kept,
    /// It is given back.
    Refunded(Charges),
    /// It stays charged, for whoever goes on from this call.
    Held(Charges, CallId),
    /// It stays charged, and is the earlier call's again.
    HandedBack(Charges, meters::Held),
}

/// What becomes of all that a call held.
#[derive(Debug)]
pub(super) struct Aftermath {
    settlement: Settlement,
    ending: Option<Ending>,
    note: Option<Noted>,
}

impl From<Charges> for Charged {
    fn from(charges: Charges) -> Self {
        let taken = None;
        Self { charges, taken }
    }
}

impl Taken {
    /// Takes the place of an earlier call, before the key is bound to this one: nobody
    /// need be told of that any more.
    pub(super) fn from(
        tx: &Tx<'_>,
        (subject, key): (&Subject, Option<&IdempotencyKey>),
        (follows, charges): (Follows, Option<meters::Held>),
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let earlier = follows.call();
        let known = key.map(|key| retries::find(tx, subject, key, now));
        Ok(Self {
            follows,
            charges,
            key: known.transpose()? == Some(Known::Same(earlier)),
            note: journal::take_note(tx, earlier)?,
        })
    }

    /// How the key of the later call ends. The earlier one may have taken effect, so its
    /// key is never free because the later one came to nothing.
    fn ending(&self, closing: &Closing, ending: Ending) -> Ending {
        match (ending, closing.outcome) {
            (Ending::Free, Outcome::FailedBeforeSending) if self.key => {
                Ending::Back(self.follows.call())
            }
            (Ending::Free, Outcome::InputRequired) if self.key => Ending::Unknown,
            (ending, _) => ending,
        }
    }

    /// Whether somebody must still be told of the earlier call: the later one did not
    /// settle what that one did, and is not noted in its place.
    fn leaves_note(&self, closing: &Closing) -> bool {
        match (closing.outcome, self.follows) {
            (Outcome::FailedBeforeSending, _) => true,
            (Outcome::ToolFailed, Follows::Unknown(_)) => true,
            (Outcome::InputRequired, Follows::Unknown(_)) => !closing.goes_on,
            _ => false,
        }
    }
}

impl Charged {
    /// What a call that holds this brings into its session with these labels.
    pub(super) fn brings(&self, labels: BTreeSet<Label>, call: CallId) -> Brought {
        Brought {
            labels,
            session: self.charges.session,
            principal: self.charges.principal.clone(),
            call,
        }
    }

    /// What the caller is told where its call was not sent: not that nothing was done,
    /// where it repeats a call that may have done it.
    pub(super) fn told(&self, answer: Answer) -> Answer {
        let follows = self.taken.as_ref().map(|taken| taken.follows);
        match (follows, answer) {
            (
                Some(Follows::Unknown(earlier)),
                Answer::Refused(Refusal::ServerUnavailable { call, server, .. }),
            ) => Answer::Refused(Refusal::RepeatUnsent {
                call,
                earlier,
                server,
            }),
            (_, answer) => answer,
        }
    }

    /// What becomes of it with the end of the call.
    // INVARIANT: what was taken over from an earlier call is never given back, because
    // that one was sent.
    pub(super) fn settled(
        self,
        (closing, ending): (&Closing, Option<Ending>),
        rules: &ToolRules,
    ) -> Aftermath {
        let Self { charges, taken } = self;
        let taken = taken.filter(|_| !crash::mutated("refund-repeats"));
        let Some(taken) = taken else {
            return Aftermath {
                settlement: settlement(closing, rules, charges),
                ending,
                note: None,
            };
        };
        let ending = ending.map(|ending| taken.ending(closing, ending));
        let leaves_note = taken.leaves_note(closing);
        let Taken {
            follows,
            charges: carried,
            note,
            ..
        } = *taken;
        let settlement = match (settlement(closing, rules, charges), carried) {
            (Settlement::Refunded(charges), Some(held)) => match (closing.outcome, follows) {
                (Outcome::FailedBeforeSending, _) => Settlement::HandedBack(charges, held),
                (_, Follows::Asked(earlier)) => Settlement::Held(charges, earlier),
                // Its key has an answer now, so nobody goes on from it.
                (_, Follows::Unknown(_)) => Settlement::Kept,
            },
            (settlement, _) => settlement,
        };
        Aftermath {
            settlement,
            ending,
            note: note.filter(|_| leaves_note),
        }
    }
}

/// Charges are given back where the call provably had no effect, or the tool
/// says that it failed and the operator takes its word.
fn settlement(closing: &Closing, rules: &ToolRules, charges: Charges) -> Settlement {
    if charges.is_empty() {
        return Settlement::Kept;
    }
    match closing.outcome {
        Outcome::FailedBeforeSending => Settlement::Refunded(charges),
        Outcome::ToolFailed if rules.refund_on_failure => Settlement::Refunded(charges),
        Outcome::InputRequired => Settlement::Held(charges, closing.call),
        Outcome::Completed
        | Outcome::ToolFailed
        | Outcome::Denied
        | Outcome::Escalated
        | Outcome::Replayed
        | Outcome::InvalidArguments
        | Outcome::UnknownTool
        | Outcome::TimedOut
        | Outcome::Cancelled
        | Outcome::Unknown => Settlement::Kept,
    }
}

impl Aftermath {
    /// Whether nothing changes with the end of the call but its record.
    pub(super) fn is_nothing(&self) -> bool {
        let kept = matches!(self.settlement, Settlement::Kept);
        kept && self.ending.is_none() && self.note.is_none()
    }

    /// Writes it, in the transaction that closes the record.
    pub(super) fn write(&self, tx: &Tx<'_>, call: CallId) -> Result<(), StoreError> {
        if let Some(ending) = &self.ending {
            retries::end(tx, call, ending)?;
            if let Ending::Answered(kept) = ending {
                waiting::answered(tx, call, kept)?;
            }
            if *ending != Ending::Unknown {
                meters::release(tx, call)?;
            }
        }
        if let Some(note) = &self.note {
            journal::put_note_back(tx, note)?;
        }
        match &self.settlement {
            Settlement::Kept => Ok(()),
            Settlement::Refunded(charges) => charges.refund(tx),
            Settlement::Held(charges, call) => charges.hold(tx, *call),
            Settlement::HandedBack(charges, held) => charges.hand_back(tx, held),
        }
    }
}
