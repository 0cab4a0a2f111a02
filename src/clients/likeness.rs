//! Whether a server of a client is one of ours. A name says little: two projects may each
//! have a `database`, and whoever takes one out for the other is answered by the wrong one.

use super::places::Place;
use super::shown;
use crate::config::Imported;
use crate::config::Known;
use crate::config::Reached;
use crate::tool::ServerName;
use crate::visible;
use std::fmt;
use std::path::Path;

/// What a server of a client is to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// It is ours of this name.
    Same(ServerName),
    /// Ours of its name is another one.
    Other(Other),
    /// We have none of its name.
    Unknown,
}

/// Two servers of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// What the client calls its own.
    pub name: String,
    /// What ours is called.
    pub server: ServerName,
    /// The keys in which they differ.
    differs: Vec<String>,
    ours: String,
    theirs: String,
}

/// What a server of a client, in this place, is to us, where it would be called `server`.
pub fn likeness(
    reached: &Reached,
    (place, here): (&Place, &Path),
    (imported, server): (&Imported, &ServerName),
) -> Likeness {
    let mut entry = imported.entry.clone();
    place.settle(&mut entry, here);
    let started = entry.command.as_ref().and_then(|_| place.folder(here));
    match reached.known(server, (&entry, started.as_deref())) {
        Known::Same(server) => Likeness::Same(server),
        Known::Unknown => Likeness::Unknown,
        Known::Other { ours, differs } => Likeness::Other(Other {
            name: imported.name.clone(),
            server: server.clone(),
            differs,
            ours: shown::line(&ours),
            theirs: shown::line(&entry),
        }),
    }
}

impl fmt::Display for Other {
    /// What they are, without what may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |text: &str| visible::one_line(text, visible::PATH);
        write!(
            f,
            "`[servers.{}]` is another server than the client's `{}` (they differ in {}",
            self.server,
            visible::one_line(&self.name, visible::NAME),
            line(&self.differs.join(", ")),
        )?;
        if self.ours == self.theirs {
            return write!(f, ", whose values are not shown)");
        }
        write!(
            f,
            "): ours is `{}`, the client's `{}`",
            line(&self.ours),
            line(&self.theirs)
        )
    }
}
