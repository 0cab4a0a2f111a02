//! Making a call for its client once somebody approved it. It goes through the same
//! steps as any call: what is true then decides, and the approval is used up in the
//! transaction that opens the record. So of several brokers one makes it.

use super::Answer;
use super::Awaited;
use super::Broker;
use super::CallLine;
use super::Origin;
use super::Refusal;
use super::ToolCall;
use super::admit::Candidate;
use super::admit::Said;
use super::denied::Again;
use super::escalate::Grant;
use super::escalate::LAPSED_TOOL;
use super::escalations::told;
use crate::cause::Chain;
use crate::escalations;
use crate::escalations::Escalation;
use crate::escalations::EscalationId;
use crate::escalations::waiting;
use crate::escalations::waiting::Waiting;
use crate::keys;
use crate::outcome::Outcome;
use crate::policy::Denial;
use crate::policy::Reason;
use crate::retries::IdempotencyKey;
use crate::session::Found;
use crate::session::Rule;
use crate::sessions;
use crate::store::Durability;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::Version;
use crate::store::WriterId;
use crate::tool::Asking;
use crate::tool::ToolId;
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether something was approved, by whichever process.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long after a call could not be recorded it is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// How many calls are begun at one look.
const AT_ONCE: u32 = 64;

const KEY_REVOKED: &str = "the key that the call came with was revoked";
const GONE: &str = "the tool is not there any more";

impl Candidate {
    /// Why a call that is made for its client must not be sent, before policy is asked.
    pub(super) fn resumes_no_more(
        &self,
        (tx, writer): (&Tx<'_>, WriterId),
        now: Timestamp,
    ) -> Result<Option<Said>, StoreError> {
        let Some(id) = self.origin.resumes else {
            return Ok(None);
        };
        if let Some(key) = self.origin.credential.as_deref()
            && !keys::is_valid(tx, key)?
        {
            return Ok(Some(self.stopped("key_revoked", KEY_REVOKED)));
        }
        let found = escalations::find(tx, id)?;
        if let Some(found) = found.filter(|found| found.definition != self.route.definition) {
            self.voided((tx, writer), &found, LAPSED_TOOL, now)?;
            return Ok(Some(self.stopped("approval_lapsed", LAPSED_TOOL)));
        }
        Ok(None)
    }

    /// The approval of a call that is made for its client, which is used up also where
    /// policy would do without it: so it is made once.
    pub(super) fn resumed(&self, tx: &Tx<'_>) -> Result<Option<Grant>, StoreError> {
        let Some(id) = self.origin.resumes else {
            return Ok(None);
        };
        let found = escalations::find(tx, id)?;
        let decision = found.and_then(|found| found.decision);
        Ok(decision.map(|decision| Grant::fresh(id, decision, Vec::new())))
    }

    /// A no of ours.
    pub(super) fn stopped(&self, code: &str, why: &str) -> Said {
        let call = self.subject.call;
        let reason = Reason {
            policy: format!("countersign.{code}"),
            code: code.to_owned(),
            message: Some(why.to_owned()),
        };
        let denial = Denial {
            code: code.to_owned(),
            reasons: vec![reason],
            errors: Vec::new(),
            unseen: Vec::new(),
        };
        let escalation = self.origin.resumes.map(|id| id.to_string());
        let detail = json!({"code": code, "escalation": escalation});
        let refusal = Box::new(Refusal::Denied {
            call,
            denial,
            again: Again::default(),
        });
        (Outcome::Denied, detail, refusal)
    }
}

/// The calls that this broker is making, and what it last saw of the store.
#[derive(Debug, Default)]
struct Making {
    now: Arc<Mutex<BTreeSet<EscalationId>>>,
    version: Option<Version>,
    left: bool,
}

impl Broker {
    /// Makes approved calls while the broker runs.
    pub(super) fn make_approved(self: &Arc<Self>) {
        let broker = Arc::clone(self);
        self.tasks.spawn(async move {
            let stopping = broker.stopping.clone();
            let makes = broker.makes_approved();
            let _stopped = stopping.run_until_cancelled(makes).await;
        });
    }

    async fn makes_approved(self: &Arc<Self>) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut making = Making::default();
        loop {
            look.tick().await;
            match self.to_make(&mut making) {
                Ok(due) => {
                    for one in due {
                        self.begin_making(one, &making.now);
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "nobody can say which approved calls are to be made");
                }
            }
        }
    }

    /// What is to be made. The store is read only where it changed, or something was
    /// left.
    fn to_make(&self, making: &mut Making) -> Result<Vec<(Escalation, Waiting)>, StoreError> {
        let version = self.store.version()?;
        if making.version == Some(version) && !making.left {
            return Ok(Vec::new());
        }
        let now = Timestamp::now();
        let due = self.store.read(|tx| {
            let mut due = waiting::due(tx, AT_ONCE, now)?;
            // Whoever paused the session to wait for this goes on by resuming it.
            let mut awake = Vec::new();
            for one in due.drain(..) {
                let state = sessions::state(tx, one.0.session)?;
                if !state.is_some_and(|state| state.facts.paused) {
                    awake.push(one);
                }
            }
            Ok(awake)
        })?;
        making.version = Some(version);
        making.left = !due.is_empty();
        Ok(due)
    }

    fn begin_making(
        self: &Arc<Self>,
        (found, waiting): (Escalation, Waiting),
        making: &Arc<Mutex<BTreeSet<EscalationId>>>,
    ) {
        let id = found.id;
        if !in_hand(making).insert(id) {
            return;
        }
        let (broker, making) = (Arc::clone(self), Arc::clone(making));
        self.tasks.spawn(async move {
            if !broker.make(found, waiting).await {
                let pause = tokio::time::sleep(AGAIN);
                let _stopped = broker.stopping.run_until_cancelled(pause).await;
            }
            in_hand(&making).remove(&id);
        });
    }

    /// Makes one call. False where it is to be tried again.
    async fn make(self: &Arc<Self>, found: Escalation, waiting: Waiting) -> bool {
        let id = found.id;
        let why = match self.call_of(&found, waiting) {
            // Of a server that only another broker has.
            None => return false,
            Some(Err(why)) => why.to_owned(),
            Some(Ok(call)) => {
                let silent = CallLine {
                    progress: None,
                    asks: None,
                    logs: None,
                    cancelled: CancellationToken::new(),
                    gone: CancellationToken::new(),
                };
                match self.call_tool(call, silent).await {
                    Answer::Refused(Refusal::Overtaken) => return true,
                    Answer::Refused(Refusal::NotRecorded | Refusal::NoRoom) => return false,
                    Answer::Refused(refusal) => why_not(&refusal),
                    Answer::Replayed { .. } => "the same call was made before".to_owned(),
                    _ => return true,
                }
            }
        };
        // Where it was made, nothing is noted by this.
        let noted = self.store.write("not made", Durability::Power, move |tx| {
            waiting::not_made(tx, id, &why, Timestamp::now())
        });
        match noted.await {
            Ok(_) => true,
            Err(error) => {
                tracing::error!(error = %Chain(&error), "it could not be noted why an approved call was not made");
                false
            }
        }
    }

    /// The call of a request, as its client would make it. None where its server is
    /// not ours.
    fn call_of(
        &self,
        found: &Escalation,
        waiting: Waiting,
    ) -> Option<Result<ToolCall, &'static str>> {
        let (server, name) = found.tool.split_once('/')?;
        let tool = ToolId {
            server: server.parse().ok()?,
            name: name.into(),
        };
        if !self.downstreams.contains_key(&tool.server) {
            return None;
        }
        let catalogue = self.catalogue();
        let (Some(name), Some(body)) = (catalogue.exposed(&tool), &found.body) else {
            return Some(Err(GONE));
        };
        let own = || IdempotencyKey::read(&waiting.task).ok();
        let key = waiting.wish.key.clone().or_else(own);
        Some(Ok(ToolCall {
            principal: found.principal.clone(),
            session: found.session,
            found: Found::by(Rule::Broker).into(),
            asking: Asking::Tool,
            name: name.into(),
            arguments: Some(body.clone()),
            rest: Vec::new(),
            continued: None,
            task: None,
            // There is nobody to ask.
            declared: Arc::default(),
            log: None,
            key,
            // Its client reads what it came to by the task, if it comes for that at all.
            awaited: Some(Awaited::in_vain()),
            meta: None,
            origin: Origin {
                credential: waiting.wish.credential.map(Into::into),
                takes_task: false,
                finds_anew: false,
                resumes: Some(found.id),
                revives: false,
            },
        }))
    }
}

fn in_hand(
    making: &Mutex<BTreeSet<EscalationId>>,
) -> std::sync::MutexGuard<'_, BTreeSet<EscalationId>> {
    // Only single operations happen under the lock.
    making.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a call was not sent, for whoever waits for it.
fn why_not(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Denied { denial, .. } | Refusal::Escalated { denial, .. } => told(denial),
        Refusal::NotConfirmed { .. } => {
            "the person in front of the client is to be asked first, and only a call of the client's own asks them".to_owned()
        }
        Refusal::EarlierUnknown { earlier, .. } => format!(
            "the same call was sent earlier in its session, and nobody saw how that ended ({earlier})"
        ),
        Refusal::SessionGone { .. } | Refusal::SessionEnded { .. } => {
            "its session is over".to_owned()
        }
        Refusal::InvalidArguments { .. } => "its arguments do not fit the tool any more".to_owned(),
        Refusal::KeyReused { .. } => "its idempotency key was given to another call".to_owned(),
        Refusal::UnknownTool { .. } | Refusal::NotOffered { .. } => GONE.to_owned(),
        _ => "it could not be sent".to_owned(),
    }
}
