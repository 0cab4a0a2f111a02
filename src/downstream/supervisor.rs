//! The task that owns a server: starts it, watches it, starts it again.

#[cfg(test)]
mod piped;

use super::Cause;
use super::Era;
use super::Failure;
use super::News;
use super::Phase;
use super::Place;
use super::Program;
use super::Remote;
use super::Settings;
use super::backoff;
use super::backoff::Backoff;
use super::catalog;
use super::catalog::Listing;
use super::child::Child;
use super::child::NotStarted;
use super::handshake;
use super::handshake::Greeting;
use super::handshake::Opening;
use super::handshake::Refusal;
use super::link::Link;
use super::message::Answer;
use super::offers::Offers;
use super::reach::Reach;
use super::remote;
use super::remote::HttpLink;
use super::remote::Transport;
use super::subscriptions::Updates;
use super::wire::Control;
use crate::tool::Level;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The shortest time between two readings of the tools, for a server that says
/// with each that they changed.
const BETWEEN_LISTS: Duration = Duration::from_millis(250);
/// How long a legacy server elsewhere may take to open the stream of what it says by
/// itself, before it is asked anything else.
const UNTIL_HEARD: Duration = Duration::from_secs(1);
/// How long to wait before a subscription that the server ended is opened anew.
const BEFORE_LISTENING: Duration = Duration::from_secs(5);

/// Owns one server.
pub(super) struct Supervisor {
    settings: Settings,
    to: Outlets,
    wake: Arc<Notify>,
    stop: CancellationToken,
    level: watch::Receiver<Option<Level>>,
    opening: Opening,
    /// The server has the older pair of endpoints.
    pair: bool,
    backoff: Backoff,
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
    /// End.
    pub(super) stop: CancellationToken,
    /// From which level on somebody hears what the server logs.
    pub(super) level: watch::Receiver<Option<Level>>,
}

/// A server with the connection to it, and its process where it is one of ours.
struct Running {
    child: Option<Child>,
    connection: Connection,
}

/// A link and what works for it.
struct Connection {
    link: Reach,
    /// Reading, writing and listening. Dropped last, so that the last output is
    /// still read.
    tasks: JoinSet<()>,
}

/// What went wrong, before it is counted.
struct Trouble {
    cause: Cause,
    why: String,
    ran: Duration,
}

impl Supervisor {
    /// Takes what the handles share with it.
    pub(super) fn new(settings: Settings, to: Outlets, Told { wake, stop, level }: Told) -> Self {
        Self {
            settings,
            to,
            wake,
            stop,
            level,
            opening: Opening::Probe,
            pair: false,
            backoff: Backoff::default(),
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
                opened = tokio::time::timeout(time, self.open(&mut running.connection)) => opened,
                () = stop.cancelled() => Ok(Err(Refusal::Failed("stopped".to_owned()))),
            };
            let why = match opened {
                Ok(Ok((greeting, listing))) => {
                    self.opening = match greeting.era {
                        Era::Legacy(_) => Opening::Initialize,
                        Era::Modern(_) => Opening::Probe,
                    };
                    self.tell_ready(&running.connection, greeting, listing);
                    return Ok(running);
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
                Err(_) => format!("it was not ready after {} s", time.as_secs_f32()),
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
    async fn open(&self, connection: &mut Connection) -> Result<(Greeting, Listing), Refusal> {
        let link = connection.link.clone();
        link.tell(Arc::clone(&self.to.updates));
        let probe_time = self.settings.start_timeout / 3;
        let declared = self.settings.declared.clone().unwrap_or_default();
        let greeting = handshake::open(&link, self.opening, (probe_time, &declared)).await?;
        let (era, offers) = (&greeting.era, greeting.offers);
        let speaks = offers.tells_changes || offers.subscriptions || offers.logging;
        if speaks || !declared.asks_nothing() {
            connection.hear_changes(era, offers).await;
        }
        let listed = catalog::list(&link, &self.settings.name, (era, offers)).await;
        let listing = listed.map_err(Refusal::Failed)?;
        Ok((greeting, listing))
    }

    /// Watches a ready server until it ends or shall end.
    async fn serve(&self, running: Running) -> Trouble {
        let since = Instant::now();
        let why = self.watch(&running.connection.link).await;
        let ran = since.elapsed();
        Trouble {
            cause: Cause::Server,
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
            never = self.tell_level(link) => match never {},
        }
    }

    /// Tells a server that has just opened from which level on somebody hears what
    /// it logs.
    async fn tell_level(&self, link: &Reach) -> std::convert::Infallible {
        let logs = match &*self.to.phase.borrow() {
            Phase::Ready { era, offers, .. } => matches!(era, Era::Legacy(_)) && offers.logging,
            Phase::Starting | Phase::Failed(_) | Phase::Stopped => false,
        };
        let wanted = *self.level.borrow();
        if let (true, Some(level)) = (logs, wanted) {
            // Whether it follows is its own affair.
            let _told = link.request(Control::SetLevel { level }).await;
        }
        std::future::pending().await
    }

    async fn follow_changes(&self, link: &Reach) -> std::convert::Infallible {
        loop {
            link.tools_changed().await;
            let (era, offers) = match &*self.to.phase.borrow() {
                Phase::Ready { era, offers, .. } => (era.clone(), *offers),
                _ => continue,
            };
            let listing = catalog::list(link, &self.settings.name, (&era, offers));
            match tokio::time::timeout(self.settings.start_timeout, listing).await {
                Ok(Ok(listing)) => {
                    self.to.phase.send_if_modified(|phase| {
                        if let Phase::Ready { listed, .. } = phase {
                            *listed = listing.digests();
                        }
                        // Nobody waits for this.
                        false
                    });
                    self.tell_tools(listing);
                }
                Ok(Err(why)) => {
                    tracing::warn!(server.name = %self.settings.name, why, "the changed tools cannot be listed; the known ones stay");
                }
                Err(_) => {
                    tracing::warn!(server.name = %self.settings.name, "the changed tools were not listed in time; the known ones stay");
                }
            }
            tokio::time::sleep(BETWEEN_LISTS).await;
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
    fn tell_ready(&self, on: &Connection, greeting: Greeting, listing: Listing) {
        let listed = listing.digests();
        self.tell_tools(listing);
        self.tell(Phase::Ready {
            link: on.link.clone(),
            era: greeting.era,
            offers: greeting.offers,
            server: greeting.server,
            listed,
        });
    }

    fn tell(&self, phase: Phase) {
        self.to.phase.send_replace(phase);
        self.report(News::State {
            server: self.settings.name.clone(),
        });
    }

    fn tell_tools(&self, listing: Listing) {
        self.report(News::Tools {
            server: self.settings.name.clone(),
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

impl Running {
    fn spawn(settings: &Settings, program: &Program) -> Result<Self, Trouble> {
        let (child, pipes) = Child::spawn(&settings.name, program).map_err(|not_started| {
            let (cause, why) = match not_started {
                NotStarted::Command(why) => (Cause::Command, why),
                NotStarted::System(why) => (Cause::Server, why),
            };
            Trouble {
                cause,
                why,
                ran: Duration::ZERO,
            }
        })?;
        let connection = Connection::open(settings, pipes.output, pipes.input);
        Ok(Self {
            child: Some(child),
            connection,
        })
    }

    /// Makes ready to speak to a server elsewhere.
    async fn reach(settings: &Settings, remote: &Remote, paired: bool) -> Result<Self, Trouble> {
        let connection = match paired {
            false => {
                let link = HttpLink::new(
                    settings.name.clone(),
                    remote,
                    settings.max_message,
                    settings.declared.clone().unwrap_or_default(),
                );
                Connection {
                    link: Reach::Http(Arc::new(link.map_err(Trouble::of)?)),
                    tasks: JoinSet::new(),
                }
            }
            true => {
                let opening = remote::pair(remote, settings.max_message);
                let opened = tokio::time::timeout(settings.start_timeout, opening).await;
                let late = || Trouble::of("it opened no stream in time".to_owned());
                let pair = opened.map_err(|_late| late())?.map_err(Trouble::of)?;
                let mut connection = Connection::open(settings, pair.from, pair.to);
                let mut tasks = pair.tasks;
                connection
                    .tasks
                    .spawn(async move { while tasks.join_next().await.is_some() {} });
                connection
            }
        };
        Ok(Self {
            child: None,
            connection,
        })
    }

    /// Ends connection and process, and says why in full.
    async fn end(self, why: &str) -> String {
        self.connection.link.close_input();
        let why = match self.child {
            Some(child) => format!("{why} ({})", child.end().await),
            None => why.to_owned(),
        };
        self.connection.end(why.clone());
        why
    }
}

impl Connection {
    /// Begins to read and write.
    fn open<R, W>(settings: &Settings, from: R, to: W) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (link, tasks) = Link::open(settings.name.clone(), settings.max_message, from, to);
        Self {
            link: Reach::Pipe(link),
            tasks,
        }
    }

    fn suggests_pair(&self) -> bool {
        match &self.link {
            Reach::Pipe(_) => false,
            Reach::Http(link) => link.suggests_pair(),
        }
    }

    /// Makes sure that we hear of changes.
    async fn hear_changes(&mut self, era: &Era, offers: Offers) {
        match (era, &self.link) {
            (Era::Modern(_), _) if offers.tells_changes => self.listen(offers).await,
            // Resources are followed by requests of their own there; and a legacy
            // server on a pipe says all of it on the stream by which it answers.
            (Era::Modern(_), _) | (Era::Legacy(_), Reach::Pipe(_)) => {}
            (Era::Legacy(_), Reach::Http(link)) => {
                let link = Arc::clone(link);
                let (stands, stood) = oneshot::channel();
                self.tasks.spawn(async move { link.follow(stands).await });
                // What it says before there is a stream is lost, a question in the
                // first call too.
                let _open_or_late = tokio::time::timeout(UNTIL_HEARD, stood).await;
            }
        }
    }

    /// Subscribes to changes of the tools for as long as the link lives. On
    /// return the request stands before any later one, so that no change falls
    /// between the subscription and the list that is read after it.
    async fn listen(&mut self, offers: Offers) {
        let mut listening = Box::pin(listen(self.link.clone(), offers));
        let first = poll_fn(|cx| Poll::Ready(listening.as_mut().poll(cx))).await;
        if first.is_pending() {
            self.tasks.spawn(listening);
        }
    }

    /// Ends the link, then drops what worked for it.
    fn end(self, why: String) {
        self.link.end(why);
        drop(self.tasks);
    }
}

/// A subscription is answered when the server ends it, or ends with its
/// connection. One that it refuses is not asked for again.
async fn listen(link: Reach, offers: Offers) {
    loop {
        match link.request(Control::Listen { offers }).await {
            Ok(Answer::Result(_)) => {}
            Err(_) if !link.has_ended() => {}
            Ok(Answer::Error(_) | Answer::Invalid(_)) | Err(_) => return,
        }
        tokio::time::sleep(BEFORE_LISTENING).await;
        link.note_change();
    }
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
