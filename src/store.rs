//! The store: one SQLite file that several processes share.
//!
//! Every change is one `BEGIN IMMEDIATE` transaction on the one writer thread
//! of this process, which puts what waits into one transaction (group commit).
//! What needs no transaction by itself may go by the spool, from which that
//! thread takes it in.
//! The room knows connections, durability, migrations and writers; what the
//! tables mean is known to the record rooms, each in its `table.rs`.

mod backup;
mod desk;
mod error;
mod hold;
mod inspection;
mod last;
mod migrate;
mod pattern;
mod reserve;
mod room;
mod spool;
mod thread;
mod version;
mod wal;
mod writers;

#[cfg(test)]
pub(crate) mod testing;

pub use backup::Copied;
pub use backup::Place;
pub use error::StoreError;
pub use inspection::Inspection;
pub use migrate::Migration;
pub use spool::Fold;
pub use spool::Record;
pub use spool::SCHEMA_6;
pub use spool::Spool;
pub use thread::Committed;
pub use thread::Durability;
pub use version::FRESH;
pub use version::Version;
pub use writers::Company;
pub use writers::Dead;
pub use writers::Writer;
pub use writers::WriterId;

use thread::Purpose;
use thread::What;

use rusqlite::Connection;
use rusqlite::ErrorCode;
use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;
use std::fs::File;
use std::fs::OpenOptions;
use std::fs::Permissions;
use std::io;
use std::io::Read as _;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

/// How long one process waits for another's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// The largest store that is checked at each start, in bytes.
const CHECKED_AT_START: u64 = 64 << 20;
/// The header of a database, in bytes.
const BEGINNING: u64 = 100;

/// One open store: the writer thread, and connections for reading.
///
/// Dropping it ends the thread after what was already handed to it.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    // INVARIANT: these go before the thread. The last connection to a store brings the log
    // into it and takes the log away, and one that only reads cannot.
    readers: Mutex<Vec<Connection>>,
    watch: Mutex<version::Watch>,
    thread: thread::WriterThread,
    /// The last to go: who has it alone replaces the file.
    _hold: hold::Hold,
}

/// What a record room gets to work with inside one transaction.
#[derive(Debug)]
pub struct Tx<'a> {
    connection: &'a Connection,
    store: &'a Path,
}

impl<'a> Tx<'a> {
    /// The connection, for the SQL in a `table.rs`.
    pub(crate) fn sql(&self) -> &'a Connection {
        self.connection
    }

    /// Where the store is.
    fn store(&self) -> &'a Path {
        self.store
    }
}

impl Store {
    /// Opens the store, makes it where there is none (mode 0600, its folder
    /// 0700), and brings its tables up to date.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened or made, is no store of ours, is damaged,
    /// was written by a newer version, or is being replaced.
    pub fn open(path: &Path, migrations: &[Migration]) -> Result<Self, StoreError> {
        must_be_no_text(path)?;
        prepare_file(path)?;
        // INVARIANT: one file has one path. SQLite follows links to it, and the
        // lock files lie beside it: a process that came by another name would
        // take every other writer for dead.
        let path = &path.canonicalize().map_err(|source| StoreError::File {
            path: path.to_owned(),
            source,
        })?;
        // INVARIANT: before anything of it is read. What was read before, another file
        // could take the place of.
        let hold = hold::Hold::shared(path)?;
        // Who lives has read it as it is, and may be writing it now.
        if !writers::any_lives(path)
            && let Some(lost) = wal::lost(path)
            && !writers::any_lives(path)
        {
            return Err(StoreError::Broken {
                path: path.to_owned(),
                what: lost.told(),
            });
        }
        room::make_way(path);
        let open = || {
            let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            switch_to_wal(&connection)?;
            migrate::run(&mut connection, path, migrations)?;
            Ok(connection)
        };
        let open = || open().map_err(|error: StoreError| room::why_not_opened(error, path));
        let connection = open().or_else(|error| match error.is_full() && room::gives_way(path) {
            true => open(),
            false => Err(error),
        });
        let connection = connection.map_err(|error| error.of_file(path))?;
        Ok(Self {
            path: path.to_owned(),
            readers: Mutex::default(),
            watch: Mutex::default(),
            thread: thread::WriterThread::start(connection, path)?,
            _hold: hold,
        })
    }

    /// Opens a store that must exist already.
    ///
    /// # Errors
    ///
    /// As for [`Store::open`], and [`StoreError::Absent`].
    pub fn open_existing(path: &Path, migrations: &[Migration]) -> Result<Self, StoreError> {
        if path.exists() {
            Self::open(path, migrations)
        } else {
            Err(StoreError::Absent {
                path: path.to_owned(),
            })
        }
    }

    /// Refuses a store whose parts are not as we made them, or whose structure is damaged,
    /// so that nothing is decided on half of what was counted. Returns what it has
    /// besides, one line each. The structure of one of more than 64 MiB would take too
    /// long at each start: there it is left to `countersign store check`.
    ///
    /// # Errors
    ///
    /// When it is damaged, or cannot be read.
    pub fn must_be_whole(&self, migrations: &[Migration]) -> Result<Vec<String>, StoreError> {
        let newest = migrations.iter().map(|step| step.number).max();
        let differences = self.read(|tx| {
            let found = pattern::differences(tx.sql(), newest.unwrap_or(0), migrations);
            found.map_err(StoreError::sql("be compared with what it must have"))
        });
        let differences = differences.map_err(|error| error.of_file(&self.path))?;
        if !differences.wrong.is_empty() {
            return Err(StoreError::Broken {
                path: self.path.clone(),
                what: differences.wrong.join("; "),
            });
        }
        let size = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        if size > CHECKED_AT_START {
            return Ok(differences.besides);
        }
        let found = self.read(|tx| {
            let checked = tx
                .sql()
                .query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
            checked.map_err(StoreError::sql("be checked"))
        });
        let found: String = found.map_err(|error| error.of_file(&self.path))?;
        match found == "ok" {
            true => Ok(differences.besides),
            false => Err(StoreError::Broken {
                path: self.path.clone(),
                what: found.trim().replace('\n', "; "),
            }),
        }
    }

    /// Whether there was no room on the disk for what was written last. Where it is so
    /// it is tried again every second.
    pub fn is_full(&self) -> bool {
        self.thread.is_full()
    }

    /// Whether what was written last could not be, for whatever reason. Where it is so it
    /// is tried again every second.
    pub fn cannot_be_written(&self) -> bool {
        self.thread.has_failed()
    }

    /// What stands in the place of the reserve for a full disk, where that is none of ours.
    pub fn in_place_of_reserve(&self) -> Option<PathBuf> {
        let reserve = reserve::Reserve::of(&self.path);
        reserve.ousted().map(Path::to_owned)
    }

    /// Where the store is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` in a transaction and returns when it is committed with this
    /// durability. Where `work` fails, nothing of it is kept.
    ///
    /// `doing` names the work in errors (`admit`).
    ///
    /// # Errors
    ///
    /// What `work` returned, or that the commit failed.
    pub async fn write<T: Send + 'static>(
        &self,
        doing: &'static str,
        durability: Durability,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Committed<T>, StoreError> {
        let what = What::new(doing, durability, Purpose::Begin);
        self.thread.write(what, work).await
    }

    /// [`Store::write`] for what ends something that was begun: where there is no room
    /// for more on the disk, it may take of what is reserved for that.
    ///
    /// # Errors
    ///
    /// As for [`Store::write`].
    pub async fn finish<T: Send + 'static>(
        &self,
        doing: &'static str,
        durability: Durability,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Committed<T>, StoreError> {
        let what = What::new(doing, durability, Purpose::End);
        self.thread.write(what, work).await
    }

    /// [`Store::finish`] for a caller outside a runtime: a start, which ends what others
    /// left, or a person's command.
    ///
    /// # Errors
    ///
    /// As for [`Store::finish`].
    pub fn write_blocking<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let what = What::new(doing, Durability::Power, Purpose::End);
        self.thread
            .write_blocking(what, work)
            .map(Committed::into_inner)
    }

    /// Returns when what this process has appended to its spool is in the tables.
    ///
    /// # Errors
    ///
    /// When it could not be folded.
    pub fn catch_up(&self) -> Result<(), StoreError> {
        self.thread.catch_up()
    }

    /// Runs `work` on one snapshot of the store. It blocks: a caller on a
    /// runtime hands it to a blocking thread.
    ///
    /// # Errors
    ///
    /// What `work` returned, or that no connection could be had.
    pub fn read<T>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let idle = self.readers.lock().ok().and_then(|mut idle| idle.pop());
        let connection = match idle {
            Some(connection) => connection,
            None => connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?,
        };
        desk::execute(&connection, "BEGIN").map_err(StoreError::sql("begin reading"))?;
        let answer = work(&Tx {
            connection: &connection,
            store: &self.path,
        });
        // One that went on reading would keep the log from being cut.
        if desk::execute(&connection, "ROLLBACK").is_ok()
            && let Ok(mut idle) = self.readers.lock()
        {
            idle.push(connection);
        }
        answer
    }
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, StoreError> {
    let open = || {
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // Otherwise a statement is planned anew at each use whose parameters
        // could change its plan; ours have one plan.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.pragma_update(None, "wal_autocheckpoint", room::LOG_PAGES)?;
        // A check against a list of words makes SQLite build the list as a table for
        // each row, which is a fifth of folding. Ours are types before they are
        // words; the checks are for people with a shell.
        connection.pragma_update(None, "ignore_check_constraints", true)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    };
    open().map_err(|source| StoreError::Open {
        path: path.to_owned(),
        source,
    })
}

/// SQLite does not wait where several processes do this to a new file at once,
/// so we do, as long as for any other transaction.
fn switch_to_wal(connection: &Connection) -> Result<(), StoreError> {
    let begun = Instant::now();
    loop {
        let switched = connection.pragma_update(None, "journal_mode", "WAL");
        let busy = switched
            .as_ref()
            .err()
            .and_then(rusqlite::Error::sqlite_error_code)
            == Some(ErrorCode::DatabaseBusy);
        if !busy || begun.elapsed() > BUSY_TIMEOUT {
            return switched.map_err(StoreError::sql("switch the store to WAL"));
        }
        std::thread::sleep(BUSY_PAUSE);
    }
}

/// Refuses a file of somebody's own, before anything is done to it. To say of it that it
/// is damaged would have a backup put in its place.
fn must_be_no_text(path: &Path) -> Result<(), StoreError> {
    if !path.is_file() {
        return Ok(());
    }
    let mut begins = Vec::new();
    let file = File::open(path).map(|file| file.take(BEGINNING));
    // What cannot be read is told by what opens it.
    let read = file.and_then(|mut file| file.read_to_end(&mut begins));
    let is_read = read.is_ok_and(|bytes| bytes > 0);
    // Of the numbers that a store begins with some are always zero, also in a damaged one.
    let is_binary = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    match is_read && !begins.iter().any(is_binary) {
        true => Err(StoreError::Text {
            path: path.to_owned(),
        }),
        false => Ok(()),
    }
}

/// Makes file and folder readable for their owner only. SQLite gives its
/// companion files (`-wal`, `-shm`) the mode of the main file.
fn prepare_file(path: &Path) -> Result<(), StoreError> {
    let prepare = || {
        make_folder(path)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(0o600))?;
            tracing::warn!(
                store.path = %path.display(),
                "the store could be read by others; its mode is now 0600"
            );
        }
        Ok(())
    };
    prepare().map_err(|source| StoreError::File {
        path: path.to_owned(),
        source,
    })
}

/// Makes the folder of a store, for its owner only.
fn make_folder(store: &Path) -> io::Result<()> {
    let folder = store.parent();
    match folder.filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder),
        None => Ok(()),
    }
}

/// The file beside a store whose name ends so.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
