//! What is said where a session is resumed, and something else than a pause keeps it from
//! going on.

use super::Which;
use crate::sessions::Session;
use crate::visible;

impl Which {
    /// What a session is once it is resumed, and what it was where nothing had paused it.
    pub(super) fn resuming(&self, session: &Session) -> (String, String) {
        let (now_it, before_it) = ("resumed", "was not paused");
        if let Some(end) = session.ended {
            let over = format!("{before_it}: it is over ({}), for good", end.why.as_str());
            return (now_it.to_owned(), over);
        }
        if session.frozen.is_none() {
            return (now_it.to_owned(), before_it.to_owned());
        }
        let owner = self.owner.as_ref().map(ToString::to_string);
        let owner = owner.map_or_else(String::new, |owner| {
            format!(" --owner {}", visible::shell_word(&owner))
        });
        let thaw = format!(
            "frozen: `countersign session thaw {}{owner}` lets it go on",
            visible::shell_word(&self.session)
        );
        (
            format!("{now_it}, and still {thaw}"),
            format!("{before_it}: it is {thaw}"),
        )
    }
}
