//! A server as it was opened for some of its calls only.
//!
//! A legacy one is for each caller and session whose client can be asked something or
//! hears what it logs: it is told only once, at its opening, what it may ask; and of
//! what it says beside calls nobody can tell whose call it is about. Any other is where
//! the operator wants an instance for each session or principal.

use super::Downstream;
use super::Instances;
use super::Keeper;
use super::Place;
use super::Settings;
use crate::principal::PrincipalId;
use crate::session::SessionId;
use crate::session::Stay;
use crate::tool::CallId;
use crate::tool::Declared;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How many of them there are of one server, where each is a process. One more
/// takes the place of the one that was not used for the longest time.
const MOST_PROCESSES: usize = 16;
/// The same where each is a transport session with a server elsewhere.
const MOST_ELSEWHERE: usize = 256;
/// One principal has at most one place in so many.
const SHARE: usize = 2;

/// How long a sibling is kept for a task that nobody asks after.
const TASK: Duration = Duration::from_secs(60 * 60);

/// What the calls have in common that a sibling takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What their client can be asked, whose they are, and the session. Over a pipe
    /// nobody can tell in which call a server asks; over HTTP neither, where it asks on
    /// its own stream, and it may ask about a call that was given up: only a call of
    /// somebody else would be open then.
    Heard {
        declared: Declared,
        caller: PrincipalId,
        session: SessionId,
    },
    /// The session, whoever calls in it.
    Session(SessionId),
    /// The principal, in whichever session.
    Principal(PrincipalId),
}

impl Kind {
    /// Where the transport session of such a sibling is kept. One that was opened for
    /// what a client can be asked is of no use without that client.
    fn keeper(&self, shared: Option<Keeper>) -> Option<Keeper> {
        match self {
            Self::Heard { .. } => None,
            Self::Session(id) => shared.map(|keeper| keeper.held_by(&format!("session:{id}"))),
            Self::Principal(id) => shared.map(|keeper| keeper.held_by(&format!("principal:{id}"))),
        }
    }
}

/// Who opens a sibling.
#[derive(Clone, Copy)]
pub(super) struct Opener<'a> {
    /// On whose account it is.
    pub(super) caller: &'a PrincipalId,
    /// What a legacy server is told that it may ask.
    pub(super) declared: &'a Declared,
}

/// In which of its openings an instance was last told to resume, if any, and in which
/// stay of its session there. Held while it is told.
pub(super) type ToldIn = Arc<tokio::sync::Mutex<Option<(u64, Stay)>>>;

/// The siblings of one server, the one used last at the end.
#[derive(Default)]
pub(super) struct Siblings {
    open: Mutex<Vec<Sibling>>,
}

struct Sibling {
    kind: Kind,
    /// On whose account it is.
    account: PrincipalId,
    server: Downstream,
    used: Instant,
    told: ToldIn,
    /// The calls that became tasks in it, each with when it was last asked after. They
    /// are known there only.
    tasks: Vec<(CallId, Instant)>,
}

impl Siblings {
    /// The server as it is opened for calls of this kind. None where there is no place:
    /// each that the caller may have, or each there is, is taken by a server at work.
    ///
    /// One that is opened because its client can be asked something takes the place of
    /// an idle one. An instance that somebody wants for what it keeps gives way to
    /// nobody: it ends by itself when it was idle for long.
    pub(super) fn of(
        &self,
        kind: &Kind,
        opener: Opener<'_>,
        settings: &Settings,
    ) -> Option<(Downstream, ToldIn)> {
        let now = Instant::now();
        let mut open = self.open();
        let known = open.iter().position(|one| one.kind == *kind);
        let mut sibling = match known {
            Some(place) => open.remove(place),
            None => {
                make_room(&mut open, kind, opener.caller, settings)?;
                let settings = Settings {
                    declared: Some(opener.declared.clone()),
                    instances: Instances {
                        resumes: settings.instances.resumes,
                        ..Instances::default()
                    },
                    keeper: kind.keeper(settings.keeper.clone()),
                    ..settings.clone()
                };
                // What it lists is known from the server itself.
                let (news, _nobody) = mpsc::unbounded_channel();
                Sibling {
                    kind: kind.clone(),
                    account: opener.caller.clone(),
                    server: Downstream::start(settings, news),
                    used: now,
                    told: ToldIn::default(),
                    tasks: Vec::new(),
                }
            }
        };
        sibling.used = now;
        let found = (sibling.server.clone(), Arc::clone(&sibling.told));
        open.push(sibling);
        Some(found)
    }

    /// A call of this kind has ended, and whose account its sibling is on.
    pub(super) fn used(&self, kind: &Kind) {
        let mut open = self.open();
        if let Some(sibling) = open.iter_mut().find(|one| one.kind == *kind) {
            sibling.used = Instant::now();
        }
    }

    /// On whose account the sibling of this kind is.
    pub(super) fn account(&self, kind: &Kind) -> Option<PrincipalId> {
        let open = self.open();
        let found = open.iter().find(|one| one.kind == *kind);
        found.map(|one| one.account.clone())
    }

    /// Ends those that nobody used for so long.
    pub(super) fn sweep(&self, idle: Duration) {
        let now = Instant::now();
        let is_left = |one: &Sibling| now.duration_since(one.used) >= idle && one.is_idle(now);
        // The last handle of each ends it.
        self.open().retain(|one| !is_left(one));
    }

    /// A call of this kind became a task in its sibling.
    pub(super) fn began(&self, kind: &Kind, call: CallId) {
        let mut open = self.open();
        if let Some(sibling) = open.iter_mut().find(|one| one.kind == *kind) {
            sibling.tasks.push((call, Instant::now()));
        }
    }

    /// The sibling that has the task that this call became.
    pub(super) fn with_task(&self, call: CallId) -> Option<Downstream> {
        let mut open = self.open();
        open.iter_mut().find_map(|one| {
            let task = one.tasks.iter_mut().find(|(began, _)| *began == call)?;
            task.1 = Instant::now();
            Some(one.server.clone())
        })
    }

    /// The task is over, and was fetched.
    pub(super) fn fetched(&self, call: CallId) {
        for sibling in self.open().iter_mut() {
            sibling.tasks.retain(|(began, _)| *began != call);
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Downstream> {
        let open = self.open();
        open.iter().map(|one| one.server.clone()).collect()
    }

    /// Takes all of them out.
    pub(super) fn take(&self) -> impl Iterator<Item = Downstream> + use<> {
        std::mem::take(&mut *self.open())
            .into_iter()
            .map(|one| one.server)
    }

    fn open(&self) -> MutexGuard<'_, Vec<Sibling>> {
        // Each change is whole before the lock is given back.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sibling {
    /// Nobody but its place holds it, so no call is on its way to it, and it works on
    /// no task that somebody may still ask after.
    fn is_idle(&self, now: Instant) -> bool {
        let fresh = |(_, asked): &(CallId, Instant)| now.duration_since(*asked) < TASK;
        Arc::strong_count(&self.server.desk) == 1 && !self.tasks.iter().any(fresh)
    }
}

/// Finds a place for one more. None where there is none.
fn make_room(
    open: &mut Vec<Sibling>,
    kind: &Kind,
    caller: &PrincipalId,
    settings: &Settings,
) -> Option<()> {
    let now = Instant::now();
    let (most, gives_way) = match (kind, &settings.place) {
        (Kind::Session(_) | Kind::Principal(_), _) => (settings.instances.most, false),
        (Kind::Heard { .. }, Place::Child(_)) => (MOST_PROCESSES, true),
        (Kind::Heard { .. }, Place::Remote(_)) => (MOST_ELSEWHERE, true),
    };
    let is_own = |one: &Sibling| one.account == *caller;
    let own = open.iter().filter(|one| is_own(one)).count();
    let own_only = own >= (most / SHARE).max(1);
    if own_only || open.len() >= most {
        let fits = |one: &Sibling| (is_own(one) || !own_only) && one.is_idle(now);
        let idle = open.iter().position(|one| gives_way && fits(one))?;
        // The last handle of it ends it.
        drop(open.remove(idle));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::downstream::Program;
    use std::collections::BTreeMap;

    fn settings() -> Settings {
        Settings {
            name: "s".parse().unwrap(),
            place: Place::Child(Program {
                command: "no such command".to_owned(),
                args: Vec::new(),
                env: BTreeMap::new(),
                cwd: None,
                keeper: "no such keeper".into(),
            }),
            timeout: TASK,
            start_timeout: TASK,
            max_message: 1000,
            declared: None,
            spread: crate::downstream::Spread::default(),
            instances: Instances::default(),
            keeper: None,
        }
    }

    fn kind(caller: &str, session: u8) -> Kind {
        Kind::Heard {
            declared: Declared::default(),
            caller: PrincipalId::parse(caller).unwrap(),
            session: SessionId::from_bytes([session; 16]),
        }
    }

    fn open(
        siblings: &Siblings,
        (caller, session): (&str, u8),
        settings: &Settings,
    ) -> Option<Downstream> {
        let kind = kind(caller, session);
        opened(siblings, (&kind, caller), settings)
    }

    fn opened(
        siblings: &Siblings,
        (kind, caller): (&Kind, &str),
        settings: &Settings,
    ) -> Option<Downstream> {
        let opener = Opener {
            caller: &PrincipalId::parse(caller).unwrap(),
            declared: &Declared::default(),
        };
        let found = siblings.of(kind, opener, settings);
        found.map(|(server, _told)| server)
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_gives_way_to_nobody_and_ends_when_it_was_idle_for_long() {
        let (siblings, mut settings) = (Siblings::default(), settings());
        settings.instances.most = 4;
        let of = |session| Kind::Session(SessionId::from_bytes([session; 16]));
        let at = |caller, session| opened(&siblings, (&of(session), caller), &settings);
        let (first, _second) = (at("alice", 1).unwrap(), at("alice", 2).unwrap());
        assert!(at("alice", 3).is_none(), "she has half of them");
        drop(at("bob", 4).unwrap());
        drop(at("bob", 5).unwrap());
        assert!(at("mia", 6).is_none(), "idle or not, they stay");
        // A guest finds the session's.
        let guest = at("mia", 1).unwrap();
        assert!(Arc::ptr_eq(&guest.desk, &first.desk));
        tokio::time::advance(TASK).await;
        siblings.sweep(TASK);
        assert_eq!(siblings.all().len(), 2, "those at work stay");
        assert!(at("mia", 6).is_some());
    }

    #[tokio::test]
    async fn one_principal_cannot_take_every_place() {
        let (siblings, settings) = (Siblings::default(), settings());
        let at = |caller, session| open(&siblings, (caller, session), &settings);
        let mut busy = Vec::new();
        for session in 0..8 {
            busy.push(at("alice", session).unwrap());
        }
        assert!(at("alice", 8).is_none());
        assert!(at("alice", 3).is_some(), "her own are still hers");
        let bobs: Vec<_> = (0..8).map(|session| at("bob", session).unwrap()).collect();
        assert!(at("mia", 0).is_none(), "all are at work");
        drop(bobs);
        // Of those who have all they may, one of their own gives way.
        assert!(at("alice", 9).is_none());
        busy.pop();
        assert!(at("alice", 9).is_some());
        assert!(at("mia", 0).is_some(), "an idle one of bob's gave way");
        assert_eq!(siblings.all().len(), 16);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sibling_is_kept_for_its_task_and_found_by_it() {
        let (siblings, settings) = (Siblings::default(), settings());
        let call = CallId::from_bytes([1; 16]);
        let own = open(&siblings, ("alice", 0), &settings).unwrap();
        siblings.began(&kind("alice", 0), call);
        let same = siblings.with_task(call).unwrap();
        assert!(Arc::ptr_eq(&own.desk, &same.desk));
        drop((own, same));
        // Seven more of hers, and one more takes the place of the first that is idle.
        for session in 1..=8 {
            assert!(open(&siblings, ("alice", session), &settings).is_some());
        }
        assert!(siblings.with_task(call).is_some());
        siblings.fetched(call);
        assert!(siblings.with_task(call).is_none());
        siblings.began(&kind("alice", 0), call);
        tokio::time::advance(TASK).await;
        for session in 9..20 {
            assert!(open(&siblings, ("alice", session), &settings).is_some());
        }
        assert!(siblings.with_task(call).is_none());
    }
}
