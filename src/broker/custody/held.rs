//! The file to which checkpoints are appended, so that somebody else can have them.

use crate::crash;
use rustix::fs::CWD;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use std::fs::File;
use std::fs::FileType;
use std::fs::TryLockError;
use std::io;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

/// How long is waited for whoever has the file locked.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// Why a file takes no checkpoints.
#[derive(Debug, thiserror::Error)]
pub enum HeldError {
    /// It is no file.
    #[error(
        "`{}` is {what}: name a file that checkpoints can be appended to, which need not be there yet",
        path.display()
    )]
    NoFile {
        /// What was named.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// It cannot be opened or written.
    #[error("nothing can be appended to `{}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Somebody else has had it locked for too long.
    #[error("another process has `{}` locked", path.display())]
    Locked {
        /// Which.
        path: PathBuf,
    },
}

/// Refuses what will never take a checkpoint: whatever is no file, or cannot be opened.
/// Nothing is made where there is none yet.
///
/// # Errors
///
/// When it is such a place.
pub(super) fn must_take(path: &Path) -> Result<(), HeldError> {
    let is_there = match std::fs::metadata(path) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => false,
        looked => looked.map(|_some| true).map_err(at(path))?,
    };
    if is_there {
        return open(path, OFlags::empty()).map(|_closed| ());
    }
    let folder = path.parent().filter(|one| !one.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    std::fs::metadata(folder)
        .map(|_some| ())
        .map_err(|source| at(folder)(source))
}

/// Appends a line, and has it on the disk when this returns. Brokers append to the same
/// file, one after the other. A line that was cut off, by the end of the power or of the
/// disk, spoils only itself.
///
/// # Errors
///
/// When it is no file, or cannot be locked or written.
pub(super) fn append(path: &Path, line: &str) -> Result<(), HeldError> {
    let is_new = !path.exists();
    let file = open(path, OFlags::CREATE)?;
    lock(&file, path)?;
    let written = write(&file, line).and_then(|()| match path.parent() {
        Some(folder) if is_new => sync_folder(folder),
        Some(_) | None => Ok(()),
    });
    // Closing is not enough: a child that is being started has the file too, until it
    // has become another program.
    let _closed_next = file.unlock();
    written.map_err(at(path))
}

fn write(mut file: &File, line: &str) -> io::Result<()> {
    let begin = if is_torn(file)? { "\n" } else { "" };
    crash::point("checkpoint.given.before-append");
    if crash::strikes("checkpoint", "given", "torn") {
        let half = line.get(..line.len() / 2).unwrap_or_default();
        file.write_all(format!("{begin}{half}").as_bytes())?;
        crash::kill();
    }
    file.write_all(format!("{begin}{line}\n").as_bytes())?;
    file.sync_data()?;
    crash::point("checkpoint.given.after-append");
    Ok(())
}

/// A new name is on the disk once its folder is.
fn sync_folder(folder: &Path) -> io::Result<()> {
    let here = folder.as_os_str().is_empty();
    File::open(if here { Path::new(".") } else { folder })?.sync_all()
}

/// Whether the last line may have no end: so it is, too, where one may append to the
/// file and not read it.
fn is_torn(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else {
        return Ok(false);
    };
    let mut end = [0];
    Ok(file.read_exact_at(&mut end, last).is_err() || end != *b"\n")
}

/// Opens a file to append to it, and nothing else: a pipe would have us wait for whoever
/// reads it.
fn open(path: &Path, more: OFlags) -> Result<File, HeldError> {
    // Some devices do something when they are opened.
    if let Ok(there) = std::fs::metadata(path) {
        must_be_file(there.file_type(), path)?;
    }
    let how = OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | more;
    let mode = Mode::RUSR | Mode::WUSR;
    let opened = match rustix::fs::openat(CWD, path, how | OFlags::RDWR, mode) {
        Err(rustix::io::Errno::ACCESS) => rustix::fs::openat(CWD, path, how | OFlags::WRONLY, mode),
        opened => opened,
    };
    let file = File::from(opened.map_err(io::Error::from).map_err(at(path))?);
    // What was opened, whatever stands under the name by now.
    let opened = file.metadata().map_err(at(path))?;
    must_be_file(opened.file_type(), path)?;
    Ok(file)
}

fn must_be_file(kind: FileType, path: &Path) -> Result<(), HeldError> {
    let what = match kind {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(HeldError::NoFile {
        path: path.to_owned(),
        what,
    })
}

fn lock(file: &File, path: &Path) -> Result<(), HeldError> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            // There are no locks there, and one write for each line has to do.
            Err(TryLockError::Error(source)) if source.kind() == io::ErrorKind::Unsupported => {
                return Ok(());
            }
            Err(TryLockError::Error(source)) => return Err(at(path)(source)),
            Err(TryLockError::WouldBlock) if begun.elapsed() > PATIENCE => {
                return Err(HeldError::Locked {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
        }
    }
}

/// Says of which file an error is.
fn at(path: &Path) -> impl Fn(io::Error) -> HeldError {
    |source| HeldError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::FileType as Made;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;
    use std::sync::Barrier;

    #[test]
    fn a_line_that_was_cut_off_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("held.jsonl");
        append(&path, "{1}").unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for cut in ["{", "{2", "{2}"] {
            std::fs::write(&path, format!("{{1}}\n{cut}")).unwrap();
            append(&path, "{3}").unwrap();
            append(&path, "{4}").unwrap();
            let due = format!("{{1}}\n{cut}\n{{3}}\n{{4}}\n");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), due);
        }
    }

    #[test]
    fn only_a_file_takes_checkpoints_and_nothing_else_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        rustix::fs::mknodat(CWD, path("pipe"), Made::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let _listens = UnixListener::bind(path("socket")).unwrap();
        std::fs::create_dir(path("folder")).unwrap();
        std::os::unix::fs::symlink(path("pipe"), path("link")).unwrap();
        for (name, what) in [
            ("pipe", "a pipe"),
            ("link", "a pipe"),
            ("socket", "a socket"),
            ("folder", "a folder"),
            ("/dev/null", "a device"),
        ] {
            let named = path(name);
            for refused in [must_take(&named), append(&named, "{1}")] {
                let told = refused.unwrap_err().to_string();
                assert!(told.contains(&format!("is {what}: name a file")), "{told}");
            }
        }
        must_take(&path("none")).unwrap();
        assert!(!path("none").exists());
        append(&path("none"), "{1}").unwrap();
        must_take(&path("none")).unwrap();
        assert_eq!(std::fs::read_to_string(path("none")).unwrap(), "{1}\n");
        let nowhere = must_take(&path("nowhere/held.jsonl")).unwrap_err();
        assert!(nowhere.to_string().contains("/nowhere`"), "{nowhere}");
    }

    #[test]
    fn lines_of_several_brokers_never_come_in_between_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("held.jsonl");
        let file = open(&path, OFlags::CREATE).unwrap();
        file.lock().unwrap();
        let begin = Barrier::new(5);
        std::thread::scope(|scope| {
            for broker in 0..4 {
                let (path, begin) = (&path, &begin);
                scope.spawn(move || {
                    begin.wait();
                    for _ in 0..20 {
                        append(path, &broker.to_string().repeat(100_000)).unwrap();
                    }
                });
            }
            begin.wait();
            // Whoever writes now has not ended its line.
            (&file).write_all(b"half").unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"half");
            file.unlock().unwrap();
        });
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("half"));
        let mut whole = 0;
        for line in lines {
            assert_eq!(line.len(), 100_000);
            assert!(line.bytes().all(|byte| line.starts_with(byte as char)));
            whole += 1;
        }
        assert_eq!(whole, 80);
    }
}
