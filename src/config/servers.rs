//! The servers of the configuration. Where their references lead matters only where they
//! are started: a variable that is not set must keep nobody from freezing a session.

use super::error::ConfigError;
use super::file::File;
use super::reached::Reached;
use crate::broker::ServerRules;
use crate::downstream;
use crate::nearest;
use crate::tool::ServerName;
use crate::tool::ServerNameError;
use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

/// The servers to start. Not `Debug`: their environment may hold secrets.
#[derive(Clone)]
pub struct Servers {
    path: PathBuf,
    settings: Vec<downstream::Settings>,
    /// The first key whose reference leads nowhere, and what is wrong with it.
    unresolved: Option<(String, String)>,
}

impl Servers {
    /// What starting them needs.
    ///
    /// # Errors
    ///
    /// When a reference of one of them leads nowhere, or of somebody whom a broker tells
    /// of events and escalations.
    pub fn to_start(&self) -> Result<&[downstream::Settings], ConfigError> {
        match &self.unresolved {
            None => Ok(&self.settings),
            Some((key, problem)) => Err(ConfigError::Value {
                path: self.path.clone(),
                key: key.clone(),
                problem: problem.clone(),
            }),
        }
    }

    /// The same, where something else is needed too by whoever starts them, and its
    /// reference leads nowhere.
    pub(super) fn once_there_is(self, besides: Option<(String, String)>) -> Self {
        Self {
            unresolved: self.unresolved.or(besides),
            ..self
        }
    }

    /// Reads the sections of all of them: besides how they are started, how each is
    /// reached, and what was said of its tools.
    pub(super) fn read(
        path: &Path,
        file: &File,
        keeper: &Path,
    ) -> Result<(Self, Reached, BTreeMap<ServerName, ServerRules>), ConfigError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let value = |key: String, problem: String| ConfigError::Value {
            path: path.to_owned(),
            key,
            problem,
        };
        let mut servers = Self {
            path: path.to_owned(),
            settings: Vec::new(),
            unresolved: None,
        };
        let mut reached = Reached::from(folder);
        let mut rules = BTreeMap::new();
        for (name, section) in &file.servers {
            let key = format!("servers.{name}");
            let name: ServerName = name
                .parse()
                .map_err(|error: ServerNameError| value(key.clone(), error.to_string()))?;
            section
                .validate()
                .map_err(|(at, why)| value(format!("{key}.{at}"), why))?;
            let entries = section.reached();
            match section.settings(name.clone(), folder, keeper) {
                Ok(settings) => servers.settings.push(settings),
                Err((at, why)) => {
                    let at = format!("{key}.{at}");
                    let mut nowhere = entries.iter().flat_map(|entry| reached.unresolved(entry));
                    if !nowhere.any(|(_key, problem)| problem == why) {
                        let meant = meant(file, &name).filter(|_| section.is_nowhere());
                        let meant = meant.map_or_else(String::new, |other| {
                            format!(" (did you mean `[servers.{other}]`?)")
                        });
                        return Err(value(at, why + &meant));
                    }
                    servers.unresolved.get_or_insert((at, why));
                }
            }
            reached.add(name.clone(), entries);
            rules.insert(name, section.rules());
        }
        Ok((servers, reached, rules))
    }
}

/// The server whose name is most like this one, of those that say where they are.
fn meant<'a>(file: &'a File, name: &ServerName) -> Option<&'a str> {
    let others = file.servers.iter();
    let others = others.filter(|(_, section)| !section.is_nowhere());
    nearest::nearest(name.as_str(), others.map(|(other, _)| other.as_str()))
}
