//! Deciding and recording on the thread that serves the call, by the spool: for
//! calls that move no meter and of which nothing unusual is known. All others,
//! and these where the spool does not take them, go by a transaction.

use super::Broker;
use super::Refusal;
use super::admit::Admitted;
use super::admit::Candidate;
use super::admit::Judged;
use super::confirming::Lifted;
use super::earlier::Follows;
use super::entry::Entry;
use super::escalations::Ground;
use super::memory::Memory;
use super::memory::Recalled;
use super::open_calls::Place;
use crate::cause::Chain;
use crate::journal;
use crate::journal::Closing;
use crate::journal::Effect;
use crate::journal::Subject;
use crate::meters::Charges;
use crate::outcome::Outcome;
use crate::policy::Facts;
use crate::session::SessionId;
use crate::store::Committed;
use crate::store::Durability;
use crate::store::Spool;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Writer;
use crate::store::WriterId;
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;
use std::time::Instant;

/// What this broker records with when it needs no transaction.
#[derive(Debug)]
pub(super) struct Desk {
    spool: Arc<Spool>,
    memory: Memory,
}

impl Desk {
    /// None where every record must survive a power cut, which only a transaction
    /// does, and where this process has a spool already.
    pub(super) fn of(
        store: &Store,
        writer: &Writer,
        durability: Durability,
    ) -> Result<Option<Self>, StoreError> {
        match durability {
            Durability::Power => Ok(None),
            Durability::Process => {
                let spool = writer.spool(store, journal::fold)?;
                Ok(spool.map(|spool| Self {
                    spool,
                    memory: Memory::default(),
                }))
            }
        }
    }

    /// A session, and the writers beside us, as they were then or later.
    pub(super) fn recall(
        &self,
        store: &Store,
        writer: WriterId,
        asked: (SessionId, Instant),
    ) -> Result<Option<Recalled>, StoreError> {
        self.memory.recall(store, writer, asked)
    }

    /// From now on every record goes by a transaction.
    pub(super) fn close(&self) {
        self.spool.seal();
    }
}

impl Broker {
    /// Step 6 for a call that only has to be recorded. None where it needs a
    /// transaction; then nothing was recorded.
    pub(super) fn admit_at_once(
        &self,
        candidate: &Candidate,
        (came, now): (Instant, Timestamp),
    ) -> Option<Result<Committed<Admitted>, Refusal>> {
        let desk = self.desk.as_ref()?;
        let arguments = candidate.kept_arguments.as_ref().map(|kept| &*kept.text);
        let subject = &candidate.subject;
        let is_counted = candidate.route.gate.reads_denials();
        let is_here = matches!(candidate.place, Place::None | Place::Here(_));
        let is_told = candidate.key.is_some() || candidate.answers() || !is_here;
        if candidate.reading.is_metered() || is_told || is_counted {
            return None;
        }
        let asked = (subject.session, came);
        let recalled = desk.recall(&self.store, self.writer.id(), asked);
        let Recalled {
            session: known,
            company,
        } = match recalled {
            Ok(recalled) => recalled?,
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "the store cannot be watched");
                return None;
            }
        };
        if !company.is_alive() {
            desk.close();
            return None;
        }
        let effect = candidate.effect();
        let may_be_told = || known.is_unsettled(subject) || company.has_lost_one();
        if effect == Effect::Possible && may_be_told() {
            return None;
        }
        let stick = (self.settings.labels_stick, now);
        let early = candidate.early.iter();
        if !known.session.carries(early, &subject.principal, stick) {
            return None;
        }
        let session = known.session.facts(&subject.principal, now)?;
        let facts = Facts::only_of(session.clone());
        let charges = Charges::none(subject.session, subject.principal.clone());
        match candidate.judge(&facts, now) {
            Judged::Allowed(allowed) => {
                let follows = candidate.continues.map(Follows::Asked);
                let detail =
                    candidate.allowed_detail(&allowed, &charges, (follows, &Lifted::default()));
                let opening = (subject, effect, &detail);
                let entry = journal::open_spooled(&desk.spool, opening, arguments, &allowed, now)?;
                Some(Ok(entry.map(|entry| Admitted {
                    allowed,
                    entry,
                    charged: charges.into(),
                    shown: false,
                })))
            }
            // Whether it was asked for, granted or confirmed, the store knows.
            Judged::Liftable(..) | Judged::Confirmable(..) => None,
            // How often it was refused before and what its session waits for, too.
            Judged::Refused(..) => None,
        }
    }

    /// Step 6 as a transaction.
    pub(super) async fn admit_in_store(
        &self,
        mut candidate: Candidate,
        now: Timestamp,
    ) -> Result<Committed<Admitted>, Refusal> {
        let settings = Arc::clone(&self.settings);
        let catalogue = self.catalogue.load_full();
        let writer = self.writer.id();
        let durability = match candidate.durability(&settings, catalogue.bundle()) {
            Durability::Process if self.moves_labels(&candidate.subject, now) => Durability::Power,
            chosen => chosen,
        };
        let decided = self.store.write("admit", durability, move |tx| {
            let ground = Ground {
                catalogue: &catalogue,
                settings: &settings,
                writer,
            };
            candidate.show_what_is_decided(tx, ground, now)?;
            candidate.admit(tx, writer, (&settings, &catalogue), now)
        });
        decided.await.map_err(super::not_recorded)?.transpose()
    }

    /// Records a call that was not allowed. One in a session that is not there for its
    /// caller leaves nothing in it.
    pub(super) async fn record_refused(
        &self,
        subject: Subject,
        outcome: Outcome,
        detail: Value,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let refused = (&subject, outcome, &detail);
        let theirs = (subject.session, &subject.principal);
        let recorded = self
            .desk
            .as_ref()
            .filter(|_| self.is_in_use(theirs, now))
            .and_then(|desk| journal::refuse_spooled(&desk.spool, refused, None, now));
        if recorded.is_some() {
            return Ok(());
        }
        let (writer, catalogue) = (self.writer.id(), self.catalogue.load_full());
        let written = self
            .store
            .write("refuse", self.settings.durability, move |tx| {
                let theirs = (subject.session, &subject.principal);
                if let Entry::Gone = Entry::of(tx, theirs, &catalogue, now)? {
                    return Ok(Err(Refusal::no_session(&subject)));
                }
                journal::refuse(tx, writer, (&subject, outcome, &detail), now).map(Ok)
            });
        written.await.map_err(super::not_recorded)?.into_inner()
    }

    /// Closes a record. None where it needs a transaction.
    pub(super) fn close_at_once(&self, closing: &Closing, effect: Effect) -> Option<()> {
        let desk = self.desk.as_ref()?;
        journal::close_spooled(&desk.spool, closing, effect, Timestamp::now())
    }
}
