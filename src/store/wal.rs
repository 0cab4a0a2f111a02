//! SQLite's write-ahead log, as far as it must be known whether its middle can be
//! read: SQLite takes the first frame that does not fit for the end, and what comes
//! after it is gone without a word. ("WAL File Format" and "WAL-mode File Format",
//! SQLite documentation.)
//!
//! Frames behind such a place need not be lost: a process that was killed while it
//! committed leaves those of its one transaction, which nobody counts, and the next
//! one writes over the first of them only. What was committed is told by the index of
//! the log (`-shm`), if it was written since the machine started: a power cut leaves
//! it as it may. It is gone, too, while SQLite makes it anew when a first process
//! opens the store. Then two transactions in a row tell what was committed: who was
//! killed leaves no more than one.

use super::beside;
use std::path::Path;
use std::time::Duration;
use std::time::SystemTime;

/// How the header of a log begins whose checksums are of little-endian words.
const LITTLE_ENDIAN: u32 = 0x377f_0682;
/// The same of big-endian words.
const BIG_ENDIAN: u32 = 0x377f_0683;
const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// One of the two headers of the index, its checksum at the end included.
const INDEX_HEADER: usize = 48;
/// Of how many transactions in a row behind a place that cannot be read some was surely
/// committed.
const IN_A_ROW: u32 = 2;
/// How often a log must look the same: somebody may have been writing it.
const LOOKS: u32 = 3;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// What is lost of a log that is damaged in its middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    /// How many whole frames come after one that cannot be read.
    frames: u32,
    /// How much of the log comes before that, in bytes.
    before: usize,
}

/// What is lost of the log of a store. None where the end is missing only, as a power
/// cut leaves it, where nothing behind that place was committed, or where somebody is
/// writing it. It blocks for a moment where something is lost.
pub(super) fn lost(store: &Path) -> Option<Lost> {
    let found = seen(store)?;
    for _ in 1..LOOKS {
        std::thread::sleep(BETWEEN_LOOKS);
        if seen(store)? != found {
            return None;
        }
    }
    Some(found)
}

fn seen(store: &Path) -> Option<Lost> {
    // What the index says was written before, so the log has it.
    let index = beside(store, "-shm");
    let index = is_of_this_boot(&index).then(|| std::fs::read(index).ok());
    let index = index.flatten().and_then(|index| Index::of(&index));
    let log = std::fs::read(beside(store, "-wal")).ok()?;
    behind_damage(&log, index).filter(|lost| lost.frames > 0)
}

/// Whether a file was written since the machine started.
fn is_of_this_boot(file: &Path) -> bool {
    let written = std::fs::metadata(file).and_then(|file| file.modified());
    let uptime = std::fs::read_to_string("/proc/uptime").ok();
    let uptime = uptime.and_then(|text| text.split_whitespace().next()?.parse().ok());
    let uptime = uptime.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let started = uptime.and_then(|uptime| SystemTime::now().checked_sub(uptime));
    started.is_some_and(|started| written.is_ok_and(|written| written >= started))
}

/// What the index of a log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Index {
    /// How many frames were committed.
    frames: u32,
    /// Of which log.
    salt: [u8; 8],
}

impl Index {
    /// The newer one of two headers, of those that are whole.
    fn of(index: &[u8]) -> Option<Self> {
        // One of the two is written before the other.
        let headers = index.chunks_exact(INDEX_HEADER).take(2);
        let whole = headers.filter_map(|header| {
            let big_endian = cfg!(target_endian = "big");
            let sum = add((0, 0), header.get(..40)?, big_endian)?;
            let number = |at: usize| Some(u32::from_ne_bytes(*header.get(at..)?.first_chunk()?));
            let is_whole = sum == (number(40)?, number(44)?) && sum != (0, 0);
            is_whole.then_some(Self {
                frames: number(16)?,
                salt: *header.get(32..)?.first_chunk()?,
            })
        });
        whole.max_by_key(|header| header.frames)
    }
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

/// What is lost: all that the index says was committed and that cannot be read, and what
/// lies in a row behind the first frame that cannot be read.
fn behind_damage(log: &[u8], index: Option<Index>) -> Option<Lost> {
    let (header, frames) = log.split_at_checked(HEADER)?;
    let size = FRAME_HEADER.checked_add(page_size(header)?)?;
    let salt = salt_of(header);
    // SQLite takes a log whose header does not fit for an empty one.
    let mut damaged = salt.is_none();
    let mut lost = Lost {
        frames: 0,
        before: if damaged { 0 } else { HEADER },
    };
    let big_endian = match salt {
        Some(_) => word(header, 0)? == BIG_ENDIAN,
        None => cfg!(target_endian = "big"),
    };
    let mut sum = (word(header, 24)?, word(header, 28)?);
    let (mut read, mut run) = (0, Run::default());
    for frame in frames.chunks_exact(size) {
        let (head, body) = frame.split_at_checked(FRAME_HEADER)?;
        let goes_on = add(add(sum, head.get(..8)?, big_endian)?, body, big_endian)?;
        // What it says itself is what the next one goes on from.
        sum = (word(head, 16)?, word(head, 20)?);
        let is_of_it = salt.is_none_or(|salt| head.get(8..16) == Some(&salt));
        match (goes_on == sum && is_of_it, damaged) {
            (true, false) => {
                read += 1;
                lost.before += frame.len();
            }
            (true, true) => {
                // The size of the store after it: the last frame of a transaction.
                run.commits += u32::from(word(head, 4)? != 0);
                run.frames += 1;
                if run.commits >= IN_A_ROW {
                    lost.frames += std::mem::take(&mut run.frames);
                }
            }
            (false, _) => (damaged, run) = (true, Run::default()),
        }
    }
    let is_its = |index: &Index| salt.is_none_or(|salt| salt == index.salt);
    let committed = index.filter(is_its).map_or(0, |index| index.frames);
    lost.frames = lost.frames.max(committed.saturating_sub(read));
    Some(lost)
}

/// Frames behind damage of which each goes on from the one before.
#[derive(Default)]
struct Run {
    /// Those that are not counted as lost yet.
    frames: u32,
    commits: u32,
}

/// The size of a page, as the header has it, or as all of ours are.
fn page_size(header: &[u8]) -> Option<usize> {
    let told = usize::try_from(word(header, 8)?).ok()?;
    let is_one = told.is_power_of_two() && (512..=65_536).contains(&told);
    Some(if is_one { told } else { 4_096 })
}

/// What the frames of this log have in common. None where the header does not fit.
fn salt_of(header: &[u8]) -> Option<[u8; 8]> {
    let big_endian = match word(header, 0)? {
        LITTLE_ENDIAN => false,
        BIG_ENDIAN => true,
        _ => return None,
    };
    let sum = add((0, 0), header.get(..24)?, big_endian)?;
    let fits = sum == (word(header, 24)?, word(header, 28)?);
    fits.then(|| header.get(16..)?.first_chunk().copied())?
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
        let large = "INSERT INTO t SELECT zeroblob(40000)";
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
        // The index tells of damage of what was committed, wherever it is.
        let salt = log[16..24].to_vec();
        let told = Index::of(&index).unwrap();
        assert_eq!(told.salt[..], salt);
        assert_eq!(told.frames as usize, (own - HEADER) / frame);
        let is_lost = |at: usize, index: &[u8]| {
            let mut damaged = log.clone();
            damaged[at] ^= 1;
            write(&damaged, index)
        };
        let last = own - frame;
        let places = [HEADER + 100, HEADER + 8, last + 8, last + 16, last + 200];
        for at in places {
            let lost = is_lost(at, &index).unwrap();
            assert_eq!(lost.before, if at < last { HEADER } else { last });
        }
        for at in [0, 8, 12, 16, 24, 31] {
            assert_eq!(is_lost(at, &index).unwrap().before, 0, "{at}");
        }
        assert_eq!(is_lost(own + 100, &index), None);
        // Without it, one transaction behind damage was perhaps never committed.
        let mut torn = index.clone();
        for header in torn.chunks_mut(INDEX_HEADER).take(2) {
            header[16] ^= 1;
        }
        assert_eq!(Index::of(&torn), None);
        assert_eq!(write(&log, &torn), None);
        assert!(is_lost(HEADER + 100, &torn).is_some_and(|lost| lost.before == HEADER));
        assert_eq!(is_lost(last + 200, &torn), None);
        // Nor of an earlier start of the machine.
        let index_file = alive.path().join("store.db-shm");
        assert!(is_of_this_boot(&index_file));
        let file = std::fs::File::options()
            .write(true)
            .open(&index_file)
            .unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(!is_of_this_boot(&index_file));
    }

    #[test]
    fn damage_in_the_middle_is_told_from_an_end_that_is_missing() {
        let whole = log();
        let frame = 4096 + FRAME_HEADER;
        let frames = (whole.len() - HEADER) / frame;
        assert!(frames > 5);
        let behind = |log: &[u8]| behind_damage(log, None).unwrap();
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
