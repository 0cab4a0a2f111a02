//! Following a resource or a task over a pair of streams.

use super::Hears;
use super::Kind;
use super::Link;
use super::ticket::judge;
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
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

impl Link {
    /// Asks a modern server to tell of a resource or a task for as long as this
    /// runs.
    /// Dropped, it is taken back.
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
        let hears = Hears {
            ear: Some(ear),
            ..Hears::default()
        };
        let Ok(mut ticket) = self.enlist(id, Kind::Subscription, frame, hears) else {
            return Sent::NotSent { why: self.why() };
        };
        match (&mut ticket.answer).await {
            Ok(answer) => judge(answer, era, &call),
            Err(_) => ticket.unanswered(),
        }
    }

    /// Which connection this is.
    pub(in crate::downstream) fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// What was begun on this connection is spoken of no more.
    pub(super) fn say_gone(&self) {
        if let Some(updates) = self.updates.get() {
            updates.gone(self.connection);
        }
    }

    /// What a legacy server says by itself to who began or was asked something.
    pub(super) fn take_unasked(&self, method: &str, params: &str) {
        if let (Some(Era::Legacy(_)), Some(updates)) = (self.era.get(), self.updates.get()) {
            updates.hear(self.connection, (method, params));
        }
    }

    /// A legacy server had its client asked to open pages, of which it speaks later.
    pub(super) fn note_pages(&self, asked: Option<Asked>) {
        if let (Some(Era::Legacy(_)), Some(updates), Some(asked)) =
            (self.era.get(), self.updates.get(), asked)
        {
            updates.pages(self.connection, asked);
        }
    }

    /// Cancelled when the link ends.
    pub(in crate::downstream) fn lost(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Where what the server says of followed resources goes.
    pub(in crate::downstream) fn tell(&self, updates: Arc<Updates>) {
        // The first one stays; a link is opened once.
        let _first = self.updates.set(updates);
    }

    /// What a modern server says belongs to the request that it names; what a
    /// legacy one says, to whoever follows the resource.
    pub(super) fn take_update(&self, method: &str, params: &str) {
        let Some(updates) = self.updates.get() else {
            return;
        };
        if matches!(self.era.get(), Some(Era::Legacy(_))) {
            return updates.heard(method, params);
        }
        let ear = message::subscription(params).and_then(|request| {
            let pending = self.pending();
            pending
                .get(&request)
                .and_then(|entry| entry.hears.ear.clone())
        });
        match ear {
            Some(ear) => ear.hear((method, params), updates),
            None => {
                tracing::debug!(server.name = %self.server, "dropped what belongs to no subscription");
            }
        }
    }
}
