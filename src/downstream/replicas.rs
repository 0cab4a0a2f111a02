//! One server at one place, or at several: its replicas, which answer alike and
//! may each keep something of their own.
//!
//! Each replica is a [`Downstream`] with its own supervisor, which says whether it
//! is there. What the server lists is told as the first of them that is there has
//! it.

mod choice;
mod lead;

pub use choice::Absent;
pub use choice::Affinity;

use super::Downstream;
use super::News;
use super::Place;
use super::Remote;
use super::Settings;
use super::State;
use super::subscriptions::Update;
use crate::tool::Kind;
use crate::tool::Level;
use crate::tool::Lists;
use crate::tool::ServerName;
use std::fmt;
use std::future::Future;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::watch;

/// How the calls of one server are spread over several places.
#[derive(Clone, Default)]
pub struct Spread {
    /// Where it is besides its place: more replicas of it.
    pub others: Vec<Remote>,
    /// Whose calls go to one and the same of them.
    pub affinity: Affinity,
}

/// One server, wherever it is. A cheap handle, like those of its replicas.
#[derive(Clone)]
pub struct Replicas {
    server: ServerName,
    affinity: Affinity,
    first: Replica,
    others: Arc<[Replica]>,
    /// Counts the calls that may go to any.
    turn: Arc<AtomicUsize>,
    /// The place of the one whose lists are told.
    lead: Arc<AtomicUsize>,
    /// Whether what came of each first start was told.
    told: watch::Receiver<bool>,
}

/// One of them.
#[derive(Clone)]
pub struct Replica {
    url: Arc<str>,
    server: Downstream,
}

impl Replica {
    /// Its URL as the operator wrote it, which names it for good. Empty for a
    /// program.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The way to it.
    pub fn server(&self) -> &Downstream {
        &self.server
    }
}

impl fmt::Debug for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.all().map(|one| &one.server))
            .finish()
    }
}

impl From<Downstream> for Replicas {
    fn from(server: Downstream) -> Self {
        Self {
            server: server.name().clone(),
            affinity: Affinity::default(),
            first: Replica {
                url: "".into(),
                server,
            },
            others: Arc::default(),
            turn: Arc::default(),
            lead: Arc::default(),
            told: watch::Sender::new(true).subscribe(),
        }
    }
}

impl Replicas {
    /// Starts a server wherever it is. Call it inside a Tokio runtime. What is
    /// learnt of it goes to `news`.
    pub fn start(settings: Settings, news: mpsc::UnboundedSender<News>) -> Self {
        let others = settings.spread.others.clone();
        let Place::Remote(first) = &settings.place else {
            return Self::from(Downstream::start(settings, news));
        };
        if others.is_empty() {
            return Self::from(Downstream::start(settings, news));
        }
        let mut heard = Vec::new();
        let mut start = |remote: &Remote| {
            let (sender, own_news) = mpsc::unbounded_channel();
            heard.push(own_news);
            let settings = Settings {
                place: Place::Remote(remote.clone().among_others()),
                spread: Spread::default(),
                ..settings.clone()
            };
            Replica {
                url: remote.spelled(),
                server: Downstream::start(settings, sender),
            }
        };
        let (telling, told) = watch::channel(false);
        let replicas = Self {
            server: settings.name.clone(),
            affinity: settings.spread.affinity,
            first: start(first),
            others: others.iter().map(start).collect(),
            turn: Arc::default(),
            lead: Arc::default(),
            told,
        };
        let phases = replicas.all().map(|one| one.server.watched()).collect();
        let told = lead::Told {
            news,
            lead: Arc::clone(&replicas.lead),
            began: telling,
        };
        // Ends with the last of the servers that it hears.
        tokio::spawn(lead::pass_on(phases, heard, told));
        replicas
    }

    /// Each of them, in the operator's order.
    pub fn all(&self) -> impl Iterator<Item = &Replica> {
        std::iter::once(&self.first).chain(self.others.iter())
    }

    /// The only one, where there is one only.
    pub fn alone(&self) -> Option<&Replica> {
        self.others.is_empty().then_some(&self.first)
    }

    /// Whose calls go to one and the same of them.
    pub fn affinity(&self) -> Affinity {
        self.affinity
    }

    /// What the server is called.
    pub fn name(&self) -> &ServerName {
        &self.server
    }

    /// As [`Downstream::log_from`], of each.
    pub async fn log_from(&self, level: Level) {
        for one in self.all() {
            one.server.log_from(level).await;
        }
    }

    /// How long a call may take that says nothing else.
    pub fn timeout(&self) -> Duration {
        self.first.server.timeout()
    }

    /// How long the start of one may take.
    pub fn start_timeout(&self) -> Duration {
        self.first.server.start_timeout()
    }

    /// How the server is at the moment: it is there where one of them is.
    pub fn state(&self) -> State {
        let mut best = self.first.server.state();
        for one in self.others.iter() {
            let state = one.server.state();
            match (&best, &state) {
                (State::Ready { .. }, _) => break,
                (_, State::Ready { .. }) | (State::Failed { .. }, State::Starting) => best = state,
                (_, _) => {}
            }
        }
        best
    }

    /// Waits until the first start of each has ended, well or not, and that was
    /// told.
    pub async fn settled(&self) {
        for one in self.all() {
            one.server.settled().await;
        }
        let mut told = self.told.clone();
        // An error says that nothing more will be told.
        let _all_told = told.wait_for(|told| *told).await;
    }

    /// Ends each in order.
    pub async fn stop(&self) {
        for one in self.all() {
            one.server.stop().await;
        }
    }

    /// As [`Downstream::look_as`], of each.
    pub fn look_as(&self, kind: &Kind) -> bool {
        let waits = self.all().filter(|one| one.server.look_as(kind));
        waits.count() > 0
    }

    /// As [`Downstream::looks_again_as`], of the one whose lists are told.
    pub fn looks_again_as(&self, kind: &Kind) -> bool {
        self.lead().looks_again_as(kind)
    }

    /// As [`Downstream::reads_again`], of the one whose lists are told.
    pub fn reads_again(&self, of: Lists) -> bool {
        self.lead().reads_again(of)
    }

    /// As [`Downstream::fresh_for`], of the one whose lists are told.
    pub fn fresh_for(&self, of: Lists) -> Option<Duration> {
        self.lead().fresh_for(of)
    }

    fn lead(&self) -> &Downstream {
        let place = self.lead.load(Ordering::Relaxed);
        let lead = self.all().nth(place).unwrap_or(&self.first);
        &lead.server
    }

    /// Where what is said of followed resources goes from now on.
    pub fn updates_to(&self, to: &mpsc::UnboundedSender<Update>) {
        for one in self.all() {
            one.server.updates_to(to.clone());
        }
    }

    /// Returns when one of them takes calls; never where all are stopped for good.
    pub async fn up(&self) {
        let mut each: Vec<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = Vec::new();
        for one in self.all() {
            each.push(Box::pin(one.server.up()));
        }
        poll_fn(|cx| {
            let up = each.iter_mut().any(|one| one.as_mut().poll(cx).is_ready());
            match up {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}
