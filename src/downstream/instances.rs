//! Instances of a server for each session or principal: a process of their own, or a
//! transport session of their own with a legacy server elsewhere. What the server
//! lists is read from one more, which takes no calls.
//!
//! A server of 2026-07-28 over HTTP keeps nothing for a connection, so there is
//! nothing to have an instance of.

use super::CallLine;
use super::Desk;
use super::Downstream;
use super::Era;
use super::Keeper;
use super::OutgoingCall;
use super::Phase;
use super::Sent;
use super::reach::Reach;
use super::sending::Ready;
use super::siblings::Kind;
use super::siblings::Opener;
use super::siblings::Told;
use crate::permit::Permit;
use crate::principal::PrincipalId;
use crate::session::SessionId;
use crate::tool::Asking;
use crate::tool::Declared;
use crate::tool::TaskAsk;
use std::sync::Arc;
use std::sync::Weak;
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;

const NO_PLACE: &str = "every instance of it that there may be is in use, or was a short time ago";

/// What is said to whoever follows a resource that each instance has for itself.
pub(super) const NOT_FOLLOWED: &str =
    "it has several instances, and nobody can follow what one of them has";

/// Whose calls an instance takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Instance {
    /// Everybody's.
    #[default]
    Shared,
    /// Those of one session.
    PerSession,
    /// Those of one principal.
    PerPrincipal,
}

/// How many instances there are of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instances {
    /// Whose calls each takes.
    pub of: Instance,
    /// How many there may be at once, besides the one for the lists. One principal
    /// has at most half of them.
    pub most: usize,
    /// After how long an unused one ends.
    pub idle: Duration,
    /// One that was started again is told to resume its session before it takes a call.
    pub resumes: bool,
}

impl Default for Instances {
    fn default() -> Self {
        Self {
            of: Instance::Shared,
            most: 32,
            idle: Duration::from_secs(30 * 60),
            resumes: false,
        }
    }
}

/// A session's instance that takes calls, held so that nobody else tells it to
/// resume meanwhile.
pub struct Opened {
    by: Opening,
    told: OwnedMutexGuard<Option<(u64, Stay)>>,
    stay: Stay,
}

/// Since when a session is on a replica without a break (milliseconds since 1970), where
/// its server has several. An instance that it comes back to knows nothing of what was
/// done elsewhere.
pub type Stay = Option<i64>;

/// One opening of an instance.
struct Opening {
    number: u64,
    /// It needs to be told nothing, although nobody here has told it anything.
    goes_on: bool,
    /// Where is kept that it was told, and in which transport session.
    keeps: Option<(Keeper, String)>,
}

/// What is known here of an instance before this opening of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// It is the same that it was.
    Same,
    /// It was another, which ended.
    Another,
    /// Nothing: it is the first that this process opened.
    Unknown,
}

impl Opened {
    /// Notes that it needs to be told nothing more.
    pub fn settle(mut self) {
        *self.told = Some((self.by.number, self.stay));
        if let Some((keeper, id)) = self.by.keeps {
            keeper.told(id);
        }
    }

    /// What it was before. One that the session has left meanwhile is another.
    pub fn before(&self) -> Before {
        match *self.told {
            Some((_, stay)) if stay != self.stay => Before::Another,
            _ if self.by.goes_on => Before::Same,
            Some((before, _)) if before == self.by.number => Before::Same,
            Some(_other) => Before::Another,
            None => Before::Unknown,
        }
    }

    /// Notes that it goes on as it was.
    pub fn goes_on(mut self) {
        *self.told = Some((self.by.number, self.stay));
    }
}

impl Downstream {
    /// Whose calls an instance of it takes.
    pub fn instance(&self) -> Instance {
        self.desk.settings.instances.of
    }

    /// The instance of a session in this stay of it, once it takes calls. None where
    /// there is no place for one, or it does not open in time: the call will find that
    /// out.
    pub async fn opened_for(
        &self,
        (session, stay): (SessionId, Stay),
        (caller, declared): (&PrincipalId, &Declared),
    ) -> Option<Opened> {
        let kind = Kind::Session(session);
        let (server, told) = self.instance_at(&kind, (caller, declared))?;
        let told = told.lock_owned().await;
        let up = tokio::time::timeout(self.start_timeout(), server.up());
        up.await.ok()?;
        let by = server.opening()?;
        Some(Opened { by, told, stay })
    }

    fn instance_at(
        &self,
        kind: &Kind,
        (caller, declared): (&PrincipalId, &Declared),
    ) -> Option<(Downstream, Told)> {
        let questions = match kind {
            Kind::Heard { .. } | Kind::Session(_) => declared.questions(),
            // It could not tell to which of their sessions a question belongs.
            Kind::Principal(_) => Declared::default(),
        };
        let opener = Opener {
            caller,
            declared: &questions,
        };
        let settings = &self.desk.settings;
        self.desk.siblings.of(kind, opener, settings)
    }

    /// Its last opening, while it takes calls.
    fn opening(&self) -> Option<Opening> {
        match &*self.desk.phase.borrow() {
            Phase::Ready {
                opening,
                link,
                goes_on,
                ..
            } => {
                let reopened = link.reopened();
                let keeper = self.desk.settings.keeper.clone();
                Some(Opening {
                    number: (opening << 32) + reopened,
                    goes_on: *goes_on && reopened == 0,
                    keeps: keeper.zip(link.transport_session()),
                })
            }
            Phase::Starting | Phase::Failed(_) | Phase::Stopped => None,
        }
    }

    /// The kind of the instance that takes these calls, where each has its own.
    pub(super) fn own_instance(
        &self,
        ready: &Ready,
        (caller, session): (&PrincipalId, SessionId),
    ) -> Option<Kind> {
        if matches!((&ready.link, &ready.era), (Reach::Http(_), Era::Modern(_))) {
            return None;
        }
        match self.desk.settings.instances.of {
            Instance::Shared => None,
            Instance::PerSession => Some(Kind::Session(session)),
            Instance::PerPrincipal => Some(Kind::Principal(caller.clone())),
        }
    }

    /// Sends a call to the instance of its session or principal; what is asked about a
    /// task to the one that has it.
    pub(super) async fn call_instance(
        &self,
        permit: Permit,
        (call, mut line): (OutgoingCall, CallLine),
        kind: &Kind,
    ) -> Sent {
        let siblings = &self.desk.siblings;
        if let Some(began) = call.task_of
            && let Some(instance) = siblings.with_task(began)
        {
            let fetches = call.asking == Asking::Task(TaskAsk::Result);
            let sent = Box::pin(instance.call(permit, call, line)).await;
            if fetches && matches!(sent, Sent::Result { .. } | Sent::Error { .. }) {
                siblings.fetched(began);
            }
            return sent;
        }
        let who = (&call.caller, &*call.declared);
        let Some((instance, _told)) = self.instance_at(kind, who) else {
            return Sent::Busy { why: NO_PLACE };
        };
        instance.desk.updates.joins(&self.desk.updates);
        let is_owners = siblings.account(kind).as_ref() == Some(&call.caller);
        if matches!(kind, Kind::Principal(_)) || !is_owners {
            // Nobody can tell of whose call it speaks.
            (line.asks, line.logs) = (None, None);
        }
        let level = self.desk.level.level();
        if let (Some(level), true) = (level, line.logs.is_some()) {
            Box::pin(instance.log_from(level)).await;
        }
        let id = permit.call();
        let sent = Box::pin(instance.call(permit, call, line)).await;
        if matches!(sent, Sent::Task { .. }) {
            siblings.began(kind, id);
        }
        siblings.used(kind);
        sent
    }
}

/// Ends the instances that nobody uses, for as long as their server runs.
pub(super) async fn sweep(desk: Weak<Desk>, idle: Duration) {
    loop {
        tokio::time::sleep(idle / 4).await;
        match desk.upgrade() {
            Some(desk) if !desk.stop.is_cancelled() => desk.siblings.sweep(idle),
            Some(_) | None => return,
        }
    }
}

/// Begins to sweep where there is something to sweep.
pub(super) fn sweeps(desk: &Arc<Desk>) {
    let instances = desk.settings.instances;
    if instances.of != Instance::Shared {
        tokio::spawn(sweep(Arc::downgrade(desk), instances.idle));
    }
}
