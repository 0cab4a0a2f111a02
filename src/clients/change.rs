//! What connecting and disconnecting do to the files of a client.

use super::Client;
use super::ClientError;
use super::OURS;
use super::backup::Backup;
use super::backup::Record;
use super::entry;
use super::entry::Edit;
use super::entry::Holder;
use super::entry::Launch;
use super::file;
use super::places::Around;
use super::places::Place;
use super::places::Scope;
use super::places::Section;
use super::shown;
use crate::config::Imported;
use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

/// What connecting or disconnecting comes to.
#[derive(Debug)]
pub struct Changes {
    /// The files that change.
    pub files: Vec<Change>,
    /// Where the client still reaches servers by itself afterwards, and which.
    pub beside: Vec<(Place, Vec<String>)>,
}

/// What a change to one file comes to.
#[derive(Debug)]
pub struct Change {
    /// The file, links followed.
    pub path: PathBuf,
    holder: Holder,
    sections: Vec<Section>,
    /// What stood there before; none where there was no file.
    before: Option<String>,
    /// What shall stand there; none where the file is to go.
    after: Option<String>,
    /// What the backup shall hold then.
    backup: Backup,
}

/// Whether the other servers of a client stay in its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// They stay: the client reaches them past us.
    Stay,
    /// They are taken out, wherever our entry stands for them.
    Go,
}

/// Puts our entry into a place of a client.
///
/// # Errors
///
/// When a file cannot be read, or is not what the client reads.
pub fn connecting(
    client: Client,
    around: &Around,
    target: &Place,
    launch: &Launch,
    others: Others,
) -> Result<Changes, ClientError> {
    let mut places = vec![target.clone()];
    if others == Others::Go {
        let covered = around.places(client).into_iter().filter(|place| {
            place != target && covers(target, place, around) && place.path.is_file()
        });
        places.extend(covered);
    }
    let mut files: BTreeMap<PathBuf, Vec<Place>> = BTreeMap::new();
    for place in places {
        let path = file::followed(&place.path);
        files.entry(path).or_default().push(place);
    }
    let mut changes = Vec::new();
    for (path, places) in files {
        let ours = places.contains(target).then_some(launch);
        let change = Change::connecting(client.holder(), path, &places, (ours, others))?;
        if ours.is_some() || !change.is_none() {
            changes.push(change);
        }
    }
    Ok(Changes {
        beside: beside(client, around, target, &changes),
        files: changes,
    })
}

/// How the scope of a place is said on the command line.
pub fn scoped(place: &Place) -> String {
    let scope = place
        .scope
        .map(|scope| format!(" --scope {}", scope.name()));
    scope.unwrap_or_default()
}

/// The command that takes a client's servers out of a place, for a sentence.
pub fn taking_out(client: Client, place: &Place, around: &Around) -> String {
    match replacing(client, place, around) {
        (command, Some(folder)) => format!("`{command}` in `{}`", folder.display()),
        (command, None) => format!("`{command}`"),
    }
}

/// The command that takes a client's servers out of a place, and the folder to run it
/// in where that is another.
pub fn replacing(client: Client, place: &Place, around: &Around) -> (String, Option<PathBuf>) {
    let is_here = place.scope != Some(Scope::Project) || place.path.starts_with(around.project());
    // What is local covers the project too, and nobody else gets our path.
    let scope = match (client, place.scope) {
        (Client::ClaudeCode, Some(Scope::Local | Scope::Project)) => String::new(),
        _ => scoped(place),
    };
    let command = format!("countersign connect {client}{scope} --replace");
    let elsewhere = place.path.parent().filter(|_folder| !is_here);
    (command, elsewhere.map(Path::to_owned))
}

/// Whether an entry in `target` makes up for the servers of `place`: whoever has
/// those has ours too. Other folders have those of the user, and not ours.
fn covers(target: &Place, place: &Place, around: &Around) -> bool {
    match (target.scope, place.scope) {
        (None, _) | (_, None) => false,
        (Some(_), Some(Scope::Local)) => true,
        (Some(Scope::Project), Some(Scope::Project)) => place.path.starts_with(&around.here),
        (Some(_), Some(Scope::Project)) => place.path.starts_with(around.project()),
        (Some(target), Some(Scope::User)) => target == Scope::User,
    }
}

/// The servers that the client reaches by itself once the changes are made.
fn beside(
    client: Client,
    around: &Around,
    target: &Place,
    changes: &[Change],
) -> Vec<(Place, Vec<String>)> {
    let read = |path: &Path| {
        let real = file::followed(path);
        match changes.iter().find(|change| change.path == real) {
            Some(change) => change.after.clone(),
            None => std::fs::read_to_string(path).ok(),
        }
    };
    let mut found: Vec<(Place, Vec<Imported>)> = around
        .found_by(client, read)
        .into_iter()
        .filter_map(|found| Some((found.place, found.servers.ok()?)))
        .collect();
    let is_elsewhere = found.iter().all(|(place, _)| place.path != target.path);
    if let (true, Some(text)) = (is_elsewhere, read(&target.path)) {
        found.extend(target.read(&text).ok().map(|all| (target.clone(), all)));
    }
    let named = found.into_iter().map(|(place, servers)| {
        let reached = servers
            .into_iter()
            .filter(|server| server.left_out.is_none() && server.name != OURS);
        (place, reached.map(|server| server.name).collect::<Vec<_>>())
    });
    named.filter(|(_, names)| !names.is_empty()).collect()
}

/// Takes our entry out of the places of a client again, with all that connecting
/// did there. Where nobody changed a file since, exactly what stood there before
/// comes back; else our entry goes, and what we took out comes back into it.
///
/// # Errors
///
/// When a file cannot be read, or there is no entry of ours.
pub fn disconnecting(
    client: Client,
    around: &Around,
    file: Option<&Path>,
) -> Result<Changes, ClientError> {
    let places = match file {
        Some(file) => vec![Place::file(file.to_owned())],
        None => around.places(client),
    };
    let mut files: BTreeMap<PathBuf, Vec<Section>> = BTreeMap::new();
    for place in places {
        let of_here =
            place.scope != Some(Scope::Project) || place.path.starts_with(around.project());
        if of_here {
            let path = file::followed(&place.path);
            files.entry(path).or_default().push(place.section);
        }
    }
    let first = files.keys().next().cloned();
    let mut looked: Vec<PathBuf> = files.keys().cloned().collect();
    let mut changes = Vec::new();
    for (path, sections) in files {
        changes.extend(Change::disconnecting(client.holder(), path, sections)?);
    }
    if changes.is_empty() {
        // Of the folders above most have no file.
        looked.retain(|path| path.is_file());
        if looked.is_empty() {
            looked.extend(first);
        }
        return Err(ClientError::NotConnected {
            client,
            looked,
            folders: around.elsewhere(client),
        });
    }
    Ok(Changes {
        files: changes,
        beside: Vec::new(),
    })
}

impl Change {
    fn connecting(
        holder: Holder,
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
        let mut backup = Backup::of(&path)?;
        let record = Record {
            sections: sections.clone(),
            original: before.clone(),
            written: after.clone(),
        };
        backup
            .add(record, |older, text| undone(holder, older, text))
            .map_err(shape)?;
        Ok(Self {
            path: path.clone(),
            holder,
            sections,
            before,
            after: Some(after),
            backup,
        })
    }

    /// None where nothing of ours is there.
    fn disconnecting(
        holder: Holder,
        path: PathBuf,
        sections: Vec<Section>,
    ) -> Result<Option<Self>, ClientError> {
        let before = file::read(&path)?;
        let mut backup = Backup::of(&path)?;
        let shape = |problem: String| ClientError::Shape {
            path: path.clone(),
            problem,
        };
        let records = backup.take(&sections);
        let mut after = before.clone();
        let mut touched = sections;
        for record in &records {
            after = undone(holder, record, after).map_err(shape)?;
            touched.extend(record.sections.iter().cloned());
        }
        touched.sort();
        touched.dedup();
        if records.is_empty() {
            let Some(text) = &before else {
                return Ok(None);
            };
            let mut without = text.clone();
            for section in &touched {
                let has_ours = entry::entries(holder, section, text).map_err(shape)?;
                if has_ours.contains_key(OURS) {
                    let remove = Edit::Remove(OURS);
                    without = entry::edited(holder, section, &without, &remove).map_err(shape)?;
                }
            }
            if without == *text {
                return Ok(None);
            }
            after = Some(without);
        }
        Ok(Some(Self {
            path: path.clone(),
            holder,
            sections: touched,
            before,
            after,
            backup,
        }))
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

    /// Makes the change, whole or not at all. What stood there before is kept
    /// beside the file until it has come back: returns where.
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
            self.backup.write(&self.path)?;
        }
        match &self.after {
            _ if self.is_none() => {}
            None => file::remove(&self.path)?,
            Some(after) => file::write(&self.path, after, None)?,
        }
        if file::read(&self.path)? != self.after {
            return Err(unsteady());
        }
        if !grows {
            self.backup.write(&self.path)?;
        }
        Ok((!self.backup.is_empty()).then(|| Backup::path(&self.path)))
    }
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
