//! The transcripts as they stand in their files.

use super::Era;
use super::Over;
use super::Pairing;
use countersign::json::Object;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;

/// How a call of the tool `t` goes to its server where nothing else matters.
const CALL: [(Speaker, &str); 2] = [
    (
        Speaker::ClientSays,
        r#"{"jsonrpc":"2.0","id":«#own»,"method":"tools/call","params":{"name":"own__t","arguments":{}«+meta»}}"#,
    ),
    (
        Speaker::ServerHears,
        r#"{"jsonrpc":"2.0","id":«#call»,"method":"tools/call","params":{"name":"t","arguments":{}«+meta»}}"#,
    ),
];

/// One file.
pub(super) struct Table {
    pub(super) file: String,
    client: String,
    server: String,
    /// What the server says to requests of ours that no case is about.
    answers: BTreeMap<String, String>,
    pub(super) cases: Vec<Case>,
}

/// One transcript.
pub(super) struct Case {
    pub(super) name: String,
    /// What must be true for it.
    pub(super) only: Vec<String>,
    /// The rules by which something changes on its way.
    pub(super) rules: Vec<String>,
    pub(super) steps: Vec<Step>,
}

/// One message.
pub(super) struct Step {
    pub(super) speaker: Speaker,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    ClientSays,
    ServerHears,
    ServerSays,
    ClientHears,
}

impl Speaker {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::ClientSays => "client says",
            Self::ServerHears => "server hears",
            Self::ServerSays => "server says",
            Self::ClientHears => "client hears",
        }
    }

    fn at_client(self) -> bool {
        matches!(self, Self::ClientSays | Self::ClientHears)
    }
}

impl Table {
    pub(super) fn all(folder: &Path) -> Vec<Self> {
        let files = std::fs::read_dir(folder).unwrap();
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|ending| ending == "txt"));
        files.sort();
        assert!(!files.is_empty());
        files.iter().map(|path| Self::read(path)).collect()
    }

    fn read(path: &Path) -> Self {
        let mut table = Self {
            file: path.file_name().unwrap().to_str().unwrap().to_owned(),
            client: "{}".to_owned(),
            server: r#"{"tools":{}}"#.to_owned(),
            answers: BTreeMap::new(),
            cases: Vec::new(),
        };
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let line = line.trim();
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "" | "#" => {}
                "client-can" => rest.trim().clone_into(&mut table.client),
                "server-has" => rest.trim().clone_into(&mut table.server),
                "answer" => {
                    let (method, result) = rest.trim().split_once(' ').unwrap();
                    let result = result.trim().to_owned();
                    table.answers.insert(method.to_owned(), result);
                }
                "case" => table.cases.push(Case {
                    name: rest.trim().to_owned(),
                    only: Vec::new(),
                    rules: Vec::new(),
                    steps: Vec::new(),
                }),
                _ => table.cases.last_mut().unwrap().read(word, rest.trim()),
            }
        }
        table
    }

    /// What the server says to a request of ours that no case is about: a result or
    /// an error, an object with that one member.
    pub(super) fn answer(&self, method: &str, pairing: Pairing) -> Option<String> {
        let no_such = r#""error":{"code":-32601,"message":"method not found"}"#;
        let has = self.expanded(&self.server, Speaker::ServerSays, pairing);
        let opened = match (method, pairing.server.0) {
            ("server/discover", Era::New) => format!(
                r#""result":{{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{has}}}"#
            ),
            ("initialize", Era::Old) => format!(
                r#""result":{{"protocolVersion":"2025-11-25","capabilities":{has},"serverInfo":{{"name":"played","version":"1"}}}}"#
            ),
            ("server/discover" | "initialize", _) => no_such.to_owned(),
            _ => {
                let answer = self.answers.get(method)?;
                let answer = self.expanded(answer, Speaker::ServerSays, pairing);
                format!("\"result\":{answer}")
            }
        };
        Some(opened)
    }

    /// The text of a step between such a client and such a server.
    pub(super) fn written(&self, step: &Step, pairing: Pairing) -> String {
        self.expanded(&step.text, step.speaker, pairing)
    }

    fn expanded(&self, text: &str, speaker: Speaker, pairing: Pairing) -> String {
        let mut text = text.to_owned();
        let mut from = text.len();
        // From the end, so that what stands inside of another is written first.
        while let Some(start) = text.get(..from).unwrap().rfind('«') {
            from = start;
            let inside = start + '«'.len_utf8();
            let rest = text.get(inside..).unwrap();
            let (name, _) = rest.split_once('»').expect("a « without a »");
            let length = name.len();
            if name.starts_with('#') {
                continue;
            }
            let written = self.placed(name, speaker, pairing);
            text.replace_range(start..inside + length + '»'.len_utf8(), &written);
        }
        text
    }

    fn placed(&self, name: &str, speaker: Speaker, pairing: Pairing) -> String {
        if let Some((word, text)) = name.split_once(':') {
            return if pairing.is(word) { text } else { "" }.to_owned();
        }
        let era = match speaker.at_client() {
            true => pairing.client.0,
            false => pairing.server.0,
        };
        let version = env!("CARGO_PKG_VERSION");
        let told = match (name, speaker.at_client()) {
            ("server-info", _) => {
                return format!(
                    r#"{{"name":"countersign","title":"Countersign","version":"{version}"}}"#
                );
            }
            ("nl", _) => return "\n".to_owned(),
            ("complete,", _) => r#""resultType":"complete","#.to_owned(),
            ("self" | "self," | "+meta", true) => self.said_of_itself("", pairing),
            ("self" | "self," | "+meta", false) => {
                let info = format!(
                    r#""io.modelcontextprotocol/clientInfo":{{"name":"countersign","version":"{version}"}},"#
                );
                self.said_of_itself(&info, pairing)
            }
            _ => panic!("`{name}` stands for nothing"),
        };
        match (era, name) {
            (Era::Old, _) => String::new(),
            (Era::New, "self,") => format!("{told},"),
            (Era::New, "+meta") => format!(r#","_meta":{{{told}}}"#),
            (Era::New, _) => told,
        }
    }

    /// What the client says it can be asked and do, an object.
    pub(super) fn client_can(&self, pairing: Pairing) -> String {
        self.expanded(&self.client, Speaker::ClientSays, pairing)
    }

    /// What a request of the new era says of who sends it.
    fn said_of_itself(&self, info: &str, pairing: Pairing) -> String {
        let can = self.client_can(pairing);
        format!(
            r#""io.modelcontextprotocol/protocolVersion":"2026-07-28",{info}"io.modelcontextprotocol/clientCapabilities":{can}"#
        )
    }

    /// What a case changes between two ends of one era.
    pub(super) fn changes(&self, case: &Case) -> Vec<String> {
        let mut changes = Vec::new();
        for era in [Era::Old, Era::New] {
            let over = [Over::Stdio, Over::Http];
            let both = over.map(|over| Pairing {
                client: (era, over),
                server: (era, over),
            });
            let fits = |pairing: &&Pairing| case.only.iter().all(|word| pairing.is(word));
            let Some(&pairing) = both.iter().find(fits) else {
                continue;
            };
            for (from, to) in [
                (Speaker::ClientSays, Speaker::ServerHears),
                (Speaker::ServerSays, Speaker::ClientHears),
            ] {
                let of = |speaker| {
                    let steps = case.steps.iter().filter(|step| step.speaker == speaker);
                    let texts = steps.map(|step| essence(&self.written(step, pairing)));
                    texts.collect::<Vec<_>>()
                };
                let (sent, came) = (of(from), of(to));
                if sent != came {
                    changes.push(format!("{era:?}: {sent:?} became {came:?}"));
                }
            }
        }
        changes
    }
}

impl Case {
    fn read(&mut self, word: &str, rest: &str) {
        let mut step = |speaker, text: &str| {
            let text = text.to_owned();
            self.steps.push(Step { speaker, text });
        };
        match (word, rest.split_once(' ').unwrap_or((rest, ""))) {
            ("only", _) => self.only.extend(rest.split(' ').map(str::to_owned)),
            ("rule", _) => self.rules.extend(rest.split(' ').map(str::to_owned)),
            ("client", ("says", text)) => step(Speaker::ClientSays, text.trim()),
            ("client", ("hears", text)) => step(Speaker::ClientHears, text.trim()),
            ("server", ("says", text)) => step(Speaker::ServerSays, text.trim()),
            ("server", ("hears", text)) => step(Speaker::ServerHears, text.trim()),
            ("calls", _) => CALL.iter().for_each(|(speaker, text)| step(*speaker, text)),
            ("returns", _) => {
                let text = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{rest}}}"#);
                step(Speaker::ServerSays, &text("«#call»"));
                step(Speaker::ClientHears, &text("«#own»"));
            }
            ("fails", _) => {
                let text = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{rest}}}"#);
                step(Speaker::ServerSays, &text("«#call»"));
                step(Speaker::ClientHears, &text("«#own»"));
            }
            _ => panic!("{}: `{word} {rest}` is no step", self.name),
        }
    }
}

/// A message without what each hop has of its own.
fn essence(message: &str) -> String {
    let mut text = message.to_owned();
    while let Some(start) = text.find("«#") {
        let end = start + text.get(start..).unwrap().find('»').unwrap() + '»'.len_utf8();
        text.replace_range(start..end, "0");
    }
    let Ok(message) = Object::parse(&text) else {
        return text;
    };
    let whole = message.get("result").or(message.get("error"));
    let params = message.get("params").map(|params| {
        let members = Object::parse(params).unwrap();
        let ours = ["name", "_meta", "progressToken", "requestState"];
        let kept = members.iter().filter(|(key, _)| !ours.contains(key));
        let kept: Vec<String> = kept.map(|(key, value)| format!("{key}:{value}")).collect();
        kept.join(",")
    });
    json!([message.get("method"), whole, params]).to_string()
}

/// The names of the rules by which something may change: the first column of the
/// table in `README.md`.
pub(super) fn rules(folder: &Path) -> BTreeSet<String> {
    let page = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let (_, page) = page.split_once("## What changes").unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned()));
    names.collect()
}

/// The method and the id of a message, as they were written.
pub(super) fn named(message: &str) -> (Option<String>, Option<String>) {
    let members = Object::parse(message).unwrap();
    let method = members.get("method").map(|text| {
        let text: Value = serde_json::from_str(text).unwrap();
        text.as_str().unwrap().to_owned()
    });
    (method, members.get("id").map(str::to_owned))
}
