//! The transport session of a legacy server: had, lost and opened anew (2025-11-25,
//! transports, session management).

use super::HttpLink;
use super::PARTING;
use super::SESSION;
use crate::downstream::link::Ended;
use crate::downstream::message::Answer;
use crate::downstream::wire::Control;
use crate::json;
use crate::json::Object;
use hyper::HeaderMap;
use hyper::header::HeaderValue;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

impl HttpLink {
    /// How often its transport session was lost and opened anew.
    pub(in crate::downstream) fn reopened(&self) -> u64 {
        self.reopened.load(Ordering::Relaxed)
    }

    /// Opens a new transport session where this one was lost. Of many calls that
    /// find it lost, one does it.
    pub(super) async fn reopen(&self, lost: &HeaderValue) -> Result<(), String> {
        let _one_at_a_time = self.reopening.lock().await;
        if self.session().as_ref() != Some(lost) {
            return Ok(());
        }
        self.set_session(None);
        let revision = match self
            .request(Control::Initialize {
                declared: &self.declared,
            })
            .await
        {
            Ok(Answer::Result(result)) => Object::parse(&result)
                .ok()
                .and_then(|result| result.get("protocolVersion").and_then(json::text))
                .map(std::borrow::Cow::into_owned),
            Ok(Answer::Error(_) | Answer::Invalid(_)) | Err(Ended) => None,
        };
        let known = self.era.get().map(ToString::to_string);
        if revision.is_none() || revision != known {
            let why = "the server lost our transport session, and opens no new one like it";
            self.end(why.to_owned());
            return Err(why.to_owned());
        }
        self.notify(Control::Initialized).await;
        self.reopened.fetch_add(1, Ordering::Relaxed);
        let level = *self.level.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(level) = level {
            let told = Box::pin(self.request(Control::SetLevel { level }));
            let _told_or_late = tokio::time::timeout(PARTING, told).await;
        }
        self.note_change();
        self.lose_session();
        Ok(())
    }

    pub(super) fn session(&self) -> Option<HeaderValue> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.clone()
    }

    pub(super) fn set_session(&self, session: Option<HeaderValue>) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }

    pub(super) fn with_session(&self, mut headers: HeaderMap) -> HeaderMap {
        if let Some(session) = self.session() {
            headers.insert(SESSION, session);
        }
        headers
    }
}
