//! What a call comes to where the same one was made before: under the same key, or
//! lately without one. It is decided in the transaction that admits the call, and
//! policy is asked first: who may not make the call learns nothing of the earlier.

use super::Refusal;
use super::Settings;
use super::admit::Candidate;
use super::admit::Said;
use super::answer::NotKept;
use super::answer::StillOpen;
use super::escalate::Decided;
use super::open_calls::Place;
use crate::journal;
use crate::journal::Effect;
use crate::journal::Flight;
use crate::outcome::Outcome;
use crate::retries;
use crate::retries::Attempt;
use crate::retries::Kept;
use crate::retries::Known;
use crate::retries::Unread;
use crate::session::SessionFacts;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::CallId;
use jiff::Timestamp;
use serde_json::json;

/// Whether a call still waits for an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Patience {
    /// It does.
    #[default]
    Left,
    /// It waited as long as that may take.
    Over,
}

/// The call that another takes the place of, with its key and with what it was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// One that asked something, and goes on in this one.
    Asked(CallId),
    /// One that ended unknown, and does no harm where it is done twice.
    Unknown(CallId),
}

impl Follows {
    pub(super) fn call(self) -> CallId {
        match self {
            Self::Asked(call) | Self::Unknown(call) => call,
        }
    }

    /// What the record of the later calls it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Asked(_) => "continues",
            Self::Unknown(_) => "repeats",
        }
    }
}

/// What was found of earlier calls that are the same.
pub(super) enum Before {
    /// Nothing that matters.
    Nothing,
    /// One whose place this one takes.
    Follows(Follows),
    /// One that has not ended: its end is waited for.
    Runs(CallId),
    /// One whose answer is on its way to somebody: whether they read it is waited for.
    Given(CallId),
    /// One that this call is told of, or policy's no.
    Said(Said),
}

/// How the call stands that was made under the same key.
pub(super) enum Earlier {
    /// It has not ended.
    Runs,
    /// Its broker died in the middle of it.
    Orphan,
    Answered(Kept),
    /// It ended, and its answer was too large to keep.
    Lost,
    /// Its server asked something in the middle of it, and waits for the answer as far
    /// as is known.
    Asks,
    Unknown,
    /// Nothing was sent.
    Free,
}

impl Earlier {
    /// How it stands now, as this writer sees it.
    pub(super) fn of(tx: &Tx<'_>, call: CallId, own: WriterId) -> Result<Self, StoreError> {
        Ok(match retries::attempt(tx, call)? {
            Attempt::Free => Self::Free,
            Attempt::Ended(Some(kept)) => Self::Answered(kept),
            Attempt::Ended(None) => Self::Lost,
            Attempt::Open => match journal::in_flight_with(tx, call, own)? {
                Flight::Living => Self::Runs,
                Flight::Orphan => Self::Orphan,
                Flight::Over => match journal::ending_of(tx, call)? {
                    Some((Outcome::InputRequired, _)) => Self::Asks,
                    Some(_) | None => Self::Unknown,
                },
            },
        })
    }
}

impl Candidate {
    /// What was found of earlier calls that are the same.
    pub(super) fn before(
        &self,
        tx: &Tx<'_>,
        writer: WriterId,
        session: &SessionFacts,
        (settings, now): (&Settings, Timestamp),
    ) -> Result<Before, StoreError> {
        if let Some(key) = &self.key {
            match retries::find(tx, &self.subject, key, now)? {
                Known::New => {}
                // One that goes on from the call under its key is no other attempt.
                Known::Same(earlier) if self.continues == Some(earlier) => {}
                Known::Same(earlier) => {
                    return match self.refused_again(tx, (session, earlier), (settings, now))? {
                        Some(refused) => Ok(Before::Said(refused)),
                        None => self.attempted(tx, writer, earlier, now),
                    };
                }
                Known::Other => {
                    let code = json!({ "code": "key_reused" });
                    let call = self.subject.call;
                    let refusal = Box::new(Refusal::KeyReused { call });
                    return Ok(Before::Said((Outcome::Denied, code, refusal)));
                }
            }
        }
        let goes_on = self.continues.map(Follows::Asked);
        let is_told = match self.continues {
            Some(before) => !journal::is_unsettled(tx, before)?,
            None => true,
        };
        let before = match is_told {
            true => self.like_earlier(tx, writer, session, (settings, now))?,
            false => Before::Nothing,
        };
        Ok(match (before, goes_on) {
            (Before::Nothing, Some(follows)) => Before::Follows(follows),
            (before, _) => before,
        })
    }

    /// An answer whose call is open elsewhere, or is being answered, would reach nobody:
    /// it is refused before it uses anything up. One whose broker is gone is unknown, as
    /// any call of that is.
    pub(super) fn reaching(
        &self,
        (tx, writer): (&Tx<'_>, WriterId),
        decided: Decided,
        now: Timestamp,
    ) -> Result<Decided, StoreError> {
        if let Decided::Refused(_) = &decided {
            return Ok(decided);
        }
        let (earlier, why, code) = match self.place {
            Place::None | Place::Here(_) => return Ok(decided),
            Place::Answered(asked) => (asked, StillOpen::Answered, "earlier_answered"),
            Place::Absent(asked) => {
                if !journal::is_of_another(tx, asked, writer, now)? {
                    return Ok(decided);
                }
                (asked, StillOpen::Elsewhere, "earlier_elsewhere")
            }
        };
        let call = self.subject.call;
        let refusal = Refusal::EarlierOpen { call, earlier, why };
        Ok(Decided::Refused(told(
            (Outcome::Denied, code),
            earlier,
            refusal,
        )))
    }

    /// What a call comes to whose key was given to the same one before.
    fn attempted(
        &self,
        tx: &Tx<'_>,
        writer: WriterId,
        earlier: CallId,
        now: Timestamp,
    ) -> Result<Before, StoreError> {
        let mut stands = Earlier::of(tx, earlier, writer)?;
        if let Earlier::Orphan = stands {
            journal::recover_dead(tx, writer, now)?;
            stands = Earlier::of(tx, earlier, writer)?;
        }
        let (call, tool) = (self.subject.call, self.subject.tool.clone());
        let said = |outcome, code: &str, refusal| {
            let detail = json!({ "code": code, "earlier": earlier.to_string() });
            Before::Said((outcome, detail, Box::new(refusal)))
        };
        let refused = |code: &str, refusal| said(Outcome::Denied, code, refusal);
        Ok(match stands {
            Earlier::Free => Before::Nothing,
            Earlier::Runs if self.patience == Patience::Left => Before::Runs(earlier),
            Earlier::Answered(kept) => {
                let refusal = Refusal::Replayed { earlier, kept };
                said(Outcome::Replayed, "replayed", refusal)
            }
            Earlier::Lost => refused("earlier_lost", Refusal::EarlierLost { call, earlier }),
            Earlier::Asks => {
                let refusal = Refusal::EarlierAsks { call, earlier };
                refused("earlier_asks", refusal)
            }
            Earlier::Unknown if self.route.gate.rules().is_repeatable() => {
                Before::Follows(Follows::Unknown(earlier))
            }
            Earlier::Runs | Earlier::Orphan | Earlier::Unknown => {
                let refusal = Refusal::EarlierUnknown {
                    call,
                    earlier,
                    tool,
                };
                refused("earlier_unknown", refusal)
            }
        })
    }

    /// What was found of earlier calls that are like this one and of which nobody was
    /// told. An answer that nobody read is its own caller's only, and a key has an answer
    /// of its own. One that is on its way to somebody is waited for: until it is known
    /// whether they read it, nobody knows whether this call means another.
    fn like_earlier(
        &self,
        tx: &Tx<'_>,
        writer: WriterId,
        session: &SessionFacts,
        (settings, now): (&Settings, Timestamp),
    ) -> Result<Before, StoreError> {
        if self.effect() == Effect::None || self.origin.revives {
            return Ok(Before::Nothing);
        }
        // Any that died: what it had begun may be in its spool only, and nobody reads
        // what it was giving.
        journal::recover_dead(tx, writer, now)?;
        let unknown = journal::unsettled_call(tx, &self.subject)?;
        let unread = match self.key {
            None => journal::waiting(tx, &self.subject, now)?,
            Some(_) => None,
        };
        let given = match (&self.key, unread) {
            (None, None) => journal::being_given(tx, &self.subject, now)?,
            _ => None,
        };
        let Some(earlier) = unknown.or(unread).or(given) else {
            return Ok(Before::Nothing);
        };
        if let Some(refused) = self.refused_again(tx, (session, earlier), (settings, now))? {
            return Ok(Before::Said(refused));
        }
        if let Some(earlier) = given.filter(|_| self.patience == Patience::Left) {
            return Ok(Before::Given(earlier));
        }
        let (settles, times) = (settings.warnings_settle, (self.came, now));
        let unsettled = journal::tell_unsettled(tx, writer, &self.subject, settles, times)?;
        let said = match (unsettled, unread, given) {
            (Some(earlier), _, _) => Some(self.unknown(earlier)),
            (None, Some(_), _) => self.unread(tx, writer, now)?,
            (None, None, Some(earlier)) => Some(self.not_kept(earlier, NotKept::BeingGiven)),
            (None, None, None) => None,
        };
        Ok(said.map_or(Before::Nothing, Before::Said))
    }

    /// What is said where nobody knows how an earlier call ended.
    fn unknown(&self, earlier: CallId) -> Said {
        let refusal = Refusal::EarlierUnknown {
            call: self.subject.call,
            earlier,
            tool: self.subject.tool.clone(),
        };
        told((Outcome::Denied, "earlier_unknown"), earlier, refusal)
    }

    /// What is said where the answer of an earlier call cannot be given.
    fn not_kept(&self, earlier: CallId, why: NotKept) -> Said {
        let code = match why {
            NotKept::Ended => "earlier_unread",
            NotKept::TooLarge => "earlier_lost",
            NotKept::BeingGiven => "earlier_given",
        };
        let refusal = Refusal::EarlierUnread {
            call: self.subject.call,
            earlier,
            tool: self.subject.tool.clone(),
            why,
        };
        told((Outcome::Denied, code), earlier, refusal)
    }

    /// Once an instance is told which session it is for, nobody need be told of how it
    /// went with one that is gone.
    pub(super) fn revived(&self, tx: &Tx<'_>, now: Timestamp) -> Result<(), StoreError> {
        if !self.origin.revives {
            return Ok(());
        }
        journal::settle(tx, &self.subject)?;
        for _ in 0..journal::MOST_UNREAD {
            let Some(earlier) = journal::waiting(tx, &self.subject, now)? else {
                break;
            };
            journal::is_read(tx, earlier)?;
            retries::drop_unread(tx, earlier)?;
        }
        Ok(())
    }

    /// The oldest answer that nobody read of a call that is the same.
    fn unread(
        &self,
        tx: &Tx<'_>,
        writer: WriterId,
        now: Timestamp,
    ) -> Result<Option<Said>, StoreError> {
        let Some(earlier) = journal::give_unread(tx, writer, &self.subject, now)? else {
            return Ok(None);
        };
        Ok(Some(match retries::unread_of(tx, earlier)? {
            Unread::Kept(kept) => {
                let refusal = Refusal::Replayed { earlier, kept };
                told((Outcome::Replayed, "unread"), earlier, refusal)
            }
            Unread::TooLarge => self.not_kept(earlier, NotKept::TooLarge),
            Unread::Nothing => self.not_kept(earlier, NotKept::Ended),
        }))
    }

    /// What policy says against a call that is in the totals already. None where it
    /// says nothing.
    fn refused_again(
        &self,
        tx: &Tx<'_>,
        (session, earlier): (&SessionFacts, CallId),
        (settings, now): (&Settings, Timestamp),
    ) -> Result<Option<Said>, StoreError> {
        let totals = self.charges(tx, settings, now)?.totals_with(tx)?;
        let facts = self.facts(tx, (session, totals.unwrap_or_default()), (settings, now))?;
        self.judge_again(tx, (facts, earlier), now)
    }
}

fn told((outcome, code): (Outcome, &str), earlier: CallId, refusal: Refusal) -> Said {
    let detail = json!({ "code": code, "earlier": earlier.to_string() });
    (outcome, detail, Box::new(refusal))
}
