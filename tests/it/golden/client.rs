//! A client that is played by the test, over stdio or HTTP.

use super::Era;
use super::Over;
use super::PATIENCE;
use super::Pairing;
use super::table::Table;
use super::table::named;
use crate::http::talk::Talk;
use crate::serving::Serving;
use crate::world::Wire;
use crate::world::World;
use serde_json::Value;
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

/// The client.
pub(super) struct Client {
    way: Way,
    /// Heard before its turn.
    aside: Option<String>,
    /// All that it heard.
    pub(super) all: Vec<String>,
}

enum Way {
    Stdio(Wire),
    Http(Box<Remote>),
}

struct Remote {
    broker: Serving,
    key: String,
    era: Era,
    session: Option<String>,
    /// Where messages go, where their answers come by a stream.
    messages: Option<String>,
    to: mpsc::Sender<String>,
    heard: mpsc::Receiver<String>,
    /// The connection of the last request.
    last: Option<TcpStream>,
}

impl Client {
    /// A client that has opened its connection, and a broker that knows its servers.
    pub(super) fn start(world: &World, table: &Table, pairing: Pairing) -> Self {
        let (era, over) = pairing.client;
        let can = table.client_can(pairing);
        let mut client = Self {
            aside: None,
            all: Vec::new(),
            way: match over {
                Over::Stdio => Way::Stdio(world.broker()),
                Over::Http => Way::Http(Box::new(Remote::new(world, era))),
                Over::Pair => Way::Http(Box::new(Remote::new(world, era).paired())),
            },
        };
        let opening = match era {
            Era::Old => format!(
                r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{can},"clientInfo":{{"name":"played","version":"1"}}}}}}"#
            ),
            Era::New => format!(
                r#"{{"jsonrpc":"2.0","id":0,"method":"server/discover","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{can}}}}}}}"#
            ),
        };
        client.say(&opening);
        client.hear(PATIENCE).expect("the broker does not open");
        if era == Era::Old {
            client.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
            if let (Way::Http(remote), Over::Http) = (&client.way, over) {
                remote.listen("/mcp");
            }
        }
        client
    }

    pub(super) fn say(&mut self, line: &str) {
        match &mut self.way {
            Way::Stdio(wire) => assert!(wire.send_line(line), "the broker ended"),
            Way::Http(remote) => remote.post(line),
        }
    }

    pub(super) fn hear(&mut self, patience: Duration) -> Option<String> {
        if let Some(aside) = self.aside.take() {
            return Some(aside);
        }
        let heard = match &mut self.way {
            Way::Stdio(wire) => wire.line(patience),
            Way::Http(remote) => remote.heard.recv_timeout(patience).ok(),
        };
        self.all.extend(heard.clone());
        heard
    }

    /// Takes its last request back, as its revision does over this way.
    pub(super) fn take_back(&mut self, id: u64) {
        match &self.way {
            Way::Http(remote) if remote.era == Era::New => {
                let last = remote.last.as_ref().expect("nothing was asked");
                last.shutdown(std::net::Shutdown::Both).unwrap();
            }
            Way::Stdio(_) | Way::Http(_) => self.say(&format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
            )),
        }
    }

    /// A message that was heard and is still to be taken.
    pub(super) fn overheard(&mut self) -> Option<String> {
        self.aside = self.hear(Duration::ZERO);
        self.aside.clone()
    }
}

impl Remote {
    fn new(world: &World, era: Era) -> Self {
        world.append("countersign.toml", "\n[http]\n");
        let key = world.key("alice");
        let (to, heard) = mpsc::channel();
        Self {
            broker: world.serve(),
            key,
            era,
            session: None,
            messages: None,
            to,
            heard,
            last: None,
        }
    }

    /// The same by the pair: its stream says first where messages go.
    fn paired(mut self) -> Self {
        self.listen("/sse");
        self.messages = self.heard.recv_timeout(PATIENCE).ok();
        assert!(self.messages.is_some(), "the stream does not begin");
        self
    }

    /// Hears what comes by a stream of its own.
    fn listen(&self, path: &str) {
        let mut talk = self.talk();
        talk.write("GET", path, &[("accept", "text/event-stream")], "");
        let to = self.to.clone();
        // Ends with the broker.
        std::thread::spawn(move || talk.messages(&to));
    }

    fn talk(&self) -> Talk {
        let talk = Talk::new(self.broker.address());
        let talk = talk.with("authorization", &format!("Bearer {}", self.key));
        match &self.session {
            Some(session) => talk.with("mcp-session-id", session),
            None => talk,
        }
    }

    /// Sends one message as a request of its own; what comes back is heard.
    fn post(&mut self, line: &str) {
        let mut talk = self.talk();
        if let Some(path) = &self.messages {
            talk.write("POST", path, &[("content-type", "application/json")], line);
            assert_eq!(talk.read().status, 202);
            return;
        }
        let (method, id) = named(line);
        let mut headers = vec![("content-type", "application/json".to_owned())];
        if let (Era::New, Some(method)) = (self.era, &method) {
            headers.push(("mcp-protocol-version", "2026-07-28".to_owned()));
            headers.push(("mcp-method", method.clone()));
            let message: Value = serde_json::from_str(line).unwrap();
            let places = ["name", "uri", "taskId"];
            let name = places
                .iter()
                .find_map(|key| message["params"][key].as_str());
            headers.extend(name.map(|name| ("mcp-name", name.to_owned())));
        }
        let headers: Vec<(&str, &str)> = headers.iter().map(|(k, v)| (*k, &**v)).collect();
        talk.write("POST", "/mcp", &headers, line);
        let session = match method.as_deref() {
            Some("initialize") => talk.messages(&self.to),
            // Taken in before the next message is sent.
            _ if id.is_none() || method.is_none() => talk.messages(&self.to),
            _ => {
                let to = self.to.clone();
                self.last = Some(talk.connection());
                // Ends with the answer, or with the broker.
                std::thread::spawn(move || talk.messages(&to));
                return;
            }
        };
        self.session = self.session.take().or(session);
    }
}
