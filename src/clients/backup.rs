//! What files of clients held before they were changed: one file beside each, with
//! a record for each place that was changed in it.

use super::ClientError;
use super::file;
use super::places::Section;
use serde_json::Value;
use serde_json::json;
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
}

/// The records of one file, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Backup {
    records: Vec<Record>,
    /// How many there were when it was read.
    read: usize,
}

impl Backup {
    /// Where the backup of a file is.
    pub(super) fn path(of: &Path) -> PathBuf {
        let mut name = of.as_os_str().to_owned();
        name.push(".countersign-backup");
        PathBuf::from(name)
    }

    /// The backup of a file; empty where there is none.
    pub(super) fn of(path: &Path) -> Result<Self, ClientError> {
        let text = file::read(&Self::path(path))?.unwrap_or_default();
        let records: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
        let records: Vec<Record> = records.iter().filter_map(record).collect();
        Ok(Self {
            read: records.len(),
            records,
        })
    }

    /// Adds a record. One of the same place before it is merged into it, so that
    /// what comes back is what stood there before the first of them; `undo` says
    /// what that is where the file was changed in between.
    pub(super) fn add(
        &mut self,
        mut record: Record,
        undo: impl Fn(&Record, Option<String>) -> Result<Option<String>, String>,
    ) -> Result<(), String> {
        if record.original.as_ref() == Some(&record.written) {
            return Ok(());
        }
        let same = |older: &Record| older.sections.first() == record.sections.first();
        if let Some(place) = self.records.iter().position(same) {
            let older = self.records.remove(place);
            record.original = undo(&older, record.original)?;
            for section in older.sections {
                if !record.sections.contains(&section) {
                    record.sections.push(section);
                }
            }
        }
        self.records.push(record);
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

    /// Whether nothing of what was read goes.
    pub(super) fn grows(&self) -> bool {
        !self.records.is_empty() && self.records.len() >= self.read
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Writes it beside its file, or removes it where it is empty.
    pub(super) fn write(&self, path: &Path) -> Result<(), ClientError> {
        let path = Self::path(path);
        if self.records.is_empty() {
            return file::remove(&path);
        }
        let records: Vec<Value> = self.records.iter().map(written).collect();
        file::write(&path, &Value::from(records).to_string(), Some(0o600))
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
    })
}

fn record(value: &Value) -> Option<Record> {
    let sections = value.get("sections")?.as_array()?.iter();
    let sections = sections.map(|section| match section {
        Value::String(folder) => Section::Project(folder.clone()),
        _ => Section::Top,
    });
    Some(Record {
        sections: sections.collect(),
        original: value.get("original")?.as_str().map(str::to_owned),
        written: value.get("written")?.as_str()?.to_owned(),
    })
}
