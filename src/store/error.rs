//! What can go wrong with the store.

use rusqlite::ErrorCode;
use std::path::Path;
use std::path::PathBuf;

/// Why the store did not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no store at that place.
    #[error("there is no store at `{}` yet: the first client that starts Countersign, `countersign serve` or `countersign key new` makes it; if there should be one, check `store.path`", path.display())]
    Absent {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file or its folder could not be made or opened.
    #[error("could not open the file `{}`", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite could not open the file.
    #[error("could not open the store `{}`", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// There was no room to open it: the index of its log takes some.
    #[error("there is no room on the disk of the store `{}` for the user that this runs as (some file systems keep a part for root): make room, and start again", path.display())]
    NoRoom {
        /// Which file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file is a database of another program.
    #[error("`{}` is a database, but no store of countersign: check `store.path`", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// The file is a text.
    #[error("`{}` is a text and no store of countersign: check `store.path`, which names the file that the store is in or shall be made in", path.display())]
    Text {
        /// Which file.
        path: PathBuf,
    },
    /// The file was written by a newer version.
    #[error("the store `{}` has version {found}, and this program knows versions up to {known}: use a newer countersign", path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version we know.
        known: u32,
    },
    /// The file is damaged, or no database at all.
    #[error(
        "the store `{}` is damaged: `countersign store check` says where, and `countersign store restore FILE` brings a backup back",
        path.display()
    )]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What SQLite says of it.
        source: rusqlite::Error,
    },
    /// What SQLite finds wrong with the file.
    #[error(
        "the store `{}` is damaged ({what}): `countersign store check` says where, and `countersign store restore FILE` brings a backup back",
        path.display()
    )]
    Broken {
        /// Which file.
        path: PathBuf,
        /// The first thing that is wrong.
        what: String,
    },
    /// A broker runs on the store.
    #[error("a broker runs on the store `{}`: stop `countersign serve`, and end the clients that start Countersign, first", path.display())]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// Something has the store open that is no broker.
    #[error("a command of countersign has the store `{}` open, or is bringing a backup back: wait until it has ended", path.display())]
    Busy {
        /// Which file.
        path: PathBuf,
    },
    /// A backup is being put in its place.
    #[error("a backup is being put in the place of the store `{}`: start again when `countersign store restore` has ended", path.display())]
    Restoring {
        /// Which file.
        path: PathBuf,
    },
    /// Putting a backup in its place was interrupted.
    #[error("putting a backup in the place of the store `{}` was interrupted: run `countersign store restore FILE` again; what was there is kept", path.display())]
    HalfRestored {
        /// Which file.
        path: PathBuf,
    },
    /// A copy of which not everything is in the file.
    #[error("`{0}` is a store that did not end orderly, and its last records wait in `{0}-writers`: name it as `store.path`, copy it with `countersign store backup FILE`, and bring that back; nothing was changed", path.display())]
    Unfolded {
        /// Which file.
        path: PathBuf,
    },
    /// A statement failed.
    #[error("the store could not {doing}")]
    Sql {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: rusqlite::Error,
    },
    /// The transaction was not committed; nothing of it was kept.
    #[error("the store could not commit ({doing}): {why}")]
    Commit {
        /// What was being done.
        doing: &'static str,
        /// What SQLite said, once for all that shared the transaction.
        why: String,
        /// There was no room for it.
        full: bool,
    },
    /// The transaction could not begin; the log says why.
    #[error(
        "the store could not begin a transaction ({doing}): another process holds it, or the disk does not take writes"
    )]
    NotBegun {
        /// What was to be done.
        doing: &'static str,
        /// There was no room for what came before it.
        full: bool,
    },
    /// A stored value is not what it must be.
    #[error(
        "the store holds a value that cannot be right ({what}): run `countersign journal verify`"
    )]
    Damaged {
        /// Which value.
        what: String,
    },
    /// Another process took this one for dead.
    #[error(
        "another process took this one for dead, because its lock file is gone: leave the folder `….db-writers` alone, and start again"
    )]
    Buried,
    /// The writer thread has ended.
    #[error("the store is closed")]
    Closed,
    /// The spool of this process could not be read.
    #[error("the store could not read what waits in its spool")]
    Spool {
        /// Why.
        source: std::io::Error,
    },
    /// The lock file of a writer could not be used.
    #[error("could not use the lock file `{}`", path.display())]
    Lock {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl StoreError {
    /// Whether there is no room left on the disk.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Commit { full, .. } | Self::NotBegun { full, .. } => *full,
            Self::Sql { source, .. } => is_full(source),
            Self::NoRoom { .. } => true,
            _ => false,
        }
    }

    /// The same error of the file at `path`, where it says that the file is damaged.
    pub(super) fn of_file(self, path: &Path) -> Self {
        match self {
            Self::Sql { source, .. } | Self::Open { source, .. } if is_damage(&source) => {
                Self::Unreadable {
                    path: path.to_owned(),
                    source,
                }
            }
            other => other,
        }
    }

    /// Wraps an SQL error with what was being done.
    pub(crate) fn sql(doing: &'static str) -> impl Fn(rusqlite::Error) -> Self {
        move |source| Self::Sql { doing, source }
    }
}

/// Whether there is no room for what was to be written.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}
