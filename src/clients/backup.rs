//! What files of clients held before they were changed: a file of our own for each, with
//! a record for each place that was changed in it.
//!
//! They lie with the user's state and not beside the client's files, because those often
//! lie in a repository, and what they hold may be secret.

use super::ClientError;
use super::file;
use super::places::Section;
use crate::tool::Digest;
use serde_json::Value;
use serde_json::json;
use std::fs::DirBuilder;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;

/// What one connecting did to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The places that it changed; the first names it.
    pub(super) sections: Vec<Section>,
    /// What the file held before; none where there was no file.
    pub(super) original: Option<String>,
    /// What was written.
    pub(super) written: String,
    /// The folders that were made for it, the innermost first.
    pub(super) made: Vec<PathBuf>,
}

/// What undoing a record comes to, by what its file holds now.
pub(super) enum Fate {
    /// This is what it leaves; none where the file is to go.
    Undone(Option<String>),
    /// Somebody else undid it since: only who says so gets these servers back.
    Over(Vec<String>),
    /// Somebody else undid it since, and it has nothing that is not there.
    Nothing,
}

/// The records of one file, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backup {
    /// The client's file.
    of: PathBuf,
    /// Where the records are kept.
    at: PathBuf,
    records: Vec<Record>,
    /// Those that are over, and make room for one of the same place.
    aside: Vec<Record>,
    /// How many there were when it was read.
    read: usize,
}

impl Backup {
    /// Where earlier versions kept the backup of a file.
    pub(super) fn beside(of: &Path) -> PathBuf {
        let mut name = of.as_os_str().to_owned();
        name.push(".countersign-backup");
        PathBuf::from(name)
    }

    /// The backup of a file, in this folder; empty where there is none.
    pub(super) fn of(path: &Path, folder: &Path) -> Result<Self, ClientError> {
        let name = Digest::of(path.as_os_str().as_bytes());
        let at = folder.join(format!("{name}.json"));
        let mut records = Vec::new();
        for place in [&Self::beside(path), &at] {
            let text = file::read(place)?.unwrap_or_default();
            let whole: Value = serde_json::from_str(&text).unwrap_or_default();
            let listed = whole.get("records").unwrap_or(&whole).as_array();
            records.extend(listed.into_iter().flatten().filter_map(record));
        }
        Ok(Self {
            of: path.to_owned(),
            at,
            read: records.len(),
            records,
            aside: Vec::new(),
        })
    }

    /// Where it is kept.
    pub(super) fn path(&self) -> &Path {
        &self.at
    }

    /// Where the records are kept that made room.
    pub(super) fn aside(&self) -> Option<PathBuf> {
        (!self.aside.is_empty()).then(|| self.at.with_extension("json.old"))
    }

    /// Adds a record. One of the same place before it is merged into it, so that
    /// what comes back is what stood there before the first of them; one that is over
    /// makes room.
    pub(super) fn add(
        &mut self,
        mut record: Record,
        fate: impl Fn(&Record, &Option<String>) -> Result<Fate, String>,
    ) -> Result<(), String> {
        let changes = record.original.as_ref() != Some(&record.written);
        let same = |older: &Record| older.sections.first() == record.sections.first();
        let older = self.records.iter().position(same).filter(|_| changes);
        if let Some(older) = older.map(|place| self.records.remove(place)) {
            match fate(&older, &record.original)? {
                Fate::Undone(text) => {
                    record.original = text;
                    record.made.extend(older.made);
                    for section in older.sections {
                        if !record.sections.contains(&section) {
                            record.sections.push(section);
                        }
                    }
                }
                Fate::Over(_) => self.aside.push(older),
                Fate::Nothing => {}
            }
        }
        if changes {
            self.records.push(record);
        }
        Ok(())
    }

    /// Takes out the records of these places, the newest first.
    pub(super) fn take(&mut self, sections: &[Section]) -> Vec<Record> {
        let of_them = |record: &Record| {
            let first = record.sections.first();
            first.is_some_and(|first| sections.contains(first))
        };
        let (mut taken, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.records)
            .into_iter()
            .partition(of_them);
        self.records = kept;
        taken.reverse();
        taken
    }

    /// Puts a record that was taken out back before the others.
    pub(super) fn keep(&mut self, record: Record) {
        self.records.insert(0, record);
    }

    /// Whether nothing of what was read goes.
    pub(super) fn grows(&self) -> bool {
        !self.records.is_empty() && self.records.len() >= self.read
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Writes it, or removes it where it is empty. What an earlier version kept beside
    /// the file is in it then.
    pub(super) fn write(&self) -> Result<(), ClientError> {
        if let Some(aside) = self.aside() {
            self.write_to(&aside, &self.aside)?;
        }
        match self.records.is_empty() {
            true => file::remove(&self.at)?,
            false => self.write_to(&self.at, &self.records)?,
        }
        file::remove(&Self::beside(&self.of))
    }

    fn write_to(&self, path: &Path, records: &[Record]) -> Result<(), ClientError> {
        if let Some(folder) = path.parent() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|source| ClientError::File {
                doing: "make",
                path: folder.to_owned(),
                source,
            })?;
        }
        let records: Vec<Value> = records.iter().map(written).collect();
        let whole = json!({ "file": self.of.to_string_lossy(), "records": records });
        file::write(path, &whole.to_string(), Some(0o600))
    }
}

fn written(record: &Record) -> Value {
    let sections = record.sections.iter().map(|section| match section {
        Section::Top => Value::Null,
        Section::Project(folder) => folder.as_str().into(),
    });
    json!({
        "sections": sections.collect::<Vec<_>>(),
        "original": record.original,
        "written": record.written,
        "made": record.made.iter().map(|folder| folder.to_string_lossy()).collect::<Vec<_>>(),
    })
}

fn record(value: &Value) -> Option<Record> {
    let sections = value.get("sections")?.as_array()?.iter();
    let sections = sections.map(|section| match section {
        Value::String(folder) => Section::Project(folder.clone()),
        _ => Section::Top,
    });
    let made = value.get("made").and_then(Value::as_array);
    let made = made.into_iter().flatten();
    Some(Record {
        sections: sections.collect(),
        original: value.get("original")?.as_str().map(str::to_owned),
        written: value.get("written")?.as_str()?.to_owned(),
        // Earlier versions did not say it.
        made: made.filter_map(Value::as_str).map(PathBuf::from).collect(),
    })
}
