//! Copies of a store: made while it is in use, and brought back while it is not.

use super::Store;
use super::StoreError;
use super::connect;
use super::writers;
use rusqlite::OpenFlags;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

impl Store {
    /// Writes what the store holds at one instant to a new file (mode 0600), while
    /// others go on writing. What waits in spools is not part of it: see
    /// [`Store::settle`]. Nothing that was deleted is in the copy.
    ///
    /// # Errors
    ///
    /// When the file is there already or cannot be written, or the store not be read.
    pub fn copy_to(&self, to: &Path) -> Result<(), StoreError> {
        let failed = |source| StoreError::File {
            path: to.to_owned(),
            source,
        };
        // SQLite takes an empty file, and no other.
        let file = new_file(to).map_err(failed)?;
        let copied = || {
            let text = to
                .to_str()
                .ok_or_else(|| failed(io::Error::other("its name is no text in UTF-8")))?;
            let connection = connect(self.path(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            connection
                .execute("VACUUM INTO ?1", [text])
                .map_err(StoreError::sql("be copied"))?;
            // SQLite flushes nothing of such a copy.
            file.sync_all().map_err(failed)?;
            flush_folder(to).map_err(failed)
        };
        let copied = copied();
        if copied.is_err() {
            let _stays = std::fs::remove_file(to);
        }
        copied
    }
}

/// Puts a copy of `from` in the place of the store at `to`, and returns where the old
/// one lies then, if there was one: under that name, with its log and its folder of
/// writers. At each instant there is a store at `to`, if there was one.
///
/// # Errors
///
/// When a broker runs on the store, or a file cannot be copied or moved.
pub fn put_back(from: &Path, to: &Path, aside: &str) -> Result<Option<PathBuf>, StoreError> {
    let to = &to.canonicalize().unwrap_or_else(|_not_there| to.to_owned());
    if writers::any_lives(to) {
        return Err(StoreError::InUse {
            path: to.to_owned(),
        });
    }
    let failed = |source| StoreError::File {
        path: to.to_owned(),
        source,
    };
    let fresh = beside(to, ".restoring");
    let moved = || {
        copy(from, &fresh)?;
        let old = to.exists().then(|| beside(to, aside));
        if let Some(old) = &old {
            std::fs::hard_link(to, old)?;
            // INVARIANT: before the new file is in place. A log beside a file that it
            // is not of would be applied to it.
            for ending in ["-wal", "-shm", "-writers"] {
                match std::fs::rename(beside(to, ending), beside(old, ending)) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(source),
                    Ok(()) | Err(_) => {}
                }
            }
        }
        std::fs::rename(&fresh, to)?;
        flush_folder(to)?;
        Ok(old)
    };
    let moved = moved();
    if moved.is_err() {
        let _stays = std::fs::remove_file(&fresh);
    }
    let old = moved.map_err(failed)?;
    // INVARIANT: looked at once more after the new file is in place. A broker that
    // starts makes its lock first and looks for itself in the file then, so that one of
    // the two finds the other.
    let came = |path: &Path| writers::any_lives(path);
    if came(to) || old.as_deref().is_some_and(came) {
        if let Some(old) = &old {
            take_back(old, to).map_err(failed)?;
        }
        return Err(StoreError::InUse {
            path: to.to_owned(),
        });
    }
    Ok(old)
}

/// Puts the old store back where it was, with its log and its folder of writers.
fn take_back(old: &Path, to: &Path) -> io::Result<()> {
    for ending in ["-wal", "-shm"] {
        match std::fs::rename(beside(old, ending), beside(to, ending)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(source),
            Ok(()) | Err(_) => {}
        }
    }
    // Whoever has come meanwhile may have a lock in a folder of that name already.
    let (from, folder) = (beside(old, "-writers"), beside(to, "-writers"));
    for file in std::fs::read_dir(&from).into_iter().flatten() {
        let file = file?;
        std::fs::create_dir_all(&folder)?;
        std::fs::rename(file.path(), folder.join(file.file_name()))?;
    }
    let _not_there = std::fs::remove_dir(&from);
    std::fs::rename(old, to)?;
    flush_folder(to)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut file = new_file(to)?;
    io::copy(&mut source, &mut file)?;
    file.sync_all()
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// A new name is durable once its folder is.
fn flush_folder(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Writer;
    use std::fs;

    #[test]
    fn who_started_on_a_file_that_was_replaced_meanwhile_is_told_to_start_again() {
        let folder = tempfile::tempdir().unwrap();
        let [path, copy] = ["store.db", "copy.db"].map(|name| folder.path().join(name));
        let now = jiff::Timestamp::UNIX_EPOCH;
        let store = Store::open(&path, &[]).unwrap();
        store.copy_to(&copy).unwrap();
        // Between opening it and enlisting nobody has a lock.
        put_back(&copy, &path, ".replaced").unwrap();
        let late = Writer::enlist(&store, now);
        assert!(matches!(late, Err(StoreError::Replaced { .. })), "{late:?}");
        drop(store);
        let store = Store::open(&path, &[]).unwrap();
        let _writer = Writer::enlist(&store, now).unwrap();
        let refused = put_back(&copy, &path, ".replaced-again");
        assert!(matches!(refused, Err(StoreError::InUse { .. })));
    }

    #[test]
    fn what_was_moved_away_comes_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        let [old, to] = ["old.db", "store.db"].map(|name| folder.path().join(name));
        for (path, text) in [
            (old.clone(), "old"),
            (beside(&old, "-wal"), "log"),
            (to.clone(), "new"),
        ] {
            fs::write(path, text).unwrap();
        }
        for (store, lock) in [(&old, "one.lock"), (&to, "two.lock")] {
            let writers = beside(store, "-writers");
            fs::create_dir(&writers).unwrap();
            fs::write(writers.join(lock), "").unwrap();
        }
        take_back(&old, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "old");
        assert_eq!(fs::read_to_string(beside(&to, "-wal")).unwrap(), "log");
        let locks = fs::read_dir(beside(&to, "-writers")).unwrap();
        assert_eq!(locks.count(), 2);
        assert!(!old.exists() && !beside(&old, "-writers").exists());
    }
}
