//! What connecting and disconnecting do to the files of a client.

use super::Client;
use super::ClientError;
use super::OURS;
use super::change::Change;
use super::change::Left;
use super::entry::Launch;
use super::file;
use super::places::Around;
use super::places::Place;
use super::places::SHADOWED;
use super::places::Scope;
use super::places::Section;
use crate::config;
use crate::config::Imported;
use crate::visible;
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
        let whose = (client.holder(), around.state.as_path());
        let change = Change::connecting(whose, path, &places, (ours, others))?;
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
        (command, Some(folder)) => {
            let folder = folder.to_string_lossy();
            format!(
                "`{command}` in `{}`",
                visible::one_line(&folder, visible::PATH)
            )
        }
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
            None => config::plain_text(path).ok(),
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

/// The servers of a client that go by these changes, which have not been made yet: those
/// that it uses, here or, where they are the user's, elsewhere.
pub fn taken(client: Client, around: &Around, changes: &Changes) -> Vec<(Place, Imported)> {
    let found = around.found(client);
    let mut taken = Vec::new();
    for change in &changes.files {
        for place in &change.places {
            let known = found.iter().find(|found| found.place == *place);
            let read = || place.read(change.before.as_deref()?).ok();
            let servers = match known {
                Some(found) => found.servers.as_ref().ok().cloned(),
                None => read(),
            };
            let used = servers.into_iter().flatten().filter(|server| {
                let elsewhere =
                    place.scope == Some(Scope::User) && server.left_out == Some(SHADOWED);
                change.takes(&place.section, &server.name)
                    && (server.left_out.is_none() || elsewhere)
            });
            taken.extend(used.map(|server| (place.clone(), server)));
        }
    }
    taken
}

/// Whether what somebody else undid is undone all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// What we took out then stays out.
    Left,
    /// It comes back where none of its name is there.
    Undone,
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
    (file, over): (Option<&Path>, Over),
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
        let whose = (client.holder(), around.state.as_path());
        changes.extend(Change::disconnecting(whose, path, (sections, over))?);
    }
    if let Some(left) = nothing_else(&changes) {
        return Err(left);
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

/// The error where all that there is was undone by somebody else.
fn nothing_else(changes: &[Change]) -> Option<ClientError> {
    if !changes
        .iter()
        .all(|change| change.is_none() && change.left.is_some())
    {
        return None;
    }
    let Left {
        path,
        backup,
        names,
    } = changes.first()?.left.clone()?;
    Some(ClientError::Over {
        path,
        backup,
        names,
    })
}
