//! How our servers are reached, and which of them a client's server is.

use super::Entry;
use super::references::expanded;
use crate::tool::ServerName;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

/// How each server is reached, as it is written: an entry for each of its places. Not
/// `Debug`: they may hold secrets.
#[derive(Clone, Default)]
pub struct Reached {
    folder: PathBuf,
    servers: BTreeMap<ServerName, Vec<Entry>>,
}

/// Which of our servers one is.
pub enum Known {
    /// This one.
    Same(ServerName),
    /// The one of its name is another.
    Other {
        /// How that is reached.
        ours: Entry,
        /// The keys in which they differ.
        differs: Vec<String>,
    },
    /// None, and none has its name.
    Unknown,
}

impl Reached {
    /// None yet. References and paths start at this folder.
    pub(super) fn from(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            servers: BTreeMap::new(),
        }
    }

    /// One more.
    pub fn add(&mut self, server: ServerName, entries: Vec<Entry>) {
        self.servers.insert(server, entries);
    }

    /// Which of them an entry is that would be called `server`. References count for what
    /// they lead to, so a secret may stand in one place and be named in the other. The
    /// folder that a client starts it in without saying so counts where we say one.
    pub fn known(
        &self,
        server: &ServerName,
        (entry, started_in): (&Entry, Option<&Path>),
    ) -> Known {
        let own = self.servers.get_key_value(server);
        for (name, entries) in own.into_iter().chain(&self.servers) {
            if entries
                .iter()
                .any(|ours| self.differ(ours, (entry, started_in)).is_empty())
            {
                return Known::Same(name.clone());
            }
        }
        let ours = own.and_then(|(_, entries)| entries.first());
        match ours {
            Some(ours) => Known::Other {
                ours: ours.clone(),
                differs: self.differ(ours, (entry, started_in)),
            },
            None => Known::Unknown,
        }
    }

    /// The references of an entry that lead nowhere here: the key of each, and what is
    /// wrong with it.
    pub fn unresolved(&self, entry: &Entry) -> Vec<(String, String)> {
        let texts = entry.texts().into_iter();
        let leads = texts.map(|(key, text)| expanded(text, &self.folder, &key));
        leads.filter_map(Result::err).collect()
    }

    /// Where a variable may be meant and none stands, of all of them; never what does.
    pub fn may_mean_variables(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for (server, entries) in &self.servers {
            for told in may_mean_variables(server, entries) {
                // The places of a server have all but their URL in common.
                if !all.contains(&told) {
                    all.push(told);
                }
            }
        }
        all
    }

    /// The keys in which two entries differ.
    fn differ(&self, ours: &Entry, (theirs, started_in): (&Entry, Option<&Path>)) -> Vec<String> {
        let leads = |text: &String| {
            let leads = expanded(text, &self.folder, "");
            leads.unwrap_or_else(|_nowhere| text.clone())
        };
        let all = |texts: &[String]| texts.iter().map(leads).collect::<Vec<_>>();
        let one = |text: &Option<String>| text.as_ref().map(leads);
        let started = |cwd: &Option<String>| one(cwd).map(|cwd| self.folder.join(cwd));
        let mut differs = Vec::new();
        let mut differ = |key: &str, differ: bool| {
            if differ {
                differs.push(key.to_owned());
            }
        };
        differ("command", one(&ours.command) != one(&theirs.command));
        differ("args", all(&ours.args) != all(&theirs.args));
        differ("url", one(&ours.url) != one(&theirs.url));
        // What a client says nothing of does not matter to the server.
        let moves = match (&theirs.cwd, &ours.cwd, started_in) {
            (Some(_), _, _) => started(&ours.cwd) != started(&theirs.cwd),
            (None, Some(_), Some(folder)) => {
                started(&ours.cwd).is_some_and(|ours| !is_same_folder(&ours, folder))
            }
            (None, Some(_), None) | (None, None, _) => false,
        };
        differ("cwd", moves);
        let kinds = ours.transport.zip(theirs.transport);
        differ("type", kinds.is_some_and(|(ours, theirs)| ours != theirs));
        for (part, ours, theirs) in [
            ("env", &ours.env, &theirs.env),
            ("headers", &ours.headers, &theirs.headers),
        ] {
            let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
            for name in names {
                let is_other = ours.get(name).map(leads) != theirs.get(name).map(leads);
                differ(&format!("{part}.{name}"), is_other);
            }
        }
        differs
    }
}

fn is_same_folder(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(one) == real(other)
}

/// Where a variable may be meant and none stands, in what is said of one server.
pub fn may_mean_variables(server: &ServerName, entries: &[Entry]) -> Vec<String> {
    let mut told = Vec::new();
    for (place, entry) in entries.iter().enumerate() {
        told.extend(entry.unbraced().into_iter().map(|key| {
            let key = match key.as_str() {
                "url" if entries.len() > 1 => format!("urls[{place}]"),
                _ => key,
            };
            format!(
                "`servers.{server}.{key}`: a name with `$` and without braces is taken as it stands there: is a variable meant, written as `${{VAR}}`?"
            )
        }));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(command: &str, args: &[&str], env: &[(&str, &str)]) -> Entry {
        Entry {
            command: Some(command.to_owned()),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: env
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Entry::default()
        }
    }

    fn said(reached: &Reached, server: &str, entry: &Entry) -> String {
        said_of(reached, server, (entry, None))
    }

    fn said_of(reached: &Reached, server: &str, theirs: (&Entry, Option<&Path>)) -> String {
        match reached.known(&server.parse().unwrap(), theirs) {
            Known::Same(server) => format!("same as {server}"),
            Known::Other { differs, .. } => differs.join(" "),
            Known::Unknown => "unknown".to_owned(),
        }
    }

    #[test]
    fn a_server_is_known_by_how_it_is_reached_and_not_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "s3cret\n").unwrap();
        let mut reached = Reached::from(folder.path());
        let env = [("TOKEN", "${file:token}"), ("ROOT", "/srv")];
        let db = entry("db", &["/srv"], &env);
        reached.add("db".parse().unwrap(), vec![db.clone()]);
        let urls = ["https://a.example/mcp", "https://b.example/mcp"];
        let places = urls.map(|url| Entry {
            url: Some(url.to_owned()),
            ..Entry::default()
        });
        reached.add("web".parse().unwrap(), places.to_vec());
        let written_out = [("TOKEN", "s3cret"), ("ROOT", "/srv")];
        for (server, theirs, due) in [
            ("db", entry("db", &["/srv"], &written_out), "same as db"),
            ("other", entry("db", &["/srv"], &written_out), "same as db"),
            ("db", entry("db", &["/home"], &written_out), "args"),
            ("db", entry("other", &["/srv"], &env), "command"),
            (
                "db",
                entry("db", &["/srv"], &[("TOKEN", "x")]),
                "env.ROOT env.TOKEN",
            ),
            ("new", entry("db", &["/home"], &env), "unknown"),
            ("web", places[1].clone(), "same as web"),
            ("web", db.clone(), "same as db"),
        ] {
            assert_eq!(said(&reached, server, &theirs), due);
        }
        let moved = |cwd: &str| Entry {
            cwd: Some(cwd.to_owned()),
            ..db.clone()
        };
        assert_eq!(said(&reached, "db", &moved("/elsewhere")), "cwd");
        reached.add("db".parse().unwrap(), vec![moved("x")]);
        let here = folder.path().join("x");
        let same = moved(here.to_str().unwrap());
        assert_eq!(said(&reached, "db", &same), "same as db");
        assert_eq!(said(&reached, "db", &db), "same as db");
        let in_project = (&db, Some(here.as_path()));
        assert_eq!(said_of(&reached, "db", in_project), "same as db");
        let in_another = (&db, Some(folder.path()));
        assert_eq!(said_of(&reached, "db", in_another), "cwd");
    }
}
