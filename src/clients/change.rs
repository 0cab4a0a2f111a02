//! What connecting and disconnecting do to one file of a client.

use super::ClientError;
use super::OURS;
use super::backup::Backup;
use super::backup::Fate;
use super::backup::Record;
use super::changes::Others;
use super::changes::Over;
use super::entry;
use super::entry::Edit;
use super::entry::Holder;
use super::entry::Launch;
use super::file;
use super::places::Place;
use super::places::Section;
use super::shown;
use std::path::Path;
use std::path::PathBuf;

/// What a change to one file comes to.
#[derive(Debug)]
pub struct Change {
    /// The file, links followed.
    pub path: PathBuf,
    /// What stays as it is, because somebody else undid it before.
    pub left: Option<Left>,
    /// Whether our entry goes, and nobody kept what stood there before.
    pub is_bare: bool,
    /// The places of the client that are in the file, where it is connected.
    pub(super) places: Vec<Place>,
    /// What stood there before; none where there was no file.
    pub(super) before: Option<String>,
    /// What shall stand there; none where the file is to go.
    pub(super) after: Option<String>,
    holder: Holder,
    sections: Vec<Section>,
    /// What the backup shall hold then.
    backup: Backup,
    /// Folders of ours that go with the file, the innermost first.
    folders: Vec<PathBuf>,
}

/// What a backup has, and was not brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The file.
    pub path: PathBuf,
    /// Where it is kept.
    pub backup: PathBuf,
    /// The servers.
    pub names: Vec<String>,
}

impl Change {
    pub(super) fn connecting(
        (holder, state): (Holder, &Path),
        path: PathBuf,
        places: &[Place],
        (ours, others): (Option<&Launch>, Others),
    ) -> Result<Self, ClientError> {
        let before = file::read(&path)?;
        let shape = |problem: String| ClientError::Shape {
            path: path.clone(),
            problem,
        };
        let mut after = before.clone().unwrap_or_default();
        if let (Some(launch), Some(target)) = (ours, places.first()) {
            let add = Edit::Add(launch);
            after = entry::edited(holder, &target.section, &after, &add).map_err(shape)?;
        }
        let sections: Vec<Section> = places.iter().map(|place| place.section.clone()).collect();
        for section in &sections {
            let names = entry::entries(holder, section, &after).map_err(shape)?;
            let others = names
                .keys()
                .filter(|name| *name != OURS && others == Others::Go);
            for name in others {
                let remove = Edit::Remove(name);
                after = entry::edited(holder, section, &after, &remove).map_err(shape)?;
            }
        }
        let mut backup = Backup::of(&path, state)?;
        let record = Record {
            sections: sections.clone(),
            original: before.clone(),
            written: after.clone(),
            made: file::folders_to_make(&path),
        };
        backup
            .add(record, |older, text| fate(holder, older, text))
            .map_err(shape)?;
        Ok(Self {
            path: path.clone(),
            left: None,
            is_bare: false,
            places: places.to_vec(),
            before,
            after: Some(after),
            holder,
            sections,
            backup,
            folders: Vec::new(),
        })
    }

    /// None where nothing of ours is there.
    pub(super) fn disconnecting(
        (holder, state): (Holder, &Path),
        path: PathBuf,
        (sections, over): (Vec<Section>, Over),
    ) -> Result<Option<Self>, ClientError> {
        let before = file::read(&path)?;
        let mut backup = Backup::of(&path, state)?;
        let shape = |problem: String| ClientError::Shape {
            path: path.clone(),
            problem,
        };
        let records = backup.take(&sections);
        let had_records = !records.is_empty();
        let mut after = before.clone();
        let mut touched = sections;
        let mut is_undone = false;
        let mut left: Vec<String> = Vec::new();
        let mut folders = Vec::new();
        for record in records {
            folders.extend(record.made.iter().cloned());
            match (fate(holder, &record, &after).map_err(shape)?, over) {
                (Fate::Undone(text), _) => {
                    after = text;
                    is_undone = true;
                    touched.extend(record.sections.iter().cloned());
                }
                (Fate::Over(_), Over::Undone) => {
                    after = undone(holder, &record, after).map_err(shape)?;
                    is_undone = true;
                    touched.extend(record.sections.iter().cloned());
                }
                (Fate::Over(names), Over::Left) => {
                    left.extend(names);
                    backup.keep(record);
                }
                (Fate::Nothing, _) => {}
            }
        }
        touched.sort();
        touched.dedup();
        let mut is_bare = false;
        if let (false, Some(text)) = (is_undone, &before) {
            let without = without_ours(holder, &touched, text).map_err(shape)?;
            is_bare = without != *text && !had_records;
            after = Some(without);
        }
        let left = (!left.is_empty()).then(|| Left {
            path: path.clone(),
            backup: backup.path().to_owned(),
            names: left,
        });
        let change = Self {
            path: path.clone(),
            left,
            is_bare,
            places: Vec::new(),
            before,
            after,
            holder,
            sections: touched,
            backup,
            folders,
        };
        Ok((had_records || !change.is_none()).then_some(change))
    }

    /// Whether a server of this name goes from this part of the file.
    pub(super) fn takes(&self, section: &Section, name: &str) -> bool {
        let has = |text: &Option<String>| {
            let text = text.as_deref().unwrap_or_default();
            let entries = entry::entries(self.holder, section, text).unwrap_or_default();
            entries.contains_key(name)
        };
        name != OURS && has(&self.before) && !has(&self.after)
    }

    /// The entries that go and those that come, with no value in them that may be
    /// secret, and nothing else of the file.
    pub fn shown(&self) -> String {
        let sections = self.sections.iter();
        let shown = sections.map(|section| {
            let entries = |text: &Option<String>| {
                let text = text.as_deref().unwrap_or_default();
                entry::entries(self.holder, section, text).unwrap_or_default()
            };
            shown::difference(&entries(&self.before), &entries(&self.after))
        });
        shown.collect()
    }

    /// Whether anything changes.
    pub fn is_none(&self) -> bool {
        self.before == self.after
    }

    /// Whether there was no such file.
    pub fn is_new(&self) -> bool {
        self.before.is_none()
    }

    /// Where an older backup goes, whose change somebody else undid.
    pub fn set_aside(&self) -> Option<PathBuf> {
        self.backup.aside()
    }

    /// Makes the change, whole or not at all. What stood there before is kept until it
    /// has come back: returns where.
    ///
    /// # Errors
    ///
    /// When the file or its backup cannot be written, or somebody else writes the
    /// file at the same time.
    pub fn apply(&self) -> Result<Option<PathBuf>, ClientError> {
        let unsteady = || ClientError::Unsteady {
            path: self.path.clone(),
        };
        if file::read(&self.path)? != self.before {
            return Err(unsteady());
        }
        // What is not in the backup any more must be in the file first.
        let grows = self.backup.grows();
        if grows {
            self.backup.write()?;
        }
        match &self.after {
            _ if self.is_none() => {}
            None => file::remove(&self.path)?,
            Some(after) => file::write(&self.path, after, None)?,
        }
        if file::read(&self.path)? != self.after {
            return Err(unsteady());
        }
        if self.after.is_none() {
            file::remove_empty(&self.folders);
        }
        if !grows {
            self.backup.write()?;
        }
        Ok((!self.backup.is_empty()).then(|| self.backup.path().to_owned()))
    }
}

/// What undoing a record comes to, by what its file holds now. What is neither as it was
/// written nor has our entry, or has a server again that was taken out, was written by
/// somebody who knows of neither: what such a file has not, it may have lost on purpose.
fn fate(holder: Holder, record: &Record, text: &Option<String>) -> Result<Fate, String> {
    let after = undone(holder, record, text.clone())?;
    if text.as_ref() == Some(&record.written) {
        return Ok(Fate::Undone(after));
    }
    let now = text.as_deref().unwrap_or_default();
    let original = record.original.as_deref().unwrap_or_default();
    let (mut had_ours, mut has_ours) = (false, false);
    let (mut is_back, mut names) = (false, Vec::new());
    for section in &record.sections {
        let entries = |text: &str| entry::entries(holder, section, text);
        let (was, wrote, now) = (entries(original)?, entries(&record.written)?, entries(now)?);
        had_ours |= wrote.contains_key(OURS);
        has_ours |= now.contains_key(OURS);
        for name in was.keys().filter(|name| !wrote.contains_key(*name)) {
            match now.contains_key(name) {
                true => is_back = true,
                false => names.push(name.clone()),
            }
        }
    }
    let is_over = match had_ours {
        true => !has_ours,
        false => is_back,
    };
    Ok(match (is_over, names.is_empty()) {
        (false, _) => Fate::Undone(after),
        (true, true) => Fate::Nothing,
        (true, false) => Fate::Over(names),
    })
}

/// The text of a file without our entry in these parts of it.
fn without_ours(holder: Holder, sections: &[Section], text: &str) -> Result<String, String> {
    let mut without = text.to_owned();
    for section in sections {
        if entry::entries(holder, section, text)?.contains_key(OURS) {
            without = entry::edited(holder, section, &without, &Edit::Remove(OURS))?;
        }
    }
    Ok(without)
}

/// The text of a file without what a record did to it.
fn undone(holder: Holder, record: &Record, text: Option<String>) -> Result<Option<String>, String> {
    if text.as_ref() == Some(&record.written) {
        return Ok(record.original.clone());
    }
    let original = record.original.as_deref().unwrap_or_default();
    let mut text = text.unwrap_or_default();
    for section in &record.sections {
        let entries = |text: &str| entry::entries(holder, section, text);
        let (was, wrote) = (entries(original)?, entries(&record.written)?);
        for name in was.keys() {
            let is_ours = name == OURS && wrote.get(name) != was.get(name);
            let was_taken = !wrote.contains_key(name) && !entries(&text)?.contains_key(name);
            if is_ours || was_taken {
                let restore = Edit::Restore(name, original);
                text = entry::edited(holder, section, &text, &restore)?;
            }
        }
        let came = wrote.contains_key(OURS) && !was.contains_key(OURS);
        if came && entries(&text)?.contains_key(OURS) {
            text = entry::edited(holder, section, &text, &Edit::Remove(OURS))?;
        }
    }
    Ok(Some(text))
}
