//! The broker: the steps of one call, and what they need at hand.

mod admit;
mod answer;
mod at_once;
mod call;
mod catalogue;
mod close;
mod confirming;
mod custody;
mod deciding;
mod denied;
mod earlier;
mod entry;
mod escalate;
mod escalations;
mod events;
mod follow;
mod forward;
mod kept;
mod kinds;
mod known;
mod labels;
mod lists;
mod memory;
mod metered;
mod names;
pub mod notify;
mod on_approval;
mod open_calls;
mod own;
mod paused;
mod place;
mod receipt;
mod resolve;
mod resources;
mod resume;
mod retry;
mod revive;
mod ruled;
mod said;
mod send;
mod settings;
mod settle;
mod settlement;
mod start_error;
mod subscriptions;
mod tasks;
mod transports;
mod units;
mod upkeep;
mod waiting;

#[cfg(test)]
pub(crate) mod testing;

pub use crate::downstream::Ask as ServerAsk;
pub use crate::downstream::Asks;
pub use crate::downstream::CallLine;
pub use crate::downstream::Era;
pub use crate::downstream::Reply as ClientReply;
pub use crate::downstream::Unbridged;
pub use crate::tool::Lists;
pub use answer::Answer;
pub use answer::Asked;
pub use answer::Carrier;
pub use answer::NotKept;
pub use answer::Paused;
pub use answer::Question;
pub use answer::Refusal;
pub use answer::SessionRefusal;
pub use answer::StillOpen;
pub use call::Continued;
pub use call::Left;
pub use call::Origin;
pub use call::ToolCall;
pub use catalogue::Catalogue;
pub use catalogue::Has;
pub use catalogue::Known;
pub use catalogue::Naming;
pub use catalogue::Rules;
pub use catalogue::Shape;
pub use confirming::Said;
pub use confirming::Unasked;
pub use confirming::Unconfirmed;
pub use custody::Custody;
pub use custody::HeldError;
pub use denied::Again;
pub use denied::Denials;
pub use escalate::Requested;
pub use escalations::DecisionRefusal;
pub use escalations::Ground;
pub use escalations::Ruling;
pub use escalations::escalation_json;
pub use escalations::escalation_value;
pub use events::EventRefusal;
pub use events::event_json;
pub use forward::Webhooks;
pub use kept::Keep;
pub use own::OwnTools;
pub use own::percent_decoded;
pub use receipt::Awaited;
pub use receipt::Receipt;
pub use resources::Listing;
pub use resume::Standing;
pub use ruled::Way;
pub use said::Resume;
pub use said::ServerRules;
pub use settings::Settings;
pub use start_error::StartError;
pub use subscriptions::Hearing;
pub use subscriptions::Listener;
pub use subscriptions::Recipient;
pub use subscriptions::Right;
pub use subscriptions::Word;
pub use units::Unit;
pub use units::Units;
pub use waiting::BegunTask;
pub use waiting::Settled;
pub use waiting::TaskStands;
pub use waiting::TaskView;

use crate::cause::Chain;
use crate::downstream::Replicas;
use crate::journal::Effect;
use crate::journal::Signer;
use crate::outcome::Outcome;
use crate::permit::Permit;
use crate::pins::Besides;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Writer;
use crate::tool::Asking;
use crate::tool::Kind;
use crate::tool::Offered;
use crate::tool::ServerName;
use admit::Admitted;
use admit::Candidate;
use arc_swap::ArcSwap;
use catalogue::Leads;
use catalogue::Route;
use close::Held;
use earlier::Patience;
use jiff::Timestamp;
use kinds::Kinds;
use known::Known as KnownSessions;
use open_calls::OpenCalls;
use open_calls::Place;
use place::Places;
use receipt::Tellings;
use retry::Cleared;
use retry::Once;
use serde_json::json as value;
use settlement::Charged;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Instant;
use subscriptions::Subscriptions;
use tasks::Led;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use transports::Transports;
use upkeep::Reload;

/// What stands in the place of arguments that a client left out.
const NO_ARGUMENTS: &str = "{}";

/// How much of a name that leads nowhere is recorded, in characters.
const MAX_RECORDED_NAME: usize = 128;

/// The broker of one process.
#[derive(Debug)]
pub struct Broker {
    store: Arc<Store>,
    writer: Writer,
    /// How calls are recorded that need no transaction.
    desk: Option<at_once::Desk>,
    settings: Arc<Settings>,
    downstreams: BTreeMap<ServerName, Replicas>,
    known: KnownSessions,
    /// Who is on which replica.
    places: Places,
    open_calls: OpenCalls,
    /// Who is being told of calls that ended.
    tellings: Tellings,
    /// Seals what clients keep for us.
    sealing: [u8; 32],
    /// Signs where the journal ends.
    signer: Arc<Signer>,
    catalogue: ArcSwap<Catalogue>,
    changes: watch::Sender<u64>,
    subscriptions: Subscriptions,
    reloads: mpsc::Sender<Reload>,
    /// Servers of which nothing is known yet, not even that they are down.
    unseen: watch::Sender<BTreeSet<ServerName>>,
    /// Servers whose resources are not known yet, and that are not known to be down.
    unlisted: watch::Sender<BTreeSet<ServerName>>,
    kinds: Kinds,
    /// What each server has besides what is pinned.
    besides: Mutex<BTreeMap<ServerName, Besides>>,
    transports: Transports,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl Broker {
    /// Countersigns one call: decides it, records it, sends it if it may be
    /// sent, and closes the record. It runs to its end even if the caller stops
    /// waiting, because what was sent cannot be taken back.
    pub async fn call_tool(self: &Arc<Self>, call: ToolCall, line: CallLine) -> Answer {
        let broker = Arc::clone(self);
        let begun = Instant::now();
        let name = call.name.clone();
        // In a box, because each layer of a task moves what it is given, and this
        // is large.
        let steps = Box::pin(async move { broker.steps(call, line, begun).await });
        let ended = self.tasks.spawn(steps).await;
        match ended {
            Ok(ended) => {
                let answer = ended.unwrap_or_else(Answer::Refused);
                answer.log(&name, begun);
                answer
            }
            Err(fault) => {
                tracing::error!(error = %fault, "a call ended by a fault of ours");
                Answer::Refused(Refusal::NotRecorded)
            }
        }
    }

    async fn steps(
        self: &Arc<Self>,
        mut call: ToolCall,
        line: CallLine,
        came: Instant,
    ) -> Result<Answer, Refusal> {
        let (cleared, open) = match self.clear(&mut call, &line, came).await? {
            (Once::Cleared(cleared), open) => (*cleared, open),
            (Once::Before(answer), _) => return Ok(*answer),
        };
        let Cleared {
            permit,
            charged,
            route,
            task,
            labels,
            subject,
        } = cleared;
        let server = match &route.leads {
            Leads::Own(own) => {
                let about = (call, task, labels);
                return Ok(self.own(permit, (*own, &route), about, &line).await);
            }
            Leads::Out(server) => server,
        };
        let early = labels::heard_before_the_end(&labels, &line);
        let heard = (!early.is_empty()).then(|| charged.brings(early, permit.call()));
        let keyed = call.key.is_some();
        let awaited = call.awaited.clone();
        let placed = self.place((&route, server), (&call, task.as_ref()), Some(&line));
        let (closing, answer) = match placed.await {
            Err(sent) => settle::judged(permit.call(), &route, sent, self.settings.keep),
            Ok(replica) => {
                self.revive((&route.tool.server, replica.server()), &call)
                    .await;
                let to = (&*route, replica.server(), task);
                let ended = match heard {
                    None => self.send(permit, to, call, line).await,
                    Some(heard) => {
                        let sending = Box::pin(self.send(permit, to, call, line));
                        Box::pin(self.heard_meanwhile(&heard, sending)).await
                    }
                };
                let begun = (&charged.charges, &*route, replica);
                self.keep_task(begun, ended).await
            }
        };
        self.open_calls.let_go(open);
        let effect = Effect::of(route.gate.rules().access);
        let ending = keyed.then(|| retry::ending(&closing, &answer));
        let is_unknown = matches!(closing.outcome, Outcome::Unknown | Outcome::TimedOut);
        let (told, read) = match is_unknown {
            true => (subject, None),
            // What is under a key is kept for it anyway.
            false => (None, subject.filter(|_| !keyed)),
        };
        if let Some((subject, awaited)) = read.zip(awaited.clone()) {
            self.await_reading((subject, effect), (&closing, &answer), awaited);
        }
        let answer = charged.told(answer);
        let held = Held { charged, labels };
        let answer = self.close(&route, (closing, ending), held, answer).await;
        if let Some(subject) = told {
            let awaited = awaited.unwrap_or_else(Awaited::at_once);
            self.await_told(&subject, subject.call, awaited);
        }
        Ok(answer)
    }

    /// Step 4: where the name leads. A name that nobody has may be that of a
    /// server which was never seen and is just starting; it is waited for until
    /// it is there, whatever other servers are up to.
    async fn route(&self, call: &ToolCall, now: Timestamp) -> Result<Led, Refusal> {
        if let Asking::Task(_) = call.asking {
            return match self.leads_to_task(call).map_err(not_recorded)? {
                Some(led) => Ok(led),
                None => Err(self.nowhere(call, now).await),
            };
        }
        if let Some(route) = self.leads(call) {
            return Ok((route, None));
        }
        let mut changes = self.changes();
        let appears = async {
            loop {
                if let Some(route) = self.leads(call) {
                    return route;
                }
                // It cannot end: we hold the sender.
                let _moved = changes.changed().await;
            }
        };
        tokio::select! {
            biased;
            route = appears => return Ok((route, None)),
            () = self.may_appear(call.asking) => {}
        }
        if let Some(route) = self.leads(call) {
            return Ok((route, None));
        }
        Err(self.nowhere(call, now).await)
    }

    /// Returns when what is named will not appear any more by itself. What resources
    /// a server has nobody knows before it is there.
    async fn may_appear(&self, asking: Asking) {
        match asking {
            Asking::Tool | Asking::Prompt | Asking::Task(_) => self.first_sight().await,
            Asking::Read | Asking::Subscribe | Asking::Complete => self.resources_known().await,
        }
    }

    /// A name that leads nowhere.
    async fn nowhere(&self, call: &ToolCall, now: Timestamp) -> Refusal {
        let named: String = call.name.chars().take(MAX_RECORDED_NAME).collect();
        let named = match call.asking {
            Asking::Tool => named,
            other => format!("{} {named}", other.method()),
        };
        self.unknown_tool(call, named, "unknown_tool", now).await
    }

    fn leads(&self, call: &ToolCall) -> Option<Arc<Route>> {
        let catalogue = self.catalogue.load();
        let completes_prompt = call.asking == Asking::Complete && call.of_prompt();
        match completes_prompt {
            false => catalogue.route(call.asking, &call.name),
            true => {
                let prompt = catalogue.route(Asking::Prompt, &call.name)?;
                catalogue.other(&prompt.tool.server, Asking::Complete)
            }
        }
    }

    /// Step 5: the arguments, read once. A tool that the caller may not see is as
    /// unknown as one that is not there.
    async fn read_arguments(
        &self,
        call: &ToolCall,
        route: &Arc<Route>,
        now: Timestamp,
    ) -> Result<Candidate, Refusal> {
        if !self.catalogue.load().shows(&call.principal, route) {
            let tool = route.tool.to_string();
            return Err(self.unknown_tool(call, tool, "hidden_tool", now).await);
        }
        if let Offered::To(_) = &route.offered
            && !route.offered.includes(&Kind::of(&call.declared))
        {
            let tool = route.tool.to_string();
            let refusal = self.unknown_tool(call, tool, "not_offered", now).await;
            return Err(match refusal {
                Refusal::UnknownTool { asking, name } => Refusal::NotOffered {
                    asking,
                    name,
                    needs: route.offered.fewest().cloned().unwrap_or_default(),
                },
                other => other,
            });
        }
        let arguments = call.arguments.as_deref().unwrap_or(NO_ARGUMENTS);
        let policies = route.policies;
        let subject = call.subject(route.tool.to_string(), arguments, policies);
        match route.gate.read(arguments) {
            Ok(reading) => Ok(Candidate {
                subject,
                route: Arc::clone(route),
                reading,
                key: call.key.clone(),
                continues: call.continued.as_ref().and_then(|continued| continued.call),
                came: now,
                patience: Patience::default(),
                place: Place::default(),
                early: BTreeSet::new(),
                origin: call.origin.clone(),
                to_decide_on: call.to_decide_on(route).then(|| arguments.into()),
                decides_in_vain: None,
                confirming: call.confirming(route, arguments),
                kept_arguments: kept::arguments(
                    self.settings.keep,
                    &route.gate.rules().keeping,
                    arguments,
                ),
            }),
            Err(error) => {
                let call = subject.call;
                let problem = error.to_string();
                let detail = value!({ "code": "invalid_arguments", "problem": &problem });
                self.record_refused(subject, Outcome::InvalidArguments, detail, now)
                    .await?;
                Err(Refusal::InvalidArguments { call, problem })
            }
        }
    }

    /// To the caller a hidden tool and none are the same; the record tells them
    /// apart.
    async fn unknown_tool(
        &self,
        call: &ToolCall,
        tool: String,
        code: &str,
        now: Timestamp,
    ) -> Refusal {
        let arguments = call.arguments.as_deref().unwrap_or(NO_ARGUMENTS);
        let policies = self.catalogue.load().bundle().digest();
        let subject = call.subject(tool, arguments, policies);
        let detail = value!({ "code": code });
        let recorded = self.record_refused(subject, Outcome::UnknownTool, detail, now);
        match recorded.await {
            Ok(()) => Refusal::UnknownTool {
                asking: call.asking,
                name: call.name.clone(),
            },
            Err(refusal) => refusal,
        }
    }

    /// Steps 6 to 8: decide and open the record as one step; what comes out is
    /// the permit, or why there is none. `came` is when the call was there: what
    /// was committed before is decided on.
    async fn admit(
        &self,
        candidate: Candidate,
        (came, now): (Instant, Timestamp),
    ) -> Result<(Charged, Permit, Shown), Refusal> {
        let admitted = match self.admit_at_once(&candidate, (came, now)) {
            Some(admitted) => admitted?,
            // In a box, because most calls need no room for it.
            None => Box::pin(self.admit_in_store(candidate, now)).await?,
        };
        let ((allowed, charged, shown), entry) = admitted.split(|admitted| {
            let Admitted {
                allowed,
                entry,
                charged,
                shown,
            } = admitted;
            ((allowed, charged, Shown(shown)), entry)
        });
        match Permit::new(allowed, entry) {
            Ok(permit) => Ok((charged, permit, shown)),
            Err(mismatch) => {
                tracing::error!(error = %mismatch, "no permit for a call");
                Err(Refusal::NotRecorded)
            }
        }
    }
}

/// Whether a call may be sent because of what a person was shown of it. Then nothing
/// goes with it that they were not.
struct Shown(bool);

fn not_recorded(error: StoreError) -> Refusal {
    tracing::error!(error = %Chain(&error), "a call could not be recorded, so it was not sent");
    match error.is_full() {
        true => Refusal::NoRoom,
        false => Refusal::NotRecorded,
    }
}
