//! From which level on somebody hears what a server logs, and how a legacy one learns
//! of it: it is told, and takes no call of who hears it before (2025-11-25,
//! server/utilities/logging).

use super::reach::Reach;
use super::wire::Control;
use crate::tool::Level;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// How long a server may take to take in from which level on it is heard.
const TAKEN_IN: Duration = Duration::from_secs(2);

/// The least severe level that anybody wants of one server.
#[derive(Default)]
pub(super) struct Wanted {
    level: Mutex<Option<Level>>,
    /// Held while the server is told, and while it is opened: whoever gets it knows
    /// that the server has taken in what was wanted before, or is too slow for that.
    telling: tokio::sync::Mutex<()>,
}

impl Wanted {
    /// The level now. None where nobody hears anything.
    pub(super) fn level(&self) -> Option<Level> {
        // Each change is whole before the lock is given back.
        *self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody hears from this level on. Tells the server at `link`, if there is one
    /// that needs to be told, and returns when it has taken that in, or does not
    /// within a moment.
    pub(super) async fn lower(&self, level: Level, link: impl FnOnce() -> Option<Reach>) {
        let _in_turn = self.telling.lock().await;
        if self.level().is_some_and(|lowest| lowest <= level) {
            return;
        }
        *self.level.lock().unwrap_or_else(PoisonError::into_inner) = Some(level);
        if let Some(link) = link() {
            tell(&link, level).await;
        }
    }

    /// Tells a server that has just opened, at `link` if it needs to be told, before
    /// `ready` lets calls reach it.
    pub(super) async fn opened(&self, link: Option<&Reach>, ready: impl FnOnce()) {
        let _in_turn = self.telling.lock().await;
        if let (Some(link), Some(level)) = (link, self.level()) {
            tell(link, level).await;
        }
        ready();
    }
}

/// Whether the server follows is its own affair.
async fn tell(link: &Reach, level: Level) {
    let told = link.request(Control::SetLevel { level });
    let _told_or_late = tokio::time::timeout(TAKEN_IN, told).await;
}
