//! A server that runs: its process, the connection to it, and what works for that.

use super::Trouble;
use crate::downstream::Cause;
use crate::downstream::Era;
use crate::downstream::Program;
use crate::downstream::Remote;
use crate::downstream::Settings;
use crate::downstream::child::Child;
use crate::downstream::child::NotStarted;
use crate::downstream::link::Link;
use crate::downstream::message::Answer;
use crate::downstream::offers::Offers;
use crate::downstream::reach::Reach;
use crate::downstream::remote;
use crate::downstream::remote::HttpLink;
use crate::downstream::wire::Control;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// How long a legacy server elsewhere may take to open the stream of what it says by
/// itself, before it is asked anything else.
const UNTIL_HEARD: Duration = Duration::from_secs(1);
/// How long to wait before a subscription that the server ended is opened anew.
const BEFORE_LISTENING: Duration = Duration::from_secs(5);

/// A server with the connection to it, and its process where it is one of ours.
pub(super) struct Running {
    child: Option<Child>,
    pub(super) connection: Connection,
}

/// A link and what works for it.
pub(super) struct Connection {
    pub(super) link: Reach,
    /// Reading, writing and listening. Dropped last, so that the last output is
    /// still read.
    tasks: JoinSet<()>,
}

impl Running {
    pub(super) fn spawn(settings: &Settings, program: &Program) -> Result<Self, Trouble> {
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
    pub(super) async fn reach(
        settings: &Settings,
        remote: &Remote,
        paired: bool,
    ) -> Result<Self, Trouble> {
        let connection = match paired {
            false => {
                let link = HttpLink::new(
                    settings.name.clone(),
                    remote,
                    settings.max_message,
                    settings.declared.clone().unwrap_or_default(),
                );
                let mut link = link.map_err(Trouble::of)?;
                if settings.instances.resumes {
                    link = link.that_is_resumed();
                }
                Connection {
                    link: Reach::Http(Arc::new(link)),
                    tasks: JoinSet::new(),
                }
            }
            true => {
                let opening = remote::pair(remote, settings.max_message);
                let opened = tokio::time::timeout(settings.start_timeout, opening).await;
                let late =
                    || Trouble::of("it opened no stream within its `start_timeout`".to_owned());
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
    pub(super) async fn end(self, why: &str) -> String {
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
    pub(super) fn open<R, W>(settings: &Settings, from: R, to: W) -> Self
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

    pub(super) fn suggests_pair(&self) -> bool {
        match &self.link {
            Reach::Pipe(_) => false,
            Reach::Http(link) => link.suggests_pair(),
        }
    }

    /// Makes sure that we hear of changes.
    pub(super) async fn hear_changes(&mut self, era: &Era, offers: Offers) {
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
    pub(super) fn end(self, why: String) {
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
