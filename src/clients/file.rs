//! Files of clients, read and written whole.

use super::ClientError;
use crate::config::plain_text;
use std::fs::File;
use std::fs::Permissions;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

/// How many names are tried for a file beside another.
const MOST_BESIDE: u32 = 64;

/// Where a path leads, so that a link stays one. A file that is not there yet has the
/// name that it will have then.
pub(super) fn followed(path: &Path) -> PathBuf {
    let there = path.ancestors().find_map(|part| {
        let real = part.canonicalize().ok()?;
        let rest = path.strip_prefix(part).ok()?;
        Some(match rest.as_os_str().is_empty() {
            true => real,
            false => real.join(rest),
        })
    });
    there.unwrap_or_else(|| path.to_owned())
}

pub(super) fn read(path: &Path) -> Result<Option<String>, ClientError> {
    match plain_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ClientError::File {
            doing: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

/// The folders that are made with a file, the innermost first.
pub(super) fn folders_to_make(path: &Path) -> Vec<PathBuf> {
    let above = path.ancestors().skip(1);
    let missing = above.take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
    missing.map(Path::to_owned).collect()
}

/// Takes folders away again, the innermost first, as far as nothing is in them.
pub(super) fn remove_empty(folders: &[PathBuf]) {
    for folder in folders {
        // Whatever somebody keeps there by now keeps the folder.
        let _stays = std::fs::remove_dir(folder);
    }
}

pub(super) fn remove(path: &Path) -> Result<(), ClientError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(ClientError::File {
            doing: "remove",
            path: path.to_owned(),
            source,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a file in one step: whoever reads it sees the old text or the new one.
/// It keeps its mode, or gets this one.
pub(super) fn write(path: &Path, text: &str, mode: Option<u32>) -> Result<(), ClientError> {
    let kept = std::fs::metadata(path).map(|found| found.permissions().mode() & 0o7777);
    let mode = mode.unwrap_or_else(|| kept.unwrap_or(0o600));
    let written = || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let (beside, file) = beside(path, mode)?;
        let moved = fill(file, text, mode).and_then(|()| std::fs::rename(&beside, path));
        // What it holds may be secret, and nobody would look for it.
        moved.inspect_err(|_failed| drop(std::fs::remove_file(&beside)))
    };
    written().map_err(|source| ClientError::File {
        doing: "write",
        path: path.to_owned(),
        source,
    })
}

fn fill(mut file: File, text: &str, mode: u32) -> io::Result<()> {
    file.write_all(text.as_bytes())?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

/// Makes a new file beside another. What lies there already is left alone: it is
/// somebody else's, or a link that leads elsewhere.
fn beside(path: &Path, mode: u32) -> io::Result<(PathBuf, File)> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let own = std::process::id();
    let mut names = (0..MOST_BESIDE).map(|number| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{own}-{number}"));
        PathBuf::from(name)
    });
    let free = names.find_map(|name| match options.open(&name) {
        Ok(file) => Some(Ok((name, file))),
        Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => None,
        Err(error) => Some(Err(error)),
    });
    free.unwrap_or_else(|| Err(io::ErrorKind::AlreadyExists.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beside_a_file_is_left_alone_and_nothing_is_left_there() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a.json"), folder.path().join("other"));
        std::fs::write(&other, "other").unwrap();
        let planted = folder
            .path()
            .join(format!("a.json.{}-0", std::process::id()));
        std::os::unix::fs::symlink(&other, &planted).unwrap();
        write(&path, "new", Some(0o640)).unwrap();
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "other");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        // A folder cannot be replaced by a file.
        let taken = folder.path().join("b.json");
        std::fs::create_dir(&taken).unwrap();
        write(&taken, "secret", None).unwrap_err();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
    }
}
