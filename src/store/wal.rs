//! SQLite's write-ahead log, as far as it must be known whether its middle can be
//! read: SQLite takes the first frame that does not fit for the end, and what comes
//! after it is gone without a word. ("WAL File Format" and "WAL-mode File Format",
//! SQLite documentation.)
//!
//! Frames behind such a place need not be lost: a process that was killed while it
//! committed leaves some that nobody counts, and the next one writes over the first
//! of them only. What was committed is told by the index of the log (`-shm`), which
//! outlives every process and no power cut.

use std::path::Path;
use std::path::PathBuf;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// One of the two headers of the index, its checksum at the end included.
const INDEX_HEADER: usize = 48;

/// What is lost of a log that is damaged in its middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    /// How many whole frames come after one that cannot be read.
    frames: u32,
    /// How much of the log comes before that, in bytes.
    before: usize,
}

/// What is lost of the log of a store. None where the end is missing only, as a power
/// cut leaves it, or where nothing behind that place was committed.
pub(super) fn lost(store: &Path) -> Option<Lost> {
    let beside = |suffix: &str| {
        let mut name = store.as_os_str().to_owned();
        name.push(suffix);
        std::fs::read(PathBuf::from(name)).ok()
    };
    let log = beside("-wal")?;
    let committed = beside("-shm").and_then(|index| committed(&index, log.get(16..24)?));
    behind_damage(&log, committed.unwrap_or(u32::MAX)).filter(|lost| lost.frames > 0)
}

/// How many frames of the log with this salt were committed, as its index says. None
/// where it does not say that, or cannot be read.
fn committed(index: &[u8], salt: &[u8]) -> Option<u32> {
    // One of the two is written before the other.
    let headers = index.chunks_exact(INDEX_HEADER).take(2);
    let told = headers.filter_map(|header| {
        let native = cfg!(target_endian = "big");
        let sum = add((0, 0), header.get(..40)?, native)?;
        let number = |at: usize| Some(u32::from_ne_bytes(*header.get(at..)?.first_chunk()?));
        let is_whole = sum == (number(40)?, number(44)?) && sum != (0, 0);
        let frames = number(16)?;
        // A log that is begun anew holds nothing that is not in the store.
        (is_whole && (frames == 0 || header.get(32..40)? == salt)).then_some(frames)
    });
    told.max()
}

impl Lost {
    /// What is said of it.
    pub(super) fn told(self) -> String {
        let Self { frames, before } = self;
        format!(
            "its write-ahead log is damaged in its middle: {frames} pages behind that place, and what they recorded, cannot be read; to go on without them, as a last resort, cut the `-wal` to {before} bytes"
        )
    }
}

fn behind_damage(log: &[u8], committed: u32) -> Option<Lost> {
    let (header, frames) = log.split_at_checked(HEADER)?;
    let big_endian = match word(header, 0)? {
        0x377f_0682 => false,
        0x377f_0683 => true,
        _ => return None,
    };
    let page = usize::try_from(word(header, 8)?).ok()?;
    let salt = header.get(16..24)?;
    let mut sum = (word(header, 24)?, word(header, 28)?);
    let mut damaged = false;
    let mut lost = Lost {
        frames: 0,
        before: HEADER,
    };
    let committed = usize::try_from(committed).ok()?;
    for frame in frames
        .chunks_exact(FRAME_HEADER.checked_add(page)?)
        .take(committed)
    {
        if frame.get(8..16)? != salt {
            break;
        }
        let (head, body) = frame.split_at_checked(FRAME_HEADER)?;
        let fits = add(add(sum, head.get(..8)?, big_endian)?, body, big_endian)?;
        // What it says itself is what the next one goes on from.
        sum = (word(head, 16)?, word(head, 20)?);
        match (fits == sum, damaged) {
            (true, true) => lost.frames += 1,
            (true, false) => lost.before += frame.len(),
            (false, _) => damaged = true,
        }
    }
    Some(lost)
}

/// The checksum of the log: it goes on over all that came before.
fn add(sum: (u32, u32), bytes: &[u8], big_endian: bool) -> Option<(u32, u32)> {
    let read = |bytes: &[u8; 4]| match big_endian {
        true => u32::from_be_bytes(*bytes),
        false => u32::from_le_bytes(*bytes),
    };
    let (words, rest) = bytes.as_chunks::<4>();
    let (pairs, odd) = words.as_chunks::<2>();
    let sums = pairs.iter().fold(sum, |(first, second), [one, two]| {
        let first = first.wrapping_add(read(one)).wrapping_add(second);
        (first, second.wrapping_add(read(two)).wrapping_add(first))
    });
    (rest.is_empty() && odd.is_empty()).then_some(sums)
}

/// A number of a header, which is always big-endian.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let (word, _rest) = bytes.get(at..)?.split_first_chunk()?;
    Some(u32::from_be_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    /// The log of a store that has so many pages changed one by one.
    fn log() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let store = Connection::open(&path).unwrap();
        store.pragma_update(None, "journal_mode", "WAL").unwrap();
        store.execute_batch("CREATE TABLE t (a)").unwrap();
        for _ in 0..5 {
            store.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        }
        std::fs::read(folder.path().join("store.db-wal")).unwrap()
    }

    /// Runs what makes changes, with the log and its index as they are then.
    fn after(folder: &Path, changes: &str) -> (Vec<u8>, Vec<u8>) {
        let path = folder.join("store.db");
        let store = Connection::open(&path).unwrap();
        store.pragma_update(None, "journal_mode", "WAL").unwrap();
        store.execute_batch("PRAGMA cache_spill = OFF").unwrap();
        store
            .execute_batch("CREATE TABLE IF NOT EXISTS t (a)")
            .unwrap();
        store.execute_batch(changes).unwrap();
        let read = |name| std::fs::read(folder.join(name)).unwrap();
        let kept = (read("store.db-wal"), read("store.db-shm"));
        // Closing would empty the log.
        std::mem::forget(store);
        kept
    }

    #[test]
    fn what_was_never_committed_is_not_missed() {
        let large = "INSERT INTO t SELECT zeroblob(40000); INSERT INTO t VALUES (1)";
        let [killed, alive] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let (theirs, _) = after(killed.path(), large);
        let (mut log, index) = after(alive.path(), "INSERT INTO t VALUES (1)");
        // Begun by the same log, whose frames are those of the one that was killed.
        let theirs_behind = &theirs[log.len()..];
        let salted = |frame: &[u8]| {
            let mut frame = frame.to_vec();
            frame[8..16].copy_from_slice(&log[16..24]);
            frame
        };
        let frame = 4096 + FRAME_HEADER;
        let behind: Vec<u8> = theirs_behind.chunks(frame).flat_map(salted).collect();
        let own = log.len();
        log.extend(behind);
        let write = |log: &[u8], index: &[u8]| {
            std::fs::write(alive.path().join("store.db-wal"), log).unwrap();
            std::fs::write(alive.path().join("store.db-shm"), index).unwrap();
            lost(&alive.path().join("store.db"))
        };
        assert_eq!(write(&log, &index), None);
        // The index tells of the damage of what was committed.
        let mut damaged = log.clone();
        damaged[HEADER + 100] ^= 1;
        assert!(write(&damaged, &index).is_some_and(|lost| lost.before == HEADER));
        // An index that is not whole, or of another log, tells nothing.
        let mut torn = index.clone();
        for header in torn.chunks_mut(INDEX_HEADER).take(2) {
            header[16] ^= 1;
        }
        let frames = (own - HEADER) / frame;
        assert_eq!(committed(&index, &log[16..24]).unwrap() as usize, frames);
        assert_eq!(committed(&torn, &log[16..24]), None);
        assert_eq!(committed(&index, &theirs[16..24]), None);
        assert!(write(&log, &torn).is_some_and(|lost| lost.before == own));
    }

    #[test]
    fn damage_in_the_middle_is_told_from_an_end_that_is_missing() {
        let whole = log();
        let frame = 4096 + FRAME_HEADER;
        let frames = (whole.len() - HEADER) / frame;
        assert!(frames > 5);
        let behind = |log: &[u8]| behind_damage(log, u32::MAX).unwrap();
        assert_eq!(behind(&whole).frames, 0);
        for cut in [HEADER, HEADER + frame - 1, whole.len() - 1] {
            assert_eq!(behind(&whole[..cut]).frames, 0);
        }
        let mut flipped = whole.clone();
        flipped[HEADER + frame + 100] ^= 1;
        let lost = Lost {
            frames: u32::try_from(frames - 2).unwrap(),
            before: HEADER + frame,
        };
        assert_eq!(behind(&flipped), lost);
        let last = whole.len() - 1;
        let mut torn = whole;
        torn[last] ^= 1;
        assert_eq!(behind(&torn).frames, 0);
    }
}
