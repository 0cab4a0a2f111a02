//! What a server says by itself over HTTP: a legacy one on a stream of its own,
//! a modern one in answer to a request that stays open.

use super::HttpLink;
use super::LAST_EVENT;
use super::RESUME;
use super::RESUME_AT_MOST;
use super::answers::Waits;
use crate::downstream::ConnectionId;
use crate::downstream::Era;
use crate::downstream::OutgoingCall;
use crate::downstream::Sent;
use crate::downstream::message;
use crate::downstream::pages::Asked;
use crate::downstream::subscriptions::Ear;
use crate::downstream::subscriptions::Updates;
use crate::downstream::wire::Awaits;
use crate::downstream::wire::Frame;
use crate::permit::Permit;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use std::sync::Arc;
use std::sync::PoisonError;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

impl HttpLink {
    /// Asks a modern server to tell of a resource or a task for as long as this
    /// runs. Its
    /// connection ends with it, which takes it back (2026-07-28,
    /// patterns/cancellation).
    pub(in crate::downstream) async fn listen_for(
        self: Arc<Self>,
        permit: Permit,
        call: OutgoingCall,
        ear: Arc<Ear>,
    ) -> Sent {
        let Some(era) = self.era.get() else {
            return Sent::not_sent("the server is not ready");
        };
        let id = self.take_id();
        let frame = match Frame::permitted(permit, id, &call, Awaits::Word, era) {
            Ok(frame) => frame,
            Err(why) => return Sent::NotSent { why },
        };
        let waits = Waits {
            ear: Some(&ear),
            ..Waits::of(id)
        };
        self.send_call(frame, &waits, (era, &call)).await
    }

    /// Follows what a legacy server says by itself, until it has no such stream.
    /// `stands` is dropped once the first is open or refused.
    pub(in crate::downstream) async fn follow(self: &Arc<Self>, stands: oneshot::Sender<()>) {
        let mut stands = Some(stands);
        let mut resume: Option<String> = None;
        let mut was_open = false;
        loop {
            let session = self.session();
            let mut headers = self.with_session(self.fixed_headers());
            if let Some(last) = resume
                .as_deref()
                .and_then(|id| HeaderValue::from_str(id).ok())
            {
                headers.insert(LAST_EVENT, last);
            }
            let mut pause = RESUME_AT_MOST;
            let opened = self.exchanges.get(headers).await;
            drop(stands.take());
            match opened {
                Ok(mut events) => {
                    if std::mem::replace(&mut was_open, true) && resume.is_none() {
                        // What it said meanwhile is lost.
                        self.note_change();
                        self.updates.get().inspect(|updates| updates.missed());
                    }
                    while let Ok(Some(event)) = events.next().await {
                        self.take_by_itself(message::read(&event.data)).await;
                    }
                    resume = events.last_id().map(str::to_owned).or(resume);
                    pause = events.retry().unwrap_or(RESUME).min(RESUME_AT_MOST);
                    // Where it cannot be taken up again, something may be lost.
                    self.note_change();
                }
                // It lost our transport session (2025-11-25, transports, session
                // management); without a new one it tells nothing any more.
                Err((Some(StatusCode::NOT_FOUND), _why)) if was_open && session.is_some() => {
                    resume = None;
                    if let Some(lost) = session
                        && self.reopen(&lost).await.is_ok()
                    {
                        continue;
                    }
                    return;
                }
                Err((Some(_status), _why)) => return,
                Err((None, _why)) => {}
            }
            tokio::time::sleep(pause.max(RESUME)).await;
        }
    }

    /// Where what the server says of followed resources goes.
    pub(in crate::downstream) fn tell(&self, updates: Arc<Updates>) {
        // The first one stays; a link is opened once.
        let _first = self.updates.set(updates);
    }

    /// Cancelled when the transport session that is open now is lost, or the link
    /// ends.
    pub(in crate::downstream) fn session_lost(&self) -> CancellationToken {
        let lost = self.session_lost.lock();
        lost.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Which connection this is.
    pub(in crate::downstream) fn connection(&self) -> ConnectionId {
        let connection = self.connection.lock();
        *connection.unwrap_or_else(PoisonError::into_inner)
    }

    /// What was begun on this connection is spoken of no more.
    pub(super) fn say_gone(&self) {
        if let Some(updates) = self.updates.get() {
            updates.gone(self.connection());
        }
    }

    /// What a legacy server says by itself to who began or was asked something.
    pub(super) fn take_unasked(&self, method: &str, params: &str) {
        if let (Some(Era::Legacy(_)), Some(updates)) = (self.era.get(), self.updates.get()) {
            updates.hear(self.connection(), (method, params));
        }
    }

    /// A legacy server had its client asked to open pages, of which it speaks later.
    pub(super) fn note_pages(&self, asked: Option<Asked>) {
        if let (Some(Era::Legacy(_)), Some(updates), Some(asked)) =
            (self.era.get(), self.updates.get(), asked)
        {
            updates.pages(self.connection(), asked);
        }
    }

    /// The transport session was lost, and there is a new one.
    pub(super) fn lose_session(&self) {
        self.say_gone();
        let connection = self.connection.lock();
        *connection.unwrap_or_else(PoisonError::into_inner) = ConnectionId::next();
        let lost = self.session_lost.lock();
        let mut lost = lost.unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *lost, self.ended.child_token()).cancel();
    }
}
