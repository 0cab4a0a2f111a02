//! The tool servers that we call: child processes that speak MCP on their
//! standard input and output, and servers elsewhere that speak it over HTTP.
//!
//! What a server says is read strictly and passed on as the text it was; no
//! typed model of it is built, because such a model loses fields. What is said
//! to a server comes from one closed list (`wire`), and a `tools/call` is on it
//! only together with a [`Permit`](crate::permit::Permit).
//!
//! ```text
//! Replicas ── one Downstream for each place
//! Downstream ── supervisor ── child ── keeper ── the server
//!     │              │
//!     └── reach ─────┴── handshake, catalog
//!          ├── link     a pair of streams
//!          └── remote   requests over HTTP
//!               ├── wire     all that is written
//!               └── message  all that is read
//! ```

mod asks;
mod backoff;
mod call;
mod catalog;
mod child;
mod connected;
mod era;
mod freshness;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod handshake;
mod hook;
mod instances;
mod keeper;
mod kept;
mod last_words;
mod level;
mod lines;
mod link;
mod message;
mod meta;
mod news;
mod offers;
mod pages;
mod program;
mod reach;
mod remote;
mod replicas;
mod sending;
mod siblings;
mod subscriptions;
mod supervisor;
mod wire;

#[cfg(test)]
mod tests;

use crate::tool::Declared;
use crate::tool::Kind;
use crate::tool::Level;
use crate::tool::Lists;
use crate::tool::ServerName;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

pub use asks::Ask;
pub use asks::Asks;
pub use asks::Reply;
pub use asks::asks_only;
pub use asks::can_be_asked;
pub use asks::wants_pages;
pub use call::Answers;
pub use call::CallLine;
pub use call::OutgoingCall;
pub use call::Sent;
pub use call::Unbridged;
pub use catalog::Resource;
pub use catalog::Resources;
pub use connected::ClientId;
pub use connected::ConnectionId;
pub use era::Era;
pub use hook::Hook;
pub use hook::HookError;
pub use hook::Mail;
pub use hook::MailError;
pub use hook::MailTls;
pub use hook::Note;
pub use hook::Told;
pub use instances::Before;
pub use instances::Instance;
pub use instances::Instances;
pub use instances::Opened;
pub use keeper::keep;
pub use kept::Keeper;
pub use kept::Keeping;
pub use kept::Kept;
pub use kept::KeptFor;
pub use kept::KeptSession;
pub use meta::traces;
pub use news::News;
pub use news::State;
pub use offers::Offers;
pub use pages::Asked as AskedPages;
pub use remote::Remote;
pub use remote::RemoteError;
pub use remote::Transport;
pub use replicas::Absent;
pub use replicas::Affinity;
pub use replicas::Replica;
pub use replicas::Replicas;
pub use replicas::Spread;
pub use subscriptions::Standing;
pub use subscriptions::Update;

use catalog::Remembered;
use freshness::Fresh;
use reach::Reach;
use siblings::Siblings;
use subscriptions::Updates;
use supervisor::Outlets;
use supervisor::Supervisor;

/// What the operator says of one server. Not `Debug`: its environment and its
/// headers may hold secrets.
#[derive(Clone)]
pub struct Settings {
    /// What it is called.
    pub name: ServerName,
    /// Where it is.
    pub place: Place,
    /// How its calls are spread, where it is at more than one place.
    pub spread: Spread,
    /// How many instances there are of it.
    pub instances: Instances,
    /// Where its transport session is kept, where that is to outlive this process.
    pub keeper: Option<Keeper>,
    /// How long a call may take that says nothing else.
    pub timeout: Duration,
    /// How long the start may take, from the process or the first request to the
    /// first list of tools, and how long a call waits for a server that is not
    /// there.
    pub start_timeout: Duration,
    /// The longest message that is read from it, in bytes.
    pub max_message: usize,
    /// What a legacy server is told that it may ask, where it serves one session
    /// only. Set by [`Downstream`] itself.
    pub declared: Option<Declared>,
}

impl Settings {
    /// The default of [`max_message`](Self::max_message): 16 MiB.
    pub const MAX_MESSAGE: usize = 16 << 20;
}

/// Where a server is.
#[derive(Clone)]
pub enum Place {
    /// A child process of ours, spoken to over its standard input and output.
    Child(Program),
    /// Somewhere else, spoken to over HTTP.
    Remote(Remote),
}

/// A program that is a server.
#[derive(Clone)]
pub struct Program {
    /// The program, by path or by a name that is looked up on the `PATH` that
    /// the child gets.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, besides the few variables that every server gets.
    pub env: BTreeMap<String, String>,
    /// Where it runs, if not where we do.
    pub cwd: Option<PathBuf>,
    /// The program of [`keep`]: our own.
    pub keeper: PathBuf,
}

/// One server, for as long as the broker runs: it is started, watched and
/// started again by a task of its own. A cheap handle; when the last one is
/// gone, the server is stopped.
#[derive(Clone)]
pub struct Downstream {
    desk: Arc<Desk>,
}

struct Desk {
    settings: Settings,
    siblings: Siblings,
    level: Arc<level::Wanted>,
    /// As what kinds of clients its lists are wanted too.
    kinds: watch::Sender<BTreeSet<Kind>>,
    /// Over a pipe nobody can tell in which call a server asks: then a call whose
    /// client hears it is the only one at a time.
    turn: tokio::sync::RwLock<()>,
    phase: watch::Receiver<Phase>,
    /// Where what is said of followed resources goes.
    updates: Arc<Updates>,
    wake: Arc<Notify>,
    /// The lists are to be read again.
    again: Arc<Notify>,
    stop: CancellationToken,
    _stops_with_the_last_handle: DropGuard,
}

/// What the supervisor tells the handles.
enum Phase {
    Starting,
    Ready {
        /// How often it was opened until now.
        opening: u64,
        link: Reach,
        era: Era,
        offers: Offers,
        server: String,
        /// What this very process listed last.
        listed: Remembered,
        /// The same as it listed it to kinds of clients, where that is asked of
        /// this very process.
        kinds: BTreeMap<Kind, Remembered>,
        /// Until when all of that is fresh.
        fresh: Fresh,
    },
    Failed(Failure),
    Stopped,
}

/// Why there is no server at the moment.
#[derive(Clone, Debug)]
struct Failure {
    why: String,
    attempts: u32,
    /// Nothing will change by itself: the program is not there.
    cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The command cannot be run; only the operator can change that.
    Command,
    /// It said that it does not serve for now.
    Unavailable,
    /// Anything else; the next attempt may go well.
    Server,
}

impl fmt::Debug for Downstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Downstream").field(&self.state()).finish()
    }
}

impl Downstream {
    /// Starts the server and the task that owns it. Call it inside a Tokio
    /// runtime. What it learns of the server goes to `news`.
    pub fn start(settings: Settings, news: mpsc::UnboundedSender<News>) -> Self {
        let (downstream, supervisor) = Self::supervised(settings, news);
        tokio::spawn(supervisor.run());
        instances::sweeps(&downstream.desk);
        downstream
    }

    fn supervised(settings: Settings, news: mpsc::UnboundedSender<News>) -> (Self, Supervisor) {
        let (phase_now, phase) = watch::channel(Phase::Starting);
        let wake = Arc::new(Notify::new());
        let again = Arc::new(Notify::new());
        let stop = CancellationToken::new();
        // A sibling is asked to tell of no resource: what it says of one is nobody's.
        let followed = settings.declared.is_none();
        let updates = Arc::new(Updates::of(settings.name.clone(), followed));
        let level = Arc::<level::Wanted>::default();
        let kinds = watch::Sender::new(BTreeSet::new());
        let desk = Desk {
            settings: settings.clone(),
            siblings: Siblings::default(),
            level: Arc::clone(&level),
            kinds: kinds.clone(),
            turn: tokio::sync::RwLock::default(),
            phase,
            updates: Arc::clone(&updates),
            wake: Arc::clone(&wake),
            again: Arc::clone(&again),
            stop: stop.clone(),
            _stops_with_the_last_handle: stop.clone().drop_guard(),
        };
        let downstream = Self {
            desk: Arc::new(desk),
        };
        let told = supervisor::Told {
            wake,
            again,
            stop,
            level,
            kinds: kinds.subscribe(),
        };
        let to = Outlets {
            news,
            phase: phase_now,
            updates,
        };
        let supervisor = Supervisor::new(settings, to, told);
        (downstream, supervisor)
    }

    /// Somebody hears from this level on what the server logs. One that needs to be
    /// told is told the least severe level that anybody wants. Returns when it has
    /// taken that in, or does not within a moment.
    pub async fn log_from(&self, level: Level) {
        let link = || match &*self.desk.phase.borrow() {
            Phase::Ready {
                link, era, offers, ..
            } if offers.is_told_level(era) => Some(link.clone()),
            _ => None,
        };
        self.desk.level.lower(level, link).await;
        for sibling in self.desk.siblings.all() {
            Box::pin(sibling.log_from(level)).await;
        }
    }

    /// Whether it is known to ask in the middle of calls: it speaks a revision
    /// that has no other way, or it is not there yet.
    pub fn may_ask_in_a_call(&self) -> bool {
        match &*self.desk.phase.borrow() {
            Phase::Ready { era, .. } => matches!(era, Era::Legacy(_)),
            Phase::Starting | Phase::Failed(_) => true,
            Phase::Stopped => false,
        }
    }

    /// What it is called.
    pub fn name(&self) -> &ServerName {
        &self.desk.settings.name
    }

    /// How it is, for somebody who must not keep it running.
    fn watched(&self) -> watch::Receiver<Phase> {
        self.desk.phase.clone()
    }

    /// How long a call may take that says nothing else.
    pub fn timeout(&self) -> Duration {
        self.desk.settings.timeout
    }

    /// How long its start may take.
    pub fn start_timeout(&self) -> Duration {
        self.desk.settings.start_timeout
    }

    /// How the server is at the moment.
    pub fn state(&self) -> State {
        match &*self.desk.phase.borrow() {
            Phase::Starting => State::Starting,
            Phase::Ready { era, server, .. } => State::Ready {
                era: era.clone(),
                server: server.clone(),
            },
            Phase::Failed(failure) => State::Failed {
                why: failure.why.clone(),
                attempts: failure.attempts,
            },
            Phase::Stopped => State::Stopped,
        }
    }

    /// What the server has, while it takes calls.
    pub fn offers(&self) -> Option<Offers> {
        match &*self.desk.phase.borrow() {
            Phase::Ready { offers, .. } => Some(*offers),
            Phase::Starting | Phase::Failed(_) | Phase::Stopped => None,
        }
    }

    /// Has its lists read again where its own time for this one is over. Returns
    /// whether that is so; at most one reading is under way.
    pub fn reads_again(&self, of: Lists) -> bool {
        let over = match &*self.desk.phase.borrow() {
            Phase::Ready { fresh, .. } => fresh.is_over(of, Instant::now()),
            Phase::Starting | Phase::Failed(_) | Phase::Stopped => false,
        };
        if over {
            self.desk.again.notify_one();
        }
        over
    }

    /// How long a list of it is still fresh by its own word; none where it says
    /// nothing of that.
    pub fn fresh_for(&self, of: Lists) -> Option<Duration> {
        match &*self.desk.phase.borrow() {
            Phase::Ready { fresh, .. } => fresh.left(of, Instant::now()),
            Phase::Starting | Phase::Failed(_) | Phase::Stopped => None,
        }
    }

    /// Waits until the first start has ended, well or not.
    pub async fn settled(&self) {
        let mut phase = self.desk.phase.clone();
        // An error says that the supervisor is gone, which is settled too.
        let _ = phase
            .wait_for(|phase| !matches!(phase, Phase::Starting))
            .await;
    }

    /// Ends the server in order: its input is closed, then its process group
    /// gets SIGTERM, then SIGKILL, with a pause after each. Returns when the
    /// group is gone.
    pub async fn stop(&self) {
        self.desk.stop.cancel();
        for sibling in self.desk.siblings.take() {
            Box::pin(sibling.stop()).await;
        }
        let mut phase = self.desk.phase.clone();
        // An error says that the supervisor is gone, and its server with it.
        let _ = phase
            .wait_for(|phase| matches!(phase, Phase::Stopped))
            .await;
    }
}

/// A text of a server made fit for one line of a log or a message: no control
/// characters, at most `max` characters.
fn shown(text: &str, max: usize) -> String {
    text.trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(max)
        .collect()
}
