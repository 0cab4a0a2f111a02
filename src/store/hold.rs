//! The lock of a store as a whole: who has it open shares it, and who puts another file
//! in its place has it alone.

use super::BUSY_PAUSE;
use super::BUSY_TIMEOUT;
use super::StoreError;
use super::beside;
use super::writers;
use rustix::fs::FlockOperation;
use rustix::fs::flock;
use rustix::io::Errno;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

/// The lock file, behind the name of the store. It stays for good: were it taken away
/// and made anew, two could have a lock each.
const LOCK: &str = ".lock";

/// A whole new store that waits to be put in place, behind the name of the store. While
/// it is there, the files of the old one may be under two names.
pub(super) const WHOLE: &str = ".restored";

/// The lock, for as long as this lives. There is none in a folder where no file can be
/// made: there nothing can be put in the place of the store either.
#[derive(Debug)]
pub(super) struct Hold {
    lock: Option<File>,
}

impl Hold {
    /// Shares it with all who have the store open. Waits while the store is replaced, as
    /// long as for any transaction.
    pub(super) fn shared(store: &Path) -> Result<Self, StoreError> {
        let path = beside(store, LOCK);
        let made = match File::open(&path) {
            Err(source) if source.kind() == io::ErrorKind::NotFound => make(&path),
            opened => opened,
        };
        match made {
            Err(source) if takes_no_file(&source) && !path.exists() => Self::share(None, store),
            Err(source) => Err(StoreError::Lock { path, source }),
            Ok(file) => Self::share(Some(file), store),
        }
    }

    /// The same for who makes no file: a copy has no lock.
    pub(super) fn shared_if_there(store: &Path) -> Result<Self, StoreError> {
        let path = beside(store, LOCK);
        match File::open(&path) {
            Err(source) if source.kind() == io::ErrorKind::NotFound => Self::share(None, store),
            Err(source) => Err(StoreError::Lock { path, source }),
            Ok(file) => Self::share(Some(file), store),
        }
    }

    fn share(lock: Option<File>, store: &Path) -> Result<Self, StoreError> {
        let begun = Instant::now();
        if let Some(file) = &lock {
            while !is_taken(file, FlockOperation::NonBlockingLockShared, store)? {
                if begun.elapsed() > BUSY_TIMEOUT {
                    return Err(StoreError::Restoring {
                        path: store.to_owned(),
                    });
                }
                std::thread::sleep(BUSY_PAUSE);
            }
        }
        match beside(store, WHOLE).exists() {
            true => Err(StoreError::HalfRestored {
                path: store.to_owned(),
            }),
            false => Ok(Self { lock }),
        }
    }

    /// Has it alone, or refuses at once.
    pub(super) fn alone(store: &Path) -> Result<Self, StoreError> {
        let path = beside(store, LOCK);
        let file = make(&path).map_err(|source| StoreError::Lock { path, source })?;
        let taken = is_taken(&file, FlockOperation::NonBlockingLockExclusive, store)?;
        let path = store.to_owned();
        // A broker of a version without this lock has that of a writer only.
        match (taken, writers::any_lives(store)) {
            (_, true) => Err(StoreError::InUse { path }),
            (false, false) => Err(StoreError::Busy { path }),
            (true, false) => Ok(Self { lock: Some(file) }),
        }
    }
}

impl Drop for Hold {
    /// Closing the file is not enough: a child that is being started has it too, until
    /// it has become another program.
    fn drop(&mut self) {
        if let Some(file) = &self.lock {
            let _closed_next = flock(file, FlockOperation::Unlock);
        }
    }
}

fn is_taken(file: &File, how: FlockOperation, store: &Path) -> Result<bool, StoreError> {
    match flock(file, how) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(source) => Err(StoreError::Lock {
            path: beside(store, LOCK),
            source: source.into(),
        }),
    }
}

fn make(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn takes_no_file(source: &io::Error) -> bool {
    matches!(
        source.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}
