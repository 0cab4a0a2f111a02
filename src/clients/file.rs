//! Files of clients, read and written whole.

use super::ClientError;
use std::fs::Permissions;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

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
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ClientError::File {
            doing: "read",
            path: path.to_owned(),
            source,
        }),
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
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    written().map_err(|source| ClientError::File {
        doing: "write",
        path: path.to_owned(),
        source,
    })
}
