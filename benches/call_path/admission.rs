//! Admitting and closing calls on a store on disk: the same public functions of
//! the record rooms, in the same order, as the broker's own steps.

use crate::world;
use crate::world::World;
use countersign::app;
use countersign::journal;
use countersign::journal::Closing;
use countersign::journal::Effect;
use countersign::journal::Part;
use countersign::journal::Subject;
use countersign::json;
use countersign::meters;
use countersign::meters::Charges;
use countersign::outcome::Outcome;
use countersign::policy::Facts;
use countersign::policy::Gate;
use countersign::policy::Reading;
use countersign::policy::Verdict;
use countersign::session::Found;
use countersign::session::Rule;
use countersign::sessions;
use countersign::store::Durability;
use countersign::store::Store;
use countersign::store::StoreError;
use countersign::store::Tx;
use countersign::store::Writer;
use countersign::store::WriterId;
use countersign::tool::Access;
use countersign::tool::CallId;
use countersign::tool::Digest;
use jiff::SignedDuration;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use std::sync::Arc;
use tokio::task::JoinSet;

/// A store with one session of alice's.
pub(crate) struct Ledger {
    store: Arc<Store>,
    writer: Writer,
    session: countersign::session::SessionId,
}

impl Ledger {
    pub(crate) fn open(world: &World) -> Self {
        let store = app::open_store(&world.path("records.db")).unwrap();
        let writer = Writer::enlist(&store, Timestamp::now()).unwrap();
        let alice = world.alice.clone();
        let create = move |tx: &Tx<'_>| sessions::create(tx, &alice, None, Timestamp::now());
        Self {
            session: store.write_blocking("session", create).unwrap(),
            store: Arc::new(store),
            writer,
        }
    }

    /// A transaction without a statement of ours: what the way to the writer
    /// thread and back costs.
    pub(crate) async fn nothing(&self) {
        let empty = self
            .store
            .write("nothing", Durability::Process, |_tx| Ok(()));
        empty.await.unwrap();
    }
}

/// Makes the same call again and again.
pub(crate) struct Desk {
    store: Arc<Store>,
    writer: WriterId,
    call: Arc<Call>,
}

struct Call {
    subject: Subject,
    gate: Arc<Gate>,
    reading: Reading,
    arguments: Box<str>,
    zone: TimeZone,
}

impl Desk {
    pub(crate) fn new(world: &World, ledger: &Ledger, tool: &str, arguments: &str) -> Self {
        let gate = world.gate(tool);
        let canonical = json::canonical(arguments).unwrap();
        let subject = Subject {
            call: CallId::next(),
            session: ledger.session,
            principal: world.alice.clone(),
            tool: world::tool(tool).to_string(),
            arguments: Digest::of(canonical.as_bytes()),
            policies: world.broker.catalogue().bundle().digest(),
            found: Some(Found::by(Rule::Option).into()),
        };
        let call = Call {
            subject,
            reading: gate.read(arguments).unwrap(),
            gate,
            arguments: arguments.into(),
            zone: TimeZone::UTC,
        };
        Self {
            store: Arc::clone(&ledger.store),
            writer: ledger.writer.id(),
            call: Arc::new(call),
        }
    }

    /// Decides one call and opens its record, or records that it was refused.
    pub(crate) async fn admit(&self, durability: Durability) -> CallId {
        let call = Arc::clone(&self.call);
        let writer = self.writer;
        let admitted = self
            .store
            .write("admit", durability, move |tx| call.admit(tx, writer));
        admitted.await.unwrap().into_inner()
    }

    /// Closes a call that was admitted.
    pub(crate) async fn close(&self, call: CallId) {
        let writer = self.writer;
        let closed = self.store.write("close", Durability::Process, move |tx| {
            let closing = Closing {
                call,
                outcome: Outcome::Completed,
                result: Some(Digest::of(b"{}")),
                kept: None,
                detail: json!({}),
                goes_on: false,
            };
            journal::close(tx, writer, &closing, Timestamp::now())
        });
        assert!(closed.await.unwrap().into_inner());
    }
}

impl Call {
    fn admit(&self, tx: &Tx<'_>, writer: WriterId) -> Result<CallId, StoreError> {
        let now = Timestamp::now();
        let mut subject = self.subject.clone();
        subject.call = CallId::next();
        let state = sessions::state(tx, subject.session)?.unwrap();
        sessions::touch(tx, &state, now)?;
        let session = state.facts;
        let effect = match self.gate.rules().access {
            Access::Read => Effect::None,
            Access::Write => Effect::Possible,
        };
        if effect == Effect::Possible {
            assert_eq!(
                journal::tell_unsettled(tx, writer, &subject, SignedDuration::ZERO, (now, now))?,
                None
            );
        }
        let amounts = self.reading.amounts();
        let day = match amounts {
            [] => now.to_zoned(self.zone.clone()).date(),
            _ => meters::today(tx, now, &self.zone)?,
        };
        let charged = amounts.iter().map(|a| (Arc::clone(&a.meter), a.value));
        let charges = Charges::new(subject.session, subject.principal.clone(), day, charged);
        let facts = Facts {
            session,
            totals: charges.totals_after(tx)?.unwrap().totals,
            meters: Vec::new(),
            denied_lately: 0,
            approval: None,
            confirmed: false,
        };
        let (call, by) = (subject.call, &subject.principal);
        match self.gate.decide(call, by, &self.reading, &facts, now) {
            Verdict::Allow(allowed) => {
                charges.add(tx)?;
                let detail = json!({
                    "policies": allowed.policies(),
                    "day": day.to_string(),
                    "charged": charges.amounts.iter().map(|(_, value)| value).collect::<Vec<_>>(),
                });
                journal::open(tx, writer, (&subject, effect, &detail), &allowed, now)?;
            }
            Verdict::Deny(denial) | Verdict::Escalate(denial, _) | Verdict::Confirm(denial, _) => {
                let detail = json!({ "code": denial.code });
                journal::refuse(tx, writer, (&subject, Outcome::Denied, &detail), now)?;
            }
        }
        journal::keep(tx, call, Part::Arguments, &self.arguments)?;
        Ok(call)
    }
}

/// So many calls at the same time, each admitted and then closed: what is left
/// open would slow down those after it, as it never does in a broker.
pub(crate) async fn at_once(desk: &Arc<Desk>, waiters: u64, durability: Durability) {
    let mut waiting = JoinSet::new();
    for _ in 0..waiters {
        let desk = Arc::clone(desk);
        waiting.spawn(async move {
            let call = desk.admit(durability).await;
            desk.close(call).await;
        });
    }
    waiting.join_all().await;
}
