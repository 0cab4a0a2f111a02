//! A reserve on the disk: room that is given up when there is no other left, so that what
//! was begun can be recorded to its end.
//!
//! It is one file for all who write to a store, in the folder of its writers. The file
//! says by its length what became of it, so that all of them know. Where something else
//! is in its place there is none, and all goes on without it.

use super::room::is_no_room;
use super::writers;
use rustix::fs::Access;
use rustix::fs::FallocateFlags;
use rustix::fs::OFlags;
use rustix::fs::access;
use rustix::fs::fallocate;
use rustix::io::Errno;
use rustix::io::retry_on_intr;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

/// How much it is, in bytes.
pub(super) const RESERVE: u64 = 512 << 10;

/// What [`MetadataExt::blocks`] counts, in bytes.
const BLOCK: u64 = 512;

/// How soon taking it is tried again where there was no room for it: a quota is told by
/// nothing else.
const TRIED_EVERY: Duration = Duration::from_secs(1);

/// The reserve of a store.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    /// The file system promises no room.
    is_unknown_here: bool,
    /// When there was no room for it.
    refused: Option<Instant>,
    /// Its room was asked for. Not every file system tells that it has it.
    is_filled: bool,
    /// That something else is in its place was said.
    is_told: bool,
}

/// What is in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum There {
    Nothing,
    /// A file of so many bytes that we may write.
    Reserve(u64),
    /// Anything else.
    Other,
}

impl Reserve {
    /// Of this store.
    pub(super) fn of(store: &Path) -> Self {
        Self {
            path: writers::folder_of(store).join("reserve"),
            is_unknown_here: false,
            refused: None,
            is_filled: false,
            is_told: false,
        }
    }

    /// Where something else is in its place.
    pub(super) fn ousted(&self) -> Option<&Path> {
        (self.there() == There::Other).then_some(&*self.path)
    }

    /// Whether it was given up, and is not there again yet.
    pub(super) fn is_given_up(&self) -> bool {
        let is_short = |there| matches!(there, There::Reserve(length) if length < RESERVE);
        !self.is_unknown_here && is_short(self.there())
    }

    /// Gives the room up to whoever writes next. Taking nothing, that needs none.
    pub(super) fn give_up(&self) {
        match self.there() {
            There::Reserve(1..) => {}
            There::Reserve(0) | There::Nothing | There::Other => return,
        }
        let given = open(OpenOptions::new().write(true), &self.path);
        match given.and_then(|file| file.set_len(0)) {
            Ok(()) => tracing::info!("the reserve of the store was given up"),
            Err(error) => tracing::warn!(%error, "the reserve of the store cannot be given up"),
        }
    }

    /// Takes the room where it is not taken yet. Without a folder of writers there is
    /// nothing to end, and none is taken.
    pub(super) fn take(&mut self) {
        let is_early = self.refused.is_some_and(|at| at.elapsed() < TRIED_EVERY);
        if self.is_unknown_here || is_early {
            return;
        }
        let was_there = match self.there() {
            There::Reserve(RESERVE..) if self.is_filled || !self.is_sparse() => return,
            There::Reserve(_) => true,
            There::Nothing => false,
            There::Other => return self.tell(),
        };
        let Ok(file) = open(OpenOptions::new().write(true).create(true), &self.path) else {
            return;
        };
        self.is_filled = true;
        if let Err(error) = allocate(&file) {
            tracing::debug!(%error, "no reserve could be taken for the store");
            match is_no_room(&error) {
                true => self.refused = Some(Instant::now()),
                false => self.is_unknown_here = true,
            }
            match was_there && !self.is_unknown_here {
                true => drop(file.set_len(0)),
                // An empty one would tell that it was given up.
                false => drop(std::fs::remove_file(&self.path)),
            }
        }
    }

    /// Whether it has less room than it is long: it was copied without its holes.
    fn is_sparse(&self) -> bool {
        let file = std::fs::symlink_metadata(&self.path);
        file.is_ok_and(|file| file.blocks().saturating_mul(BLOCK) < RESERVE)
    }

    fn tell(&mut self) {
        if !std::mem::replace(&mut self.is_told, true) {
            tracing::warn!(
                path = %self.path.display(),
                "something else is in the place of the reserve of the store, so nothing is reserved for a full disk: move it away"
            );
        }
    }

    fn there(&self) -> There {
        let file = match std::fs::symlink_metadata(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return There::Nothing,
            Err(_not_looked_at) => return There::Other,
        };
        // On a volume that takes no writes it is ours all the same.
        let may_write = !matches!(
            access(&self.path, Access::WRITE_OK),
            Err(Errno::ACCESS | Errno::PERM)
        );
        // One that has another name, too, is somebody else's.
        match file.is_file() && file.nlink() == 1 && may_write {
            true => There::Reserve(file.len()),
            false => There::Other,
        }
    }
}

/// Opens it, and nothing that takes its place meanwhile and would be waited for.
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

fn allocate(file: &File) -> io::Result<()> {
    let allocate = || fallocate(file, FallocateFlags::empty(), 0, RESERVE);
    Ok(retry_on_intr(allocate)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_none_of_ours_in_its_place_is_left_alone_and_no_sign_of_a_full_disk() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store.db");
        std::fs::create_dir(writers::folder_of(&store)).unwrap();
        let others = folder.path().join("others");
        std::fs::write(&others, "of another").unwrap();
        let mut reserve = Reserve::of(&store);
        let path = reserve.path.clone();
        for number in 0..4 {
            match number {
                0 => std::fs::create_dir(&path).unwrap(),
                1 => symlink(&others, &path).unwrap(),
                2 => std::fs::hard_link(&others, &path).unwrap(),
                _ => symlink(folder.path().join("nowhere"), &path).unwrap(),
            }
            reserve.take();
            reserve.give_up();
            let of_others = (reserve.ousted(), reserve.is_given_up(), reserve.is_told);
            assert_eq!(of_others, (Some(&*path), false, true), "{number}");
            match number {
                0 => std::fs::remove_dir(&path).unwrap(),
                _ => std::fs::remove_file(&path).unwrap(),
            }
        }
        assert_eq!(std::fs::read(&others).unwrap(), b"of another");
        assert!(!folder.path().join("nowhere").exists());
        assert_eq!(reserve.ousted(), None);
    }
    #[test]
    fn one_that_was_copied_without_its_room_has_it_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store.db");
        std::fs::create_dir(writers::folder_of(&store)).unwrap();
        let mut reserve = Reserve::of(&store);
        File::create(&reserve.path)
            .unwrap()
            .set_len(RESERVE)
            .unwrap();
        assert!(reserve.is_sparse() && !reserve.is_given_up());
        reserve.take();
        // Where the file system promises no room, there is no reserve.
        assert!(!reserve.path.exists() || !reserve.is_sparse());
        assert!(!reserve.is_given_up());
    }
}
