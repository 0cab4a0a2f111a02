//! A reserve on the disk: room that is given up when there is no other left, so that what
//! was begun can be recorded to its end.
//!
//! It is one file for all who write to a store, in the folder of its writers. The file
//! says by its length what became of it, so that all of them know.

use super::writers;
use rustix::fs::FallocateFlags;
use rustix::fs::fallocate;
use rustix::io::retry_on_intr;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

/// How much it is, in bytes.
pub(super) const RESERVE: u64 = 512 << 10;

/// The reserve of a store.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    /// The file system promises no room.
    is_unknown_here: bool,
}

impl Reserve {
    /// Of this store.
    pub(super) fn of(store: &Path) -> Self {
        Self {
            path: writers::folder_of(store).join("reserve"),
            is_unknown_here: false,
        }
    }

    /// Whether it was given up, and is not there again yet.
    pub(super) fn is_given_up(&self) -> bool {
        !self.is_unknown_here && self.length().is_some_and(|length| length < RESERVE)
    }

    /// Gives the room up to whoever writes next. Taking nothing, that needs none.
    pub(super) fn give_up(&self) {
        if self.length().is_none_or(|length| length == 0) {
            return;
        }
        let given = OpenOptions::new().write(true).open(&self.path);
        match given.and_then(|file| file.set_len(0)) {
            Ok(()) => tracing::info!("the reserve of the store was given up"),
            Err(error) => tracing::warn!(%error, "the reserve of the store cannot be given up"),
        }
    }

    /// Takes the room where it is not taken yet. Without a folder of writers there is
    /// nothing to end, and none is taken.
    pub(super) fn take(&mut self) {
        if self.is_unknown_here || self.length() == Some(RESERVE) {
            return;
        }
        let was_there = self.length().is_some();
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path);
        let Ok(file) = opened else { return };
        if let Err(error) = allocate(&file) {
            tracing::debug!(%error, "no reserve could be taken for the store");
            self.is_unknown_here = error.kind() != io::ErrorKind::StorageFull;
            match was_there && !self.is_unknown_here {
                true => drop(file.set_len(0)),
                // An empty one would tell that it was given up.
                false => drop(std::fs::remove_file(&self.path)),
            }
        }
    }

    fn length(&self) -> Option<u64> {
        std::fs::metadata(&self.path).ok().map(|file| file.len())
    }
}

fn allocate(file: &File) -> io::Result<()> {
    let allocate = || fallocate(file, FallocateFlags::empty(), 0, RESERVE);
    Ok(retry_on_intr(allocate)?)
}
