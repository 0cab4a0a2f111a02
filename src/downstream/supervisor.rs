//! The task that owns a server: starts it, watches it, starts it again.

use super::Cause;
use super::Era;
use super::Failure;
use super::News;
use super::Phase;
use super::Settings;
use super::Tools;
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
use super::wire::Control;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The shortest time between two readings of the tools, for a server that says
/// with each that they changed.
const BETWEEN_LISTS: Duration = Duration::from_millis(250);
/// How long to wait before a subscription that the server ended is opened anew.
const BEFORE_LISTENING: Duration = Duration::from_secs(5);

/// Owns one server.
pub(super) struct Supervisor {
    settings: Settings,
    news: mpsc::UnboundedSender<News>,
    phase: watch::Sender<Phase>,
    wake: Arc<Notify>,
    stop: CancellationToken,
    opening: Opening,
    backoff: Backoff,
}

/// A server with its process and its link.
struct Running {
    child: Child,
    link: Arc<Link>,
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
    pub(super) fn new(
        settings: Settings,
        news: mpsc::UnboundedSender<News>,
        phase: watch::Sender<Phase>,
        wake: Arc<Notify>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            settings,
            news,
            phase,
            wake,
            stop,
            opening: Opening::Probe,
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
            let mut running = Running::spawn(&self.settings)?;
            let time = self.settings.start_timeout;
            let stop = self.stop.clone();
            let opened = tokio::select! {
                opened = tokio::time::timeout(time, self.open(&mut running)) => opened,
                () = stop.cancelled() => Ok(Err(Refusal::Failed("stopped".to_owned()))),
            };
            let why = match opened {
                Ok(Ok((greeting, listing))) => {
                    self.opening = match greeting.era {
                        Era::Legacy(_) => Opening::Initialize,
                        Era::Modern(_) => Opening::Probe,
                    };
                    let tools = digests(&listing);
                    self.tell_tools(listing);
                    self.tell(Phase::Ready {
                        link: Arc::clone(&running.link),
                        era: greeting.era,
                        server: greeting.server,
                        tools,
                    });
                    return Ok(running);
                }
                Ok(Err(Refusal::ProbeKilled)) => {
                    running
                        .end("it ended when it was asked for its revision")
                        .await;
                    self.opening = Opening::Initialize;
                    continue;
                }
                Ok(Err(Refusal::Failed(why))) => why,
                Err(_) => format!("it was not ready after {} s", time.as_secs_f32()),
            };
            self.opening = Opening::Probe;
            return Err(Trouble {
                cause: Cause::Server,
                why: running.end(&why).await,
                ran: Duration::ZERO,
            });
        }
    }

    async fn open(&self, running: &mut Running) -> Result<(Greeting, Listing), Refusal> {
        let link = Arc::clone(&running.link);
        let probe_time = self.settings.start_timeout / 3;
        let greeting = handshake::open(&link, self.opening, probe_time).await?;
        if greeting.tells_changes && matches!(greeting.era, Era::Modern(_)) {
            running.listen().await;
        }
        let listed = catalog::list(&link, &self.settings.name, &greeting.era).await;
        let listing = match listed {
            // Without the capability an error is the answer to be expected.
            Err(_) if !greeting.has_tools && !link.has_ended() => Listing::default(),
            listed => listed.map_err(Refusal::Failed)?,
        };
        Ok((greeting, listing))
    }

    /// Watches a ready server until it ends or shall end.
    async fn serve(&self, running: Running) -> Trouble {
        let since = Instant::now();
        let why = tokio::select! {
            () = self.stop.cancelled() => "it was stopped".to_owned(),
            () = running.link.ended() => running.link.why(),
            never = self.follow_changes(&running.link) => match never {},
        };
        let ran = since.elapsed();
        Trouble {
            cause: Cause::Server,
            why: running.end(&why).await,
            ran,
        }
    }

    async fn follow_changes(&self, link: &Link) -> std::convert::Infallible {
        loop {
            link.tools_changed().await;
            let era = match &*self.phase.borrow() {
                Phase::Ready { era, .. } => era.clone(),
                _ => continue,
            };
            let listing = catalog::list(link, &self.settings.name, &era);
            match tokio::time::timeout(self.settings.start_timeout, listing).await {
                Ok(Ok(listing)) => {
                    self.phase.send_modify(|phase| {
                        if let Phase::Ready { tools, .. } = phase {
                            *tools = digests(&listing);
                        }
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

    fn tell(&self, phase: Phase) {
        self.phase.send_replace(phase);
        self.report(News::State {
            server: self.settings.name.clone(),
        });
    }

    fn tell_tools(&self, listing: Listing) {
        self.report(News::Tools {
            server: self.settings.name.clone(),
            definitions: listing.definitions,
            refused: listing.refused,
        });
    }

    fn report(&self, news: News) {
        // An error says that nobody wants to know any more.
        let _ = self.news.send(news);
    }
}

fn digests(listing: &Listing) -> Tools {
    let definitions = listing.definitions.iter();
    let digests = definitions.map(|tool| (Arc::clone(&tool.id.name), tool.digest));
    Arc::new(digests.collect())
}

impl Running {
    fn spawn(settings: &Settings) -> Result<Self, Trouble> {
        let (child, pipes) = Child::spawn(settings).map_err(|not_started| {
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
        let (link, tasks) = Link::open(
            settings.name.clone(),
            settings.max_line,
            pipes.output,
            pipes.input,
        );
        Ok(Self { child, link, tasks })
    }

    /// Subscribes to changes of the tools for as long as the link lives. On
    /// return the request stands before any later one, so that no change falls
    /// between the subscription and the list that is read after it.
    async fn listen(&mut self) {
        let mut listening = Box::pin(listen(Arc::clone(&self.link)));
        let first = poll_fn(|cx| Poll::Ready(listening.as_mut().poll(cx))).await;
        if first.is_pending() {
            self.tasks.spawn(listening);
        }
    }

    /// Ends link and process, and says why in full.
    async fn end(self, why: &str) -> String {
        self.link.close_input();
        let how = self.child.end().await;
        self.link.end(format!("{why} ({how})"));
        drop(self.tasks);
        format!("{why} ({how})")
    }
}

/// A subscription is answered when the server ends it. One that it refuses is
/// not asked for again.
async fn listen(link: Arc<Link>) {
    while let Ok(Answer::Result(_)) = link.request(Control::Listen).await {
        tokio::time::sleep(BEFORE_LISTENING).await;
        link.note_change();
    }
}
