//! Copies of a store: made while it is in use, and brought back while it is not.

use super::Store;
use super::StoreError;
use super::beside;
use super::connect;
use super::hold::Hold;
use super::hold::WHOLE;
use super::make_folder;
use super::writers;
use crate::crash;
use rusqlite::OpenFlags;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

/// A copy that is not whole yet, behind the name of the store. It means nothing.
const FRESH: &str = ".restoring";

/// The old store, behind the name of the store and before the time.
const ASIDE: &str = ".replaced-";

/// What lies beside the file of a store and belongs to it.
const COMPANIONS: [&str; 4] = ["-wal", "-shm", "-journal", "-writers"];

impl Store {
    /// Writes what the store holds at one instant to a new file (mode 0600), while
    /// others go on writing. What waits in spools is not part of it: see
    /// [`Store::settle`]. Nothing that was deleted is in the copy.
    ///
    /// # Errors
    ///
    /// When the file is there already or cannot be written, or the store not be read.
    pub fn copy_to(&self, to: &Path) -> Result<(), StoreError> {
        copy(self.path(), to)
    }
}

/// The place of a store that nobody has open, for who puts another file there.
#[derive(Debug)]
pub struct Place {
    to: PathBuf,
    _alone: Hold,
}

/// A whole copy of another store beside that place, to be looked at and then put there.
#[derive(Debug)]
#[must_use = "it stays beside the store"]
pub struct Copied<'a> {
    place: &'a Place,
    fresh: PathBuf,
}

impl Place {
    /// Has the place of the store at `to` alone, for as long as this lives.
    ///
    /// # Errors
    ///
    /// When the store is open anywhere, or its folder cannot be made.
    pub fn alone(to: &Path) -> Result<Self, StoreError> {
        let to = to.canonicalize().unwrap_or_else(|_not_there| to.to_owned());
        make_folder(&to).map_err(at(&to))?;
        let alone = Hold::alone(&to)?;
        Ok(Self { to, _alone: alone })
    }

    /// Copies `from`, with what is in its log. Nothing is changed of the store by that.
    ///
    /// # Errors
    ///
    /// When records of `from` wait in spools, or it cannot be read or copied.
    pub fn copy(&self, from: &Path) -> Result<Copied<'_>, StoreError> {
        let source = from.canonicalize().map_err(at(from))?;
        if writers::leave_records(&source) {
            return Err(StoreError::Unfolded { path: source });
        }
        let copied = Copied {
            place: self,
            fresh: beside(&self.to, FRESH),
        };
        if source == copied.fresh {
            let half = "an interrupted restore left it, and it may lack its end: name the backup";
            return Err(at(from)(io::Error::other(half)));
        }
        copied.remove(&["", "-journal", "-wal", "-shm"])?;
        crash::point("restore.before-copy");
        copy(&source, &copied.fresh)?;
        crash::point("restore.before-check");
        Ok(copied)
    }
}

impl Copied<'_> {
    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.fresh
    }

    /// Takes it away again.
    ///
    /// # Errors
    ///
    /// When it cannot be.
    pub fn discard(self) -> Result<(), StoreError> {
        self.remove(&["-journal", "-wal", "-shm", ""])
    }

    fn remove(&self, endings: &[&str]) -> Result<(), StoreError> {
        for ending in endings {
            let left = beside(&self.fresh, ending);
            if_there(std::fs::remove_file(&left)).map_err(at(&left))?;
        }
        Ok(())
    }

    /// Puts it in the place of the store, and returns where the old one lies then, if
    /// there was one: under a name with this time, with its log and its folder of writers.
    ///
    /// Whenever it is killed, the old store is whole, or the new one is, or nobody opens
    /// the store until this was done again.
    ///
    /// # Errors
    ///
    /// When a file cannot be moved.
    pub fn put(self, time: &str) -> Result<Option<PathBuf>, StoreError> {
        let to = &self.place.to;
        let whole = beside(to, WHOLE);
        let aside = free_name(to, time);
        let earlier = match whole.exists() {
            true => set_aside_before(to).map_err(at(to))?,
            false => None,
        };
        // Whoever looked at it may have left them.
        self.remove(&["-journal", "-wal", "-shm"])?;
        crash::point("restore.before-mark");
        // INVARIANT: before anything of the old store is moved, and on disk by then. Who
        // finds it opens nothing; it goes by becoming the store.
        std::fs::rename(&self.fresh, &whole).map_err(at(&self.fresh))?;
        flush_folder(to).map_err(at(to))?;
        crash::point("restore.before-aside");
        let old = match earlier {
            Some(old) => old,
            None => {
                if let Err(error) = keep(to, &aside) {
                    // Nothing was moved: the old store is whole.
                    let _stays = std::fs::remove_file(&whole);
                    return Err(error);
                }
                aside.clone()
            }
        };
        for ending in COMPANIONS {
            crash::step("restore", ending.trim_start_matches('-'), "before-move");
            let names = [&old, &aside].map(|one| beside(one, ending));
            move_aside(&beside(to, ending), names)?;
        }
        flush_folder(to).map_err(at(to))?;
        crash::point("restore.before-replace");
        std::fs::rename(&whole, to).map_err(at(&whole))?;
        crash::point("restore.after-replace");
        flush_folder(to).map_err(at(to))?;
        Ok(old.exists().then_some(old))
    }
}

/// A name for the old store which nothing has, and beside which nothing lies: what was
/// set aside within the same second stays as it is.
fn free_name(to: &Path, time: &str) -> PathBuf {
    let taken = |name: &Path| {
        let mut endings = std::iter::once("").chain(COMPANIONS);
        endings.any(|ending| beside(name, ending).symlink_metadata().is_ok())
    };
    let mut name = beside(to, &format!("{ASIDE}{time}"));
    let mut number = 1_u32;
    while taken(&name) {
        number += 1;
        name = beside(to, &format!("{ASIDE}{time}-{number}"));
    }
    name
}

/// The name under which an interrupted try has set the old store aside.
fn set_aside_before(to: &Path) -> io::Result<Option<PathBuf>> {
    let Ok(own) = to.metadata() else {
        return Ok(None);
    };
    let name = beside(to, ASIDE);
    let name = name.file_name().unwrap_or_default().as_encoded_bytes();
    for file in std::fs::read_dir(folder_of(to))? {
        let file = file?;
        if !file.file_name().as_encoded_bytes().starts_with(name) {
            continue;
        }
        let other = file.metadata()?;
        if (other.dev(), other.ino()) == (own.dev(), own.ino()) {
            return Ok(Some(file.path()));
        }
    }
    Ok(None)
}

/// Gives the old store its second name, if there is one.
fn keep(to: &Path, aside: &Path) -> Result<(), StoreError> {
    match to.exists() {
        true => std::fs::hard_link(to, aside).map_err(at(aside)),
        false => Ok(()),
    }
}

/// Moves a file to the first of two names, and where something is, which an interrupted
/// try has moved there, to the second.
fn move_aside(file: &Path, [first, second]: [PathBuf; 2]) -> Result<(), StoreError> {
    let name = if first.exists() { second } else { first };
    if_there(std::fs::rename(file, name)).map_err(at(file))
}

/// Writes what a store holds, and is in its log, to a new file.
fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    let failed = at(to);
    // SQLite takes an empty file, and no other.
    let file = new_file(to).map_err(&failed)?;
    let copied = || {
        let text = to
            .to_str()
            .ok_or_else(|| failed(io::Error::other("its name is no text in UTF-8")))?;
        let connection = connect(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection
            .execute("VACUUM INTO ?1", [text])
            .map_err(StoreError::sql("be copied"))?;
        // SQLite flushes nothing of such a copy.
        file.sync_all().map_err(&failed)?;
        flush_folder(to).map_err(&failed)
    };
    let copied = copied();
    if copied.is_err() {
        let _stays = std::fs::remove_file(to);
    }
    copied
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Says of which file an error is.
fn at(path: &Path) -> impl Fn(io::Error) -> StoreError {
    |source| StoreError::File {
        path: path.to_owned(),
        source,
    }
}

fn if_there(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// A new name is durable once its folder is.
fn flush_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent();
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests;
