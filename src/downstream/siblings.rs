//! A legacy server as it was opened for one caller in one session, whose client can
//! be asked something or hears what it logs. It is told only once, at its opening, what
//! it may ask; and of what it says beside calls nobody can tell whose call it is about.

use super::Downstream;
use super::Place;
use super::Settings;
use crate::principal::PrincipalId;
use crate::session::SessionId;
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

/// What calls of one kind have in common: what their client can be asked, whose they
/// are, and the session. Over a pipe nobody can tell in which call a server asks; over
/// HTTP neither, where it asks on its own stream, and it may ask about a call that was
/// given up: only a call of somebody else would be open then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) declared: Declared,
    pub(super) caller: PrincipalId,
    pub(super) session: SessionId,
}

/// The siblings of one server, the one used last at the end.
#[derive(Default)]
pub(super) struct Siblings {
    open: Mutex<Vec<Sibling>>,
}

struct Sibling {
    kind: Kind,
    server: Downstream,
    /// The calls that became tasks in it, each with when it was last asked after. They
    /// are known there only.
    tasks: Vec<(CallId, Instant)>,
}

impl Siblings {
    /// The server as it is opened for calls of this kind. None where there is no place:
    /// each that the caller may have, or each there is, is taken by a server at work.
    pub(super) fn of(&self, kind: Kind, settings: &Settings) -> Option<Downstream> {
        let most = most(&settings.place);
        let now = Instant::now();
        let mut open = self.open();
        let known = open.iter().position(|one| one.kind == kind);
        let sibling = match known {
            Some(place) => open.remove(place),
            None => {
                let is_own = |one: &Sibling| one.kind.caller == kind.caller;
                let own = open.iter().filter(|one| is_own(one)).count();
                let own_only = own >= most / SHARE;
                if own_only || open.len() >= most {
                    let idle = open
                        .iter()
                        .position(|one| (is_own(one) || !own_only) && one.is_idle(now))?;
                    // The last handle of it ends it.
                    drop(open.remove(idle));
                }
                let settings = Settings {
                    declared: Some(kind.declared.clone()),
                    ..settings.clone()
                };
                // What it lists is known from the server itself.
                let (news, _nobody) = mpsc::unbounded_channel();
                Sibling {
                    kind,
                    server: Downstream::start(settings, news),
                    tasks: Vec::new(),
                }
            }
        };
        let server = sibling.server.clone();
        open.push(sibling);
        Some(server)
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

fn most(place: &Place) -> usize {
    match place {
        Place::Child(_) => MOST_PROCESSES,
        Place::Remote(_) => MOST_ELSEWHERE,
    }
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
        }
    }

    fn kind(caller: &str, session: u8) -> Kind {
        Kind {
            declared: Declared::default(),
            caller: PrincipalId::parse(caller).unwrap(),
            session: SessionId::from_bytes([session; 16]),
        }
    }

    #[tokio::test]
    async fn one_principal_cannot_take_every_place() {
        let (siblings, settings) = (Siblings::default(), settings());
        let at = |caller, session| siblings.of(kind(caller, session), &settings);
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
        let own = siblings.of(kind("alice", 0), &settings).unwrap();
        siblings.began(&kind("alice", 0), call);
        let same = siblings.with_task(call).unwrap();
        assert!(Arc::ptr_eq(&own.desk, &same.desk));
        drop((own, same));
        // Seven more of hers, and one more takes the place of the first that is idle.
        for session in 1..=8 {
            assert!(siblings.of(kind("alice", session), &settings).is_some());
        }
        assert!(siblings.with_task(call).is_some());
        siblings.fetched(call);
        assert!(siblings.with_task(call).is_none());
        siblings.began(&kind("alice", 0), call);
        tokio::time::advance(TASK).await;
        for session in 9..20 {
            assert!(siblings.of(kind("alice", session), &settings).is_some());
        }
        assert!(siblings.with_task(call).is_none());
    }
}
