//! The task that owns a server: starts it, watches it, starts it again.

mod changes;
mod kinds;
#[cfg(test)]
mod piped;
mod running;

use super::Cause;
use super::Era;
use super::Failure;
use super::Keeper;
use super::KeptSession;
use super::News;
use super::Phase;
use super::Place;
use super::Settings;
use super::backoff;
use super::backoff::Backoff;
use super::catalog;
use super::catalog::Listing;
use super::freshness::Fresh;
use super::handshake;
use super::handshake::Greeting;
use super::handshake::Opening;
use super::handshake::Refusal;
use super::level::Wanted;
use super::offers::Offers;
use super::reach::Reach;
use super::remote::Transport;
use super::subscriptions::Updates;
use crate::tool::Kind;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use running::Connection;
use running::Running;

/// Owns one server.
pub(super) struct Supervisor {
    settings: Settings,
    to: Outlets,
    wake: Arc<Notify>,
    again: Arc<Notify>,
    stop: CancellationToken,
    level: Arc<Wanted>,
    kinds: watch::Receiver<BTreeSet<Kind>>,
    /// Moves each time its lists were read anew.
    listings: watch::Sender<u64>,
    opening: Opening,
    /// The server has the older pair of endpoints.
    pair: bool,
    backoff: Backoff,
    /// How often it was opened.
    openings: AtomicU64,
}

/// Where it tells what it learns.
pub(super) struct Outlets {
    pub(super) news: mpsc::UnboundedSender<News>,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) updates: Arc<Updates>,
}

/// By what the handles tell it something.
pub(super) struct Told {
    /// Come early with the next attempt.
    pub(super) wake: Arc<Notify>,
    /// Read the lists again.
    pub(super) again: Arc<Notify>,
    /// End.
    pub(super) stop: CancellationToken,
    /// From which level on somebody hears what the server logs.
    pub(super) level: Arc<Wanted>,
    /// As what kinds of clients its lists are wanted too.
    pub(super) kinds: watch::Receiver<BTreeSet<Kind>>,
}

/// What a server lists, and when it was asked for.
type Listed = (Listing, Instant);

/// What went wrong, before it is counted.
struct Trouble {
    cause: Cause,
    why: String,
    ran: Duration,
}

impl Supervisor {
    /// Takes what the handles share with it.
    pub(super) fn new(settings: Settings, to: Outlets, told: Told) -> Self {
        Self {
            settings,
            to,
            wake: told.wake,
            again: told.again,
            stop: told.stop,
            level: told.level,
            kinds: told.kinds,
            listings: watch::Sender::new(0),
            opening: Opening::Probe,
            pair: false,
            backoff: Backoff::default(),
            openings: AtomicU64::new(0),
        }
    }

    /// Runs until it is told to stop and the server is gone.
    pub(super) async fn run(mut self) {
        while !self.stop.is_cancelled() {
            let trouble = match self.start().await {
                Ok(running) => self.serve(running).await,
                Err(trouble) => trouble,
            };
            if self.stop.is_cancelled() {
                break;
            }
            self.rest(trouble).await;
        }
        self.tell(Phase::Stopped);
    }

    /// One attempt: process, opening, first list.
    async fn start(&mut self) -> Result<Running, Trouble> {
        let mut kept = self.settings.keeper.as_ref().and_then(Keeper::session);
        loop {
            let mut running = match &self.settings.place {
                Place::Child(program) => Running::spawn(&self.settings, program)?,
                Place::Remote(remote) => {
                    let paired = self.pair || remote.transport() == Transport::Sse;
                    let reached = Running::reach(&self.settings, remote, paired);
                    match self.stop.run_until_cancelled(reached).await {
                        Some(reached) => reached?,
                        None => return Err(Trouble::of("stopped".to_owned())),
                    }
                }
            };
            let time = self.settings.start_timeout;
            let stop = self.stop.clone();
            let opened = tokio::select! {
                opened = tokio::time::timeout(time, self.open(&mut running.connection, kept.as_ref())) => opened,
                () = stop.cancelled() => Ok(Err(Refusal::Failed("stopped".to_owned()))),
            };
            let why = match opened {
                Ok(Ok((greeting, listing))) => {
                    self.opening = match greeting.era {
                        Era::Legacy(_) => Opening::Initialize,
                        Era::Modern(_) => Opening::Probe,
                    };
                    self.let_in(&running.connection, greeting, listing).await;
                    return Ok(running);
                }
                // It is there, and does not know the transport session any more.
                Ok(Err(Refusal::Failed(_)))
                    if kept.is_some() && !running.connection.link.has_ended() =>
                {
                    running.end("its transport session was lost").await;
                    kept = None;
                    continue;
                }
                Ok(Err(Refusal::ProbeKilled)) => {
                    running
                        .end("it ended when it was asked for its revision")
                        .await;
                    self.opening = Opening::Initialize;
                    continue;
                }
                Ok(Err(Refusal::Failed(_))) if self.finds_pair(&running) => {
                    self.pair = true;
                    continue;
                }
                Ok(Err(Refusal::Failed(why))) => why,
                Err(_) => {
                    // It may wait for something in a transport session that it lost.
                    self.settings
                        .keeper
                        .as_ref()
                        .inspect(|keeper| keeper.forget());
                    not_ready_after(time)
                }
            };
            self.opening = Opening::Probe;
            self.pair = false;
            return Err(Trouble {
                cause: Cause::Server,
                why: running.end(&why).await,
                ran: Duration::ZERO,
            });
        }
    }

    /// Whether a server that took no `initialize` may have the older pair.
    fn finds_pair(&self, running: &Running) -> bool {
        let Place::Remote(remote) = &self.settings.place else {
            return false;
        };
        remote.transport() == Transport::Either && !self.pair && running.connection.suggests_pair()
    }

    /// Opens a connection and reads the tools for the first time.
    async fn open(
        &self,
        connection: &mut Connection,
        kept: Option<&KeptSession>,
    ) -> Result<(Greeting, Listed), Refusal> {
        connection.link.tell(Arc::clone(&self.to.updates));
        let carried = kept.and_then(|kept| handshake::carry_on(&connection.link, kept));
        match carried {
            Some(greeting) => Self::read(connection, &self.settings, greeting).await,
            None => Self::open_by(connection, &self.settings, self.opening).await,
        }
    }

    /// Keeps the transport session of a server that is ready.
    fn keep(&self, connection: &Connection, greeting: &Greeting) {
        let Some(keeper) = &self.settings.keeper else {
            return;
        };
        match connection.link.transport_session() {
            Some(id) => keeper.keep(id, greeting),
            None => keeper.forget(),
        }
    }

    /// Keeps each transport session that is opened in place of a lost one.
    async fn follow_transport(&self, link: &Reach) -> std::convert::Infallible {
        loop {
            link.renewed().await;
            if let (Some(keeper), Some(id)) = (&self.settings.keeper, link.transport_session()) {
                keeper.renew(id);
            }
        }
    }

    async fn open_by(
        connection: &mut Connection,
        settings: &Settings,
        opening: Opening,
    ) -> Result<(Greeting, Listed), Refusal> {
        let link = connection.link.clone();
        let probe_time = settings.start_timeout / 3;
        let declared = settings.declared.clone().unwrap_or_default();
        let greeting = handshake::open(&link, opening, (probe_time, &declared)).await?;
        Self::read(connection, settings, greeting).await
    }

    /// Reads the lists of a server that was opened.
    async fn read(
        connection: &mut Connection,
        settings: &Settings,
        greeting: Greeting,
    ) -> Result<(Greeting, Listed), Refusal> {
        let link = connection.link.clone();
        let declared = settings.declared.clone().unwrap_or_default();
        let (era, offers) = (&greeting.era, greeting.offers);
        let speaks = offers.tells_changes || offers.subscriptions || offers.logging;
        if speaks || !declared.asks_nothing() {
            connection.hear_changes(era, offers).await;
        }
        let asked = Instant::now();
        let listed = catalog::list(&link, &settings.name, (era, offers), &declared).await;
        let listing = listed.map_err(Refusal::Failed)?;
        Ok((greeting, (listing, asked)))
    }

    /// Watches a ready server until it ends or shall end.
    async fn serve(&self, running: Running) -> Trouble {
        let since = Instant::now();
        let why = self.watch(&running.connection.link).await;
        let ran = since.elapsed();
        let cause = match running.connection.link.is_down() {
            true => Cause::Unavailable,
            false => Cause::Server,
        };
        Trouble {
            cause,
            why: running.end(&why).await,
            ran,
        }
    }

    /// Follows the tools of a ready server, and says why it is one no longer.
    async fn watch(&self, link: &Reach) -> String {
        tokio::select! {
            () = self.stop.cancelled() => "it was stopped".to_owned(),
            () = link.ended() => link.why(),
            never = self.follow_changes(link) => match never {},
            never = self.follow_kinds(link) => match never {},
            never = self.follow_transport(link) => match never {},
        }
    }

    /// Waits for the next attempt. A call that waits too makes it come early.
    async fn rest(&mut self, trouble: Trouble) {
        let attempts = self.backoff.failed(trouble.ran);
        let pause = self.backoff.pause();
        tracing::warn!(
            server.name = %self.settings.name,
            attempts,
            why = trouble.why,
            pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "the server is not running"
        );
        let wake = Arc::clone(&self.wake);
        // INVARIANT: listens before the state is told, since who reads the
        // state then wakes us only once.
        let mut woken = std::pin::pin!(wake.notified());
        woken.as_mut().enable();
        self.tell(Phase::Failed(Failure {
            why: trouble.why,
            attempts,
            cause: trouble.cause,
        }));
        let shortest = tokio::time::sleep(pause.min(backoff::FIRST));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = async { woken.await; shortest.await } => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// A server is ready: tells its tools, then that it takes calls.
    /// Lets calls reach a server that has just opened.
    async fn let_in(&self, on: &Connection, greeting: Greeting, listed: Listed) {
        let told = greeting.offers.is_told_level(&greeting.era);
        let ready = || self.tell_ready(on, greeting, listed);
        self.level.opened(told.then_some(&on.link), ready).await;
    }

    fn tell_ready(&self, on: &Connection, greeting: Greeting, (listing, asked): Listed) {
        self.keep(on, &greeting);
        let listed = listing.remembered();
        let fresh = Fresh::of(&listing.lasts, (asked, Instant::now()));
        self.tell_tools(greeting.offers, listing);
        let before = self.openings.fetch_add(1, Ordering::Relaxed);
        self.tell(Phase::Ready {
            opening: before + 1,
            link: on.link.clone(),
            era: greeting.era,
            offers: greeting.offers,
            server: greeting.server,
            listed,
            kinds: BTreeMap::new(),
            fresh,
        });
    }

    fn tell(&self, phase: Phase) {
        self.to.phase.send_replace(phase);
        self.report(News::State {
            server: self.settings.name.clone(),
        });
    }

    fn tell_tools(&self, offers: Offers, listing: Listing) {
        self.report(News::Tools {
            server: self.settings.name.clone(),
            kind: Kind::default(),
            offers,
            definitions: listing.definitions,
            refused: listing.refused,
            resources: listing.resources,
        });
    }

    fn report(&self, news: News) {
        // An error says that nobody wants to know any more.
        let _ = self.to.news.send(news);
    }
}

/// What is said of a server that took too long, and what to change about it.
fn not_ready_after(start_timeout: Duration) -> String {
    let seconds = start_timeout.as_secs_f32();
    format!("it was not ready after {seconds} s, which is its `start_timeout`")
}

impl Trouble {
    /// Trouble with a server that never ran.
    fn of(why: String) -> Self {
        Self {
            cause: Cause::Server,
            why,
            ran: Duration::ZERO,
        }
    }
}
