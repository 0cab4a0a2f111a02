//! One client's connection: the era it opened, the requests it waits for.

use super::BATCHES;
use super::Client;
use super::agreed;
use super::eras;
use super::inquiries::Inquiries;
use super::list;
use super::opening::Opening;
use super::parse::Ask;
use super::parse::Body;
use super::parse::Message;
use super::parse::Meta;
use super::parse::Notification;
use super::parse::ParseError;
use super::parse::RawId;
use super::parse::Request;
use super::parse::Wanted;
use super::parse::parse;
use super::tasks;
use super::work::Task;
use super::work::Work;
use super::write::Fault;
use super::write::INTERNAL_ERROR;
use super::write::INVALID_REQUEST;
use super::write::METHOD_NOT_FOUND;
use super::write::Outbound;
use super::write::result;
use crate::broker::Broker;
use crate::broker::Carrier;
use crate::broker::Hearing;
use crate::broker::Listener;
use crate::broker::Origin;
use crate::broker::Recipient;
use crate::broker::SessionRefusal;
use crate::principal::PrincipalId;
use crate::session::Found;
use crate::session::Named;
use crate::session::Rule;
use crate::session::SessionId;
use crate::session::TransportId;
use crate::tool::Asking;
use crate::tool::Declared;
use crate::tool::Digest;
use crate::tool::Extension;
use crate::tool::Level;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use tokio::sync::OnceCell;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

/// How many requests may wait for their answer at once. Each holds up to one
/// message in memory.
const MAX_IN_FLIGHT: usize = 256;

/// What one client and we know of each other: one stdio process, or one
/// transport session.
#[derive(Debug)]
pub struct Connection {
    pub(super) broker: Arc<Broker>,
    pub(super) principal: PrincipalId,
    /// The id of the API key that the last message came with.
    credential: Mutex<Option<Arc<str>>>,
    session: Option<Named>,
    transport: Option<TransportId>,
    own: OnceCell<SessionId>,
    legacy: AtomicBool,
    batches: AtomicBool,
    followed: AtomicBool,
    in_flight: Mutex<HashMap<Box<str>, CancellationToken>>,
    /// From which level on a legacy client wants to hear what servers log.
    level: Mutex<Option<Level>>,
    /// What a legacy client can be asked.
    declared: Mutex<Arc<Declared>>,
    /// What it was asked and did not answer yet.
    pub(super) inquiries: Inquiries,
    /// Hears of resources for a legacy client, until it is dropped.
    listener: OnceLock<(Arc<Listener>, DropGuard)>,
    /// Who reads what the client is told.
    pub(super) recipient: Recipient,
    /// The list that a legacy client was last sent.
    pub(super) listed: watch::Sender<Option<Digest>>,
    /// Cancelled when no further message will be read.
    pub(super) closing: CancellationToken,
    /// Cancelled when nobody reads the answers any more, where that takes back
    /// what was asked.
    pub(super) gone: CancellationToken,
}

/// What one message comes to.
#[derive(Debug)]
pub enum Received {
    /// Nothing is due.
    Nothing,
    /// This message goes back.
    Answer(Outbound),
    /// Something that takes its time, and says what goes back.
    Work(Work),
}

impl Connection {
    /// Opens a connection.
    pub fn new(broker: Arc<Broker>, opening: Opening) -> Arc<Self> {
        Arc::new(Self {
            broker,
            principal: opening.principal,
            credential: Mutex::default(),
            session: opening.session,
            transport: opening.transport,
            own: OnceCell::new(),
            legacy: AtomicBool::new(opening.revision.is_some()),
            batches: AtomicBool::new(opening.revision.as_deref() == Some(BATCHES)),
            followed: AtomicBool::new(false),
            in_flight: Mutex::default(),
            level: Mutex::default(),
            declared: Mutex::new(opening.declared),
            inquiries: Inquiries::default(),
            listener: OnceLock::new(),
            recipient: Recipient::default(),
            listed: watch::Sender::new(None),
            closing: opening.closing,
            gone: opening.gone,
        })
    }

    /// Takes in one message. Messages must be handed in one after another, in
    /// the order in which they came: the first `initialize` opens the legacy
    /// era for those after it, and ids in flight are compared.
    pub fn receive(self: &Arc<Self>, message: &[u8]) -> Received {
        self.take(parse(message))
    }

    /// [`receive`](Self::receive) of a message that was parsed before.
    pub fn take(self: &Arc<Self>, message: Result<Message, ParseError>) -> Received {
        match message {
            Ok(Message::Request(request)) => self.request(request),
            Ok(Message::Notification(notification)) => self.notification(&notification),
            Ok(Message::Response(response)) => {
                self.inquiries.answered(response);
                Received::Nothing
            }
            Err(refused) => Received::Answer(refused.answer()),
        }
    }

    /// The messages that are taken in from now on come with this API key.
    pub fn comes_by(&self, credential: Option<Arc<str>>) {
        *locked(&self.credential) = credential;
    }

    /// What the client is told is read on this stream from now on.
    pub fn is_heard_by(&self, hearing: &Arc<Hearing>) {
        self.recipient.is(hearing);
    }

    /// Ends the stream on which the client reads what it is told, where the right to that
    /// is gone.
    pub async fn recheck(&self) {
        self.broker.recheck_recipient(&self.recipient).await;
    }

    /// Whether several messages may come at once.
    pub fn takes_batches(&self) -> bool {
        self.batches.load(Ordering::Relaxed)
    }

    /// Telling a legacy client of changes to its list, for a transport that has a
    /// stream for it.
    pub fn following(self: &Arc<Self>) -> Work {
        Work::follow(Arc::clone(self))
    }

    /// What a client is told that may have missed a change of its lists.
    pub fn all_changed(&self) -> Vec<Outbound> {
        list::all_changed(self.broker.has())
    }

    /// Ends what only ends when the connection does. Calls go on.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Takes back every request that is in flight.
    pub fn cancel_all(&self) {
        for cancelled in self.in_flight().values() {
            cancelled.cancel();
        }
    }

    fn request(self: &Arc<Self>, request: Request) -> Received {
        let Request { id, meta, body } = request;
        let refuse = |id: Option<&RawId>, code, message: String| {
            Received::Answer(Fault::new(code, message).refuse(id))
        };
        if self.in_flight().contains_key(id.key()) {
            // Under its own id this answer would pass for that of the request
            // in flight.
            let message = format!("a request with the id {id} is still in flight: use another id");
            return refuse(None, INVALID_REQUEST, message);
        }
        let opened = meta.modern || self.legacy.load(Ordering::Relaxed);
        let task = match body {
            Body::Initialize {
                requested,
                declared,
            } => {
                *locked(&self.declared) = Arc::new(declared);
                self.legacy.store(true, Ordering::Relaxed);
                let batches = agreed(&requested) == BATCHES;
                self.batches.store(batches, Ordering::Relaxed);
                let is_new = self.carrier(&meta, Client::Legacy) == Carrier::New;
                if self.broker.is_seen() && is_new {
                    let opened = list::initialized(&requested, self.broker.has(), None);
                    return Received::Answer(result(&id, &opened));
                }
                Task::Open {
                    requested: Some(requested),
                }
            }
            Body::Ping => return Received::Answer(result(&id, "{}")),
            Body::Discover => Task::Open { requested: None },
            _ if !opened => {
                return refuse(Some(&id), INVALID_REQUEST, NOT_OPENED.to_owned());
            }
            Body::Unknown { method } => {
                let message = eras::unserved(&method, meta.client());
                return refuse(Some(&id), METHOD_NOT_FOUND, message);
            }
            Body::SetLevel { level } => {
                *locked(&self.level) = Some(level);
                Task::SetLevel(level)
            }
            Body::Listen(Wanted { tasks: ids, .. })
                if !ids.is_empty() && !meta.declared.knows(Extension::Tasks) =>
            {
                return Received::Answer(tasks::not_declared().refuse(Some(&id)));
            }
            body if body.is_about_tasks() && !self.serves_tasks(&meta) => {
                let has = self.broker.has();
                let fault = match meta.modern && has.tasks {
                    true => tasks::not_declared(),
                    false => Fault::new(METHOD_NOT_FOUND, eras::no_tasks(has, meta.client())),
                };
                return Received::Answer(fault.refuse(Some(&id)));
            }
            Body::List(of) => Task::List(of),
            Body::Ask(ask) => Task::Ask(*ask),
            Body::Tasks(after) => Task::Tasks(after),
            Body::Subscribe(ask) => Task::Subscribe(ask),
            Body::Unsubscribe(uri) => {
                self.broker.unsubscribe(self.listener(), &uri);
                return Received::Answer(result(&id, "{}"));
            }
            Body::Listen(wanted) => Task::Listen(wanted),
        };
        let cancelled = CancellationToken::new();
        let mut in_flight = self.in_flight();
        if in_flight.len() >= MAX_IN_FLIGHT {
            let message = format!("{MAX_IN_FLIGHT} requests are in flight: wait for an answer");
            return refuse(Some(&id), INTERNAL_ERROR, message);
        }
        in_flight.insert(id.key().into(), cancelled.clone());
        drop(in_flight);
        Received::Work(Work::request(Arc::clone(self), id, meta, task, cancelled))
    }

    fn notification(self: &Arc<Self>, notification: &Notification) -> Received {
        match notification {
            Notification::Initialized => {
                let first = self.legacy.load(Ordering::Relaxed)
                    && !self.followed.swap(true, Ordering::Relaxed);
                if first {
                    return Received::Work(Work::follow(Arc::clone(self)));
                }
            }
            Notification::Cancelled { request } => {
                if let Some(cancelled) = self.in_flight().get(request.key()) {
                    cancelled.cancel();
                }
            }
            Notification::Ignored => {}
        }
        Received::Nothing
    }

    /// What hears of resources for a legacy client.
    pub(super) fn listener(&self) -> &Arc<Listener> {
        let (listener, _ends) = self.listener.get_or_init(|| {
            let ended = self.closing.child_token();
            let listener = self.listener_of(&Arc::default(), ended.clone());
            (listener, ended.drop_guard())
        });
        listener
    }

    /// One who hears for this client, which can be asked this.
    pub(super) fn listener_of(
        &self,
        declared: &Arc<Declared>,
        ended: CancellationToken,
    ) -> Arc<Listener> {
        let recipient = self.recipient.clone();
        let whose = (self.principal.clone(), Arc::clone(declared), recipient);
        Listener::of(whose, ended)
    }

    /// Whether the client of one request may ask about tasks.
    pub(super) fn serves_tasks(&self, meta: &Meta) -> bool {
        let has = self.broker.has();
        match meta.client() {
            Client::Modern => has.tasks && meta.declared.knows(Extension::Tasks),
            Client::Legacy => has.asked_tasks,
        }
    }

    /// Whether the client takes a task for a call on which a person decides: a modern
    /// one that knows of them, a legacy one where it asked for one.
    pub(super) fn takes_task(&self, meta: &Meta, ask: &Ask) -> bool {
        let takes = match meta.client() {
            // Whether there are any the broker knows once the servers were seen.
            Client::Modern => meta.declared.knows(Extension::Tasks),
            Client::Legacy => ask.task.is_some() && self.serves_tasks(meta),
        };
        ask.asking == Asking::Tool && takes
    }

    /// By what way a call comes.
    pub(super) fn origin(&self, takes_task: bool) -> Origin {
        Origin::of(locked(&self.credential).clone(), takes_task)
    }

    /// What the client of one request can be asked.
    pub(super) fn declared(&self, meta: &Meta) -> Arc<Declared> {
        match meta.client() {
            Client::Modern => Arc::clone(&meta.declared),
            Client::Legacy => self.legacy_declared(),
        }
    }

    /// What a client can be asked that opened with `initialize`.
    pub(super) fn legacy_declared(&self) -> Arc<Declared> {
        Arc::clone(&locked(&self.declared))
    }

    /// From which level on the client of one request hears what servers log. A
    /// modern one hears nothing that it did not ask for (MCP 2026-07-28,
    /// server/utilities/logging); nor does a legacy one before it says from which
    /// level on (2025-11-25, ibid.: what is sent before is the server's to decide).
    pub(super) fn level(&self, meta: &Meta) -> Option<Level> {
        match meta.client() {
            Client::Modern => meta.log,
            Client::Legacy => *locked(&self.level),
        }
    }

    /// The answer to this request is on its way, or will never be.
    pub(super) fn done(&self, id: &RawId) {
        self.in_flight().remove(id.key());
    }

    /// The session of one request: the one it names, else the one of this
    /// connection, else a legacy client's own, else the principal's default; and
    /// which of these it was.
    pub(super) async fn session(
        &self,
        meta: &Meta,
    ) -> Result<(SessionId, Arc<Found>), SessionRefusal> {
        let carrier = self.carrier(meta, meta.client());
        let open = || self.broker.session(&self.principal, &carrier);
        let session = match carrier {
            Carrier::Named(_) | Carrier::Default => open().await?,
            // Opened when it is first needed: many clients start a server and
            // never call it.
            Carrier::Transport(_) | Carrier::New => *self.own.get_or_try_init(open).await?,
        };
        let last = match (meta.client(), &self.transport) {
            (Client::Modern, _) => Rule::Default,
            (Client::Legacy, Some(_)) => Rule::Transport,
            (Client::Legacy, None) => Rule::Connection,
        };
        let found = Found::among(meta.session.as_deref(), self.session.as_ref(), last);
        Ok((session, found.into()))
    }

    /// How the session of a request is named.
    fn carrier(&self, meta: &Meta, client: Client) -> Carrier {
        let named = meta.session.as_deref().or(self.session.as_ref());
        match (named, client, &self.transport) {
            (Some(named), ..) => Carrier::Named(named.text.as_ref().to_owned()),
            (None, Client::Modern, _) => Carrier::Default,
            (None, Client::Legacy, Some(transport)) => Carrier::Transport(transport.clone()),
            (None, Client::Legacy, None) => Carrier::New,
        }
    }

    /// Where the session stands that a request would belong to.
    pub(super) async fn digest(&self, meta: &Meta, client: Client) -> Option<String> {
        let carrier = self.carrier(meta, client);
        self.broker.digest(&self.principal, &carrier).await
    }

    fn in_flight(&self) -> std::sync::MutexGuard<'_, HashMap<Box<str>, CancellationToken>> {
        locked(&self.in_flight)
    }
}

/// Only single operations happen under these locks.
fn locked<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

const NOT_OPENED: &str = "send `initialize` first, or put `io.modelcontextprotocol/protocolVersion` and `io.modelcontextprotocol/clientCapabilities` into `params._meta` of each request";
