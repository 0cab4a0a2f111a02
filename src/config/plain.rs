//! Files that are read as they are named, by whoever did not expect to wait.

use rustix::fs::CWD;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use std::fs::File;
use std::fs::FileType;
use std::io;
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// The text of a file. What is no plain file is refused at once: a pipe may have nobody
/// who writes into it, and a device may never end.
///
/// # Errors
///
/// When it is no plain file, cannot be read, or is no text in UTF-8.
pub fn plain_text(path: &Path) -> io::Result<String> {
    // Looked at once it is open: something else may take its name before.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let opened = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    let mut file = File::from(opened);
    let found = file.metadata()?.file_type();
    if !found.is_file() {
        let what = format!("it is {}, and no plain file", kind(found));
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)
        .map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => io::Error::new(error.kind(), "it is no text in UTF-8"),
            _ => error,
        })?;
    Ok(text)
}

fn kind(found: FileType) -> &'static str {
    if found.is_dir() {
        "a folder"
    } else if found.is_fifo() {
        "a pipe"
    } else if found.is_char_device() || found.is_block_device() {
        "a device"
    } else {
        "a socket"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_no_plain_file_is_refused_without_waiting_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("file"), "text").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        rustix::fs::mkfifoat(CWD, path("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
        for name in ["file", "link"] {
            assert_eq!(plain_text(&path(name)).unwrap(), "text");
        }
        for (path, told) in [
            (path("pipe"), "it is a pipe, and no plain file"),
            ("/dev/zero".into(), "it is a device, and no plain file"),
            (folder.path().into(), "it is a folder, and no plain file"),
        ] {
            assert_eq!(plain_text(&path).unwrap_err().to_string(), told);
        }
        std::fs::write(path("binary"), [0x7f, 0x45, 0xff, 0xfe]).unwrap();
        let binary = plain_text(&path("binary")).unwrap_err();
        assert_eq!(binary.to_string(), "it is no text in UTF-8");
        let absent = plain_text(&path("absent")).unwrap_err();
        assert_eq!(absent.kind(), io::ErrorKind::NotFound);
    }
}
