//! Servers on a pair of streams instead of in a process, for the tests of
//! later rooms. Everything but the process is as it is in production.

use super::Cause;
use super::Connection;
use super::Phase;
use super::Supervisor;
use super::Trouble;
use crate::downstream::Downstream;
use crate::downstream::News;
use crate::downstream::Settings;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;

impl Downstream {
    /// A server that is there already, and that nobody can start again.
    pub(crate) fn on<R, W>(
        settings: Settings,
        news: mpsc::UnboundedSender<News>,
        from: R,
        to: W,
    ) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let connection = Connection::open(&settings, from, to);
        let (downstream, supervisor) = Self::supervised(settings, news);
        tokio::spawn(supervisor.run_on(connection));
        downstream
    }

    /// Waits until we know that the server is gone.
    pub(crate) async fn gone(&self) {
        let mut phase = self.desk.phase.clone();
        let failed = phase.wait_for(|phase| matches!(phase, Phase::Failed(_)));
        drop(failed.await.unwrap());
    }
}

impl Supervisor {
    async fn run_on(mut self, mut connection: Connection) {
        let opened = self.open(&mut connection, None).await;
        let (greeting, listing) = opened.expect("the server of a test can be opened");
        self.let_in(&connection, greeting, listing).await;
        let why = self.watch(&connection.link).await;
        connection.end(why.clone());
        while !self.stop.is_cancelled() {
            let trouble = Trouble {
                cause: Cause::Command,
                why: why.clone(),
                ran: Duration::ZERO,
            };
            self.rest(trouble).await;
        }
        self.tell(Phase::Stopped);
    }
}
